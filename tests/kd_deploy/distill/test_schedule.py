import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_deploy.distill.schedule import factor


@pytest.mark.parametrize(
    ("kind", "quarter", "half"), [("constant", 2.0, 2.0), ("linear", 3.5, 5.0), ("cosine", 2.8786796564, 5.0)]
)
def test_on_the_way_from_2_to_8(kind: str, quarter: float, half: float) -> None:
    assert factor(kind, 2, 8, 0.25) == pytest.approx(quarter)
    assert factor(kind, 2, 8, 0.5) == pytest.approx(half)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(start=st.floats(-1e4, 1e4), end=st.floats(-1e4, 1e4), progress=st.floats(0, 1))
def test_starts_and_ends_exactly_and_stays_between(
    kind: str, start: float, end: float, progress: float
) -> None:
    assert factor(kind, start, end, 0) == start
    assert factor(kind, start, end, 1) == end
    low, high = sorted((start, end))
    assert low - 1e-9 <= factor(kind, start, end, progress) <= high + 1e-9


def test_cosine_is_flat_at_both_ends() -> None:
    assert factor("cosine", 0, 1, 0.01) < 0.001
    assert factor("cosine", 0, 1, 0.99) > 0.999


@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan")])
def test_progress_outside_the_training_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match="progress"):
        factor("constant", 1, 1, progress)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'step'"):
        factor("step", 0, 1, 0.5)

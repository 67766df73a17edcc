"""API conformance: what our TensorRT code names exists in the real bindings of three versions. Nothing is run."""

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance import fake, usage
from tests.conformance.conftest import SAMPLE, Checked, sources
from tests.runtime import fake_cuda, fake_tensorrt


def agreed(checked: list[Checked]) -> set[usage.Position]:
    """Expressions without a type in any version: a guarded name has one where it exists."""
    return set.intersection(*(one.untyped for one in checked))


def real_surface(one: Checked) -> fake.Surface:
    return fake.surface(one.stubs / "tensorrt" / "__init__.pyi")


def marked(mark: str) -> set[int]:
    """Lines of the sample that carry a mark."""
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if re.search(rf"# {mark}$", line)}


def lines_of(file: Path, problems: Iterator[str] | list[str]) -> set[int]:
    found = (re.match(rf".*{re.escape(file.name)}:(\d+): ", problem) for problem in problems)
    return {int(match[1]) for match in found if match}


def test_every_name_method_and_parameter_exists_in_each_version(checked: list[Checked]) -> None:
    for one in checked:
        ours = [error for error in one.errors if not error.startswith(str(SAMPLE))]
        assert not ours, f"{one.version} does not have what we use:\n" + "\n".join(ours)


def test_no_use_escapes_the_check(checked: list[Checked]) -> None:
    problems = [problem for file in sources() for problem in usage.unresolved(file, agreed(checked))]
    assert not problems, "\n".join(problems)


def test_a_guarded_name_exists_in_some_version(checked: list[Checked]) -> None:
    known = set().union(*(usage.names(stub) for one in checked for stub in one.stubs.rglob("*.pyi")))
    for file in sources():
        made_up = [f"{file.name}:{line}: {name}" for line, name in usage.guarded(file) if name not in known]
        assert not made_up, f"no version has what is asked for here, so it is never used: {made_up}"


def test_our_subclasses_construct_and_take_what_tensorrt_gives(checked: list[Checked]) -> None:
    ours = sorted(name for file in sources() for name in usage.subclasses(file))
    assert ours == ["Logger", "Monitor"]  # of ILogger and IProgressMonitor; there is no profiler of ours
    for one in checked:
        assert one.constructed == ours
        assert not one.subclass_problems, f"{one.version}: {one.subclass_problems}"


def test_the_fake_has_nothing_that_tensorrt_lacks(checked: list[Checked]) -> None:
    for one in checked:
        names = vars(fake_tensorrt.module(version=one.version.tensorrt.partition("==")[2]))
        surplus = list(fake.surplus(names, real_surface(one)))
        assert not surplus, f"{one.version}: {surplus}"


def test_the_fake_has_nothing_that_cuda_lacks(checked: list[Checked]) -> None:
    for one in checked:
        real = fake.surface(one.stubs / "cuda" / "bindings" / "runtime.pyi")
        surplus = list(fake.surplus(vars(fake_cuda.module()), real))
        assert not surplus, f"{one.version.cuda[0]}: {surplus}"


# The check itself


def test_the_sample_is_stopped_where_it_is_wrong_and_nowhere_else(checked: list[Checked]) -> None:
    for one in checked:
        expected = marked("wrong: 10 11") | (marked("wrong: 11") if one.version.major == 11 else set())
        assert expected
        assert lines_of(SAMPLE, one.errors) == expected, f"{one.version}: {one.errors}"


def test_what_cannot_be_resolved_is_reported(checked: list[Checked]) -> None:
    assert marked("unresolved")
    assert lines_of(SAMPLE, usage.unresolved(SAMPLE, agreed(checked))) == marked("unresolved")


class IBuilderConfig:
    """A fake of which one thing after the other is wrong."""

    builder_optimization_level = 3
    made_up_property = 1

    def __init__(self) -> None:
        self.progress_monitor = None
        self.made_up_attribute = 1

    def set_flag(self, flag: Any) -> None: ...

    def set_memory_pool_limit(self, pool: Any, made_up: int) -> None: ...

    def made_up_method(self) -> None: ...


def test_a_fake_with_more_than_tensorrt_is_found_out(checked: list[Checked]) -> None:
    class BuilderFlag(enum.IntEnum):
        GPU_FALLBACK = 3
        TF32 = 99
        MADE_UP = 2

    names = {"IBuilderConfig": IBuilderConfig, "BuilderFlag": BuilderFlag, "MadeUp": object, "uint8": 1}
    for one in checked:
        found = {problem.partition(":")[0] for problem in fake.surplus(names, real_surface(one))}
        assert found == {
            "IBuilderConfig.made_up_property",
            "IBuilderConfig.made_up_attribute",
            "IBuilderConfig.made_up_method",
            "IBuilderConfig.set_memory_pool_limit",
            "BuilderFlag.MADE_UP",
            "BuilderFlag.TF32",
            "MadeUp",
        }

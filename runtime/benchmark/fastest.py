"""The fastest configuration on this machine whose masks are the reference's."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from kd_deploy.runtime.benchmark.noise import load_before
from kd_deploy.runtime.benchmark.opening import Opened, open_measured
from kd_deploy.runtime.benchmark.results import golden_frames, to_json
from kd_deploy.runtime.benchmark.timing import Timing
from kd_deploy.runtime.benchmark.turns import Progress, benchmark_all
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import BACKENDS, CannotRunError, precisions
from kd_deploy.runtime.parity import judge_golden

_DEPLOYED = tuple(name for name in BACKENDS if name != "torch")
"""Torch is the reference that the others are judged by; nobody deploys it."""

_VERDICTS = ("pass", "fail", "skipped")

_GATE_SHARE = 0.2  # of the progress; the rest is the timing


@dataclass
class Candidate:
    """A backend and a precision, as they are asked for.

    Attributes:
        runs: the model that serves the precision, such as fp32-cpu for fp32; None: it was not opened.
        verdict: `pass` or `fail` of the golden frames, or `skipped`: it cannot run here, or not the batch.
        reason: why it fails or is skipped, one line.
        agreement: percent of pixels as the reference's.
        p50_ms, fps: at the boundary `frame`; of those that pass.
    """

    backend: str
    precision: str
    runs: str | None = None
    verdict: str = "skipped"
    reason: str | None = None
    agreement: float | None = None
    p50_ms: float | None = None
    fps: float | None = None
    opened: Opened | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "opened"}


def find_fastest(
    bundle: Bundle,
    *,
    backends: Sequence[str] | None = None,
    wanted: Sequence[str] | None = None,
    batch: int = 1,
    seconds: float = 5.0,
    threads: int | None = None,
    frame_size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Open what can run here, gate each on the golden frames, and time what passes in turns, frame to mask.

    Args:
        backends: those to try; None: all but torch, the reference.
        wanted: precisions to try; None: all that the bundle holds.
        frame_size: height and width that the golden frames are brought to for the timing; None: the models'.

    Returns:
        `to_json`'s with "fastest": {"winner": the candidate of the least median, None without any; "candidates":
        each with its verdict}. With a winner it is kept in the bundle's benchmark.json; the verdicts are in its ledger.

    Raises:
        UserError: the bundle's golden frames are damaged or do not fit the memory, or there is no such backend or
            precision.
    """
    load_before()  # of this process: the gate's own work is no noise to the timing
    tell = progress or (lambda share: None)
    with ExitStack() as stack:
        candidates = _judged(bundle, backends or _DEPLOYED, wanted, threads, stack, tell)
        if not candidates:
            held = ", ".join(bundle.manifest["models"])
            raise UserError(
                f"--precision: no backend runs {', '.join(wanted or ())}; {bundle.path} holds {held}"
            )
        timed = _timed(
            candidates,
            frames=golden_frames(bundle, frame_size),
            batch=batch,
            seconds=seconds,
            progress=lambda share: tell(_GATE_SHARE + (1 - _GATE_SHARE) * share),
        )
        passing = [candidate for candidate in candidates if candidate.opened]
        result = to_json(timed, [candidate.opened.to_json() for candidate in passing if candidate.opened])
    for candidate, timing in zip(passing, timed, strict=True):
        candidate.p50_ms, candidate.fps = timing.percentile(50), timing.fps
    candidates.sort(key=lambda candidate: (_VERDICTS.index(candidate.verdict), candidate.p50_ms or 0.0))
    winner = next((candidate for candidate in candidates if candidate.opened), None)
    result["fastest"] = {
        "winner": winner.to_json() | {"command": _command(bundle, winner)} if winner else None,
        "candidates": [candidate.to_json() for candidate in candidates],
    }
    if winner:  # else the timings that are kept stay
        bundle.keep("benchmark.json", result)
    return result


def _timed(candidates: Sequence[Candidate], **how: Any) -> list[Timing]:
    """Time those that are open, frame to mask; one that cannot run the batch is left out, and all begin anew."""
    models = [candidate.opened.model for candidate in candidates if candidate.opened]
    try:
        return benchmark_all(models, boundary="frame", **how)
    except CannotRunError as error:
        for candidate in candidates:
            if candidate.opened and candidate.opened.model is error.model:
                candidate.verdict, candidate.reason, candidate.opened = "skipped", str(error), None
        return _timed(candidates, **how)


def _command(bundle: Bundle, winner: Candidate) -> str:
    """What to type to use it."""
    path = shlex.quote(str(bundle.path))
    return f"kd-deploy infer {path} SOURCE -o OUT --backend {winner.backend} --precision {winner.precision}"


def _judged(
    bundle: Bundle,
    backends: Sequence[str],
    wanted: Sequence[str] | None,
    threads: int | None,
    stack: ExitStack,
    tell: Progress,
) -> list[Candidate]:
    """Every candidate with its verdict; those that pass stay open, on the stack."""
    candidates: list[Candidate] = []
    for number, backend in enumerate(backends):
        try:
            names = precisions(backend, bundle)
            for name in names:
                if wanted is None or name in wanted:
                    candidate = Candidate(backend, name)
                    _judge(bundle, candidate, candidates, threads, stack)
                    candidates.append(candidate)
        except MissingComponentError as error:  # of any precision, then
            candidates.append(Candidate(backend, "any", reason=str(error)))
        tell(_GATE_SHARE * (number + 1) / len(backends))
    return candidates


def _judge(
    bundle: Bundle,
    candidate: Candidate,
    others: Sequence[Candidate],
    threads: int | None,
    stack: ExitStack,
) -> None:
    """Open a candidate and judge it by the golden frames, unless another one runs the same model."""
    try:
        opened = open_measured(bundle, (candidate.backend, candidate.precision), threads)
    except MissingComponentError:
        raise
    except UserError as error:
        candidate.reason = str(error)
        return
    with ExitStack() as own:
        model = own.enter_context(opened.model)
        candidate.runs = model.describe().precision
        for other in others:
            if (other.backend, other.runs) == (candidate.backend, candidate.runs):
                candidate.reason = f"runs the same model as {other.precision}"
                return
        try:
            report = judge_golden(bundle, model)
        except CannotRunError as error:
            candidate.verdict, candidate.reason = "fail", str(error)
            return
        bundle.enter(report.to_json())
        candidate.verdict, candidate.agreement = report.verdict, report.pixel_agreement
        candidate.reason = "; ".join(report.reasons) or None
        if report.verdict == "pass":
            candidate.opened = opened
            stack.push(own.pop_all())

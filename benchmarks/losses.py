"""Time and memory of every distillation loss, forward and backward, against a plain loop of the same loss.

    python benchmarks/losses.py [--device cpu cuda] [--repeats R] [--loops N] [--json FILE]

For every size of labels and number of classes: the losses on logits at a quarter of the labels' height and width,
teacher's and student's grids alike, and the losses on features (64 channels of the student's, 128 of the teacher's) at
a sixteenth; brd.boundary reads four levels, from an eighth to a sixty-fourth. Labels are blocks like a street's
(about 20 classes in an image, some pixels ignored). Each loop (loops.py) is first checked against ours, value and
gradients, to 1e-3; the run ends where they differ.

ms: median wall time of a forward and backward to the student's tensors (and what mgd learns), float32 without
TF32, from an idle device to an idle device, so that a GPU's times include launching. All losses of a table are
timed in turn, round after round, the loops in the first rounds. bpkd.edge_masks has no gradient: forward alone.
peak MB: the most memory held at once beside the inputs, in 1e6 bytes. On CUDA the allocator's peak; on a CPU the
results of operators while anyone holds them, without the scratch memory inside an operator.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import loops
import torch
from loops import FEATURES, LOGITS, Loss
from timing import describe, interleaved, positive, say, street, table, with_peak, write_results
from torch import Tensor

from kd_deploy.distill.methods import METHODS
from kd_deploy.distill.methods.bpkd import edge_masks
from kd_deploy.distill.methods.mgd import MGD

STUDENT, TEACHER = 64, 128
"""Channels of the features."""


@dataclass(frozen=True)
class Case:
    """A loss on its inputs, ours and as a loop; `inputs` get the gradient."""

    name: str
    ours: Callable[[], Tensor]
    loop: Callable[[], Tensor]
    inputs: list[Tensor]

    def run(self, loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        """The value, and the gradients where there are any."""
        value = loss()
        if not self.inputs:
            return (value,)
        return value.detach(), *torch.autograd.grad(value, self.inputs)


@dataclass(frozen=True)
class Row:
    """What was measured of one loss; times in milliseconds, memory in bytes."""

    device: str
    labels: str
    classes: int
    group: str
    method: str
    ms: float
    times_kd: float
    loop_ms: float
    peak: int
    loop_peak: int
    samples: list[float]
    loop_samples: list[float]

    def cells(self) -> list[str]:
        times = (
            f"{self.ms:.2f}",
            f"{self.times_kd:.2f}",
            f"{self.loop_ms:.2f}",
            f"{self.loop_ms / self.ms:.1f}",
        )
        return [self.method, *times, f"{self.peak / 1e6:.1f}", f"{self.loop_peak / 1e6:.1f}"]


HEAD = ("method", "ms", "x kd", "loop ms", "loop / ours", "peak MB", "loop's peak MB")


def main() -> None:
    arguments = parse()
    torch.backends.cudnn.allow_tf32 = False  # else the convolutions of two shapes round differently
    rows: list[Row] = []
    for device in map(torch.device, arguments.device):
        repeats = f"medians of {max(arguments.repeats, arguments.loops)} and {arguments.loops} (loops)"
        print(f"\n{describe(device)}; batch {arguments.batch}, {repeats}")
        for size in arguments.labels:
            for classes in arguments.classes:
                labels = street(arguments.batch, size, classes, device)
                cases = logit_cases(labels, classes)
                rows += measured("logits", cases, labels, classes, arguments)
            classes = arguments.classes[0]
            labels = street(arguments.batch, size, classes, device)
            cases = [logit_cases(labels, classes)[0], *feature_cases(labels)]
            rows += measured("features", cases, labels, classes, arguments)
    print("\n".join(["", *expectations(rows)]))
    write_results(arguments.json, {"batch": arguments.batch, "rows": [vars(row) for row in rows]})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", nargs="+", choices=["cpu", "cuda"], default=there)
    sizes = [(512, 512), (256, 512)]
    parser.add_argument(
        "--labels", nargs="+", type=size_of, default=sizes, metavar="HxW", help="512x512 at most"
    )
    parser.add_argument("--classes", nargs="+", type=int, default=[19, 150])
    parser.add_argument("--batch", type=positive, default=2)
    parser.add_argument("--repeats", type=positive, default=15, help="of our losses")
    parser.add_argument("--loops", type=positive, default=3, help="repeats of the loops (up to 90 s each)")
    parser.add_argument("--json", type=Path, help="a file for every sample")
    return parser.parse_args()


def size_of(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def pair(channels: tuple[int, int], labels: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Student and teacher at `stride` of the labels."""
    batch, height, width = labels.shape
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        2
        * torch.randn(batch, count, height // stride, width // stride, generator=generator).to(labels.device)
        for count in channels
    )
    return student.requires_grad_(), teacher


def logit_cases(labels: Tensor, classes: int) -> list[Case]:
    student, teacher = pair((classes, classes), labels, 4)
    made = labels, classes, (student.shape[-2], student.shape[-1])
    masks = Case("bpkd.edge_masks", partial(edge_masks, *made), partial(loops.bpkd_masks, *made), [])
    given = student, teacher, labels
    unbound = partial(loops.icsd_unbound, *given)
    pairs = Case("icsd, loop unbound", partial(METHODS["icsd"], *given), unbound, [student])
    return [*cases_of(LOGITS, *given), pairs, masks]


def feature_cases(labels: Tensor) -> list[Case]:
    student, teacher = pair((STUDENT, TEACHER), labels, 16)
    given = student, teacher, labels
    module = MGD(STUDENT, TEACHER).to(labels.device)
    learned = [student, *module.parameters()]
    mgd = Case("mgd", partial(module, *given), partial(loops.mgd, module, *given), learned)
    levels = [pair((STUDENT, TEACHER), labels, stride) for stride in (8, 16, 32, 64)]
    read = [s for s, _ in levels], [t for _, t in levels], labels
    ours = partial(METHODS["brd.boundary"], *read)
    boundary = Case("brd.boundary", ours, partial(loops.brd_boundary, *read), read[0])
    return [*cases_of(FEATURES, *given), mgd, boundary]


def cases_of(methods: dict[str, Loss], student: Tensor, teacher: Tensor, labels: Tensor) -> list[Case]:
    given = student, teacher, labels
    return [
        Case(name, partial(METHODS[name], *given), partial(loop, *given), [student])
        for name, loop in methods.items()
    ]


def measured(
    group: str, cases: list[Case], labels: Tensor, classes: int, arguments: argparse.Namespace
) -> list[Row]:
    """Check, time and print one table; its first case is kd."""
    height, width = labels.shape[1:]
    stride = 4 if group == "logits" else 16
    where = f"labels {height}x{width}, {group} {height // stride}x{width // stride}, {classes} classes"
    say(f"{labels.device.type}, {where}: checking")
    peaks = [checked(case, labels.device) for case in cases]
    ours = {case.name: partial(case.run, case.ours) for case in cases}
    plain = {f"{case.name} (loop)": partial(case.run, case.loop) for case in cases}
    say(f"{labels.device.type}, {where}: timing")
    samples = interleaved(ours | plain, arguments.loops, labels.device)
    for name, times in interleaved(ours, arguments.repeats - arguments.loops, labels.device).items():
        samples[name] += times
    middle = {name: median(times) for name, times in samples.items()}
    rows = [
        Row(
            device=labels.device.type,
            labels=f"{height}x{width}",
            classes=classes,
            group=group,
            method=case.name,
            ms=middle[case.name],
            times_kd=middle[case.name] / middle["kd"],
            loop_ms=middle[f"{case.name} (loop)"],
            peak=peak,
            loop_peak=loop_peak,
            samples=samples[case.name],
            loop_samples=samples[f"{case.name} (loop)"],
        )
        for case, (peak, loop_peak) in zip(cases, peaks, strict=True)
    ]
    print(f"\n### {where}\n\n{table(HEAD, [row.cells() for row in rows])}", flush=True)
    return rows


def checked(case: Case, device: torch.device) -> tuple[int, int]:
    """The peaks of ours and of the loop, once both have given the same value and gradients."""
    case.run(case.ours)  # the GPU's libraries take their workspace, and keep it
    torch.manual_seed(0)  # mgd draws its mask
    ours, peak = with_peak(partial(case.run, case.ours), device)
    torch.manual_seed(0)
    plain, loop_peak = with_peak(partial(case.run, case.loop), device)
    for a, b in zip(ours, plain, strict=True):
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()) if b.ndim else 0.0):
            raise SystemExit(
                f"{case.name}: ours and the loop differ by up to {float((a - b).abs().max()):.3g}"
            )
    return peak, loop_peak


def expectations(rows: list[Row]) -> list[str]:
    """What was expected of these numbers, beside what came out."""
    logits = [row for row in rows if row.group == "logits"]
    lines = [
        f"icsd, 150 classes, {row.device}, {row.labels}: expected at least 300 times as fast as a loop over pairs, "
        f"found {row.loop_ms / row.ms:.0f}"
        for row in logits
        if row.method == "icsd" and row.classes == 150
    ]
    terms = [r for r in logits if r.method in LOGITS and r.classes == 19]
    for device, size in dict.fromkeys((r.device, r.labels) for r in terms):
        worst = max((r for r in terms if (r.device, r.labels) == (device, size)), key=lambda r: r.times_kd)
        lines.append(
            f"terms on logits, 19 classes, {device}, {size}: expected at most 3 times kd's time, found "
            f"{worst.times_kd:.2f} ({worst.method})"
        )
    return lines


if __name__ == "__main__":
    main()

"""The demo: everything kd-deploy does, on drawn street scenes, on a CPU in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kd_deploy.config.data import SyntheticData
from kd_deploy.config.load import load_recipe
from kd_deploy.data.dataset import frames, open_dataset
from kd_deploy.data.scenes import draw_drive
from kd_deploy.deploy import export_run
from kd_deploy.progress import Progress
from kd_deploy.report.demo import Results, write_report
from kd_deploy.run import Run
from kd_deploy.runtime.benchmark import benchmark_bundle
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.infer import InferReport, View, infer
from kd_deploy.runtime.model import Model, open_model
from kd_deploy.runtime.parity import check_bundle
from kd_deploy.runtime.video import write_video
from kd_deploy.training.train import distill, train

DRIVE_SECONDS, DRIVE_FPS = 6.0, 25
BENCHMARK_SECONDS = 2.0  # for each backend and boundary
ROLES = ("teacher", "student alone", "student distilled")
"""The three runs, by the names of the report; their folders have - for the blank."""


def run_demo(output: Path, overrides: Sequence[str] = (), *, seed: int = 0) -> Path:
    """Run the demo in `output`, going on where an earlier, interrupted one stopped; returns the report's path.

    Raises:
        UserError: `output` holds a demo with other settings, or the disk refuses.
    """
    recipe = load_recipe("demo", overrides).seeded(seed)
    if not isinstance(recipe.data, SyntheticData):
        raise UserError("--set data.format: the demo runs on synthetic scenes; use train and distill instead")
    paths = {role: output / role.replace(" ", "-") for role in ROLES}
    teacher, alone, distilled = paths.values()
    train(recipe, "teacher", teacher, device="cpu", resume=True)
    train(recipe, "student", alone, device="cpu", resume=True)
    distill(recipe, distilled, teacher=str(teacher), device="cpu", resume=True)
    bundle = export_run(distilled, output / "bundle", replace=True)
    drive = _write_drive(output / "drive.mp4", recipe.data)
    with open_model(bundle) as deployed, open_model(bundle, backend="torch") as reference:
        parity = check_bundle(bundle, deployed, reference, frames(open_dataset(recipe.data, "val")))
        benchmark = benchmark_bundle(bundle, [reference, deployed], seconds=BENCHMARK_SECONDS)
        video = _infer(bundle, deployed, drive, output)
    runs = {role: Run.open(path) for role, path in paths.items()}
    return write_report(output / "report.html", Results(recipe, runs, bundle, parity, benchmark, video))


def _write_drive(path: Path, data: SyntheticData) -> Path:
    """A drive through one drawn street, as the video that a camera would give: larger than the network's frames."""
    count, (height, width) = round(DRIVE_SECONDS * DRIVE_FPS), data.size
    with write_video(path, DRIVE_FPS) as sink, Progress("draw the drive", count) as progress:
        for image, _ in draw_drive(data.seed, count, (2 * height, 2 * width)):
            sink.write(image)
            progress.advance(sink.frames)
    return path


def _infer(bundle: Bundle, deployed: Model, drive: Path, output: Path) -> InferReport:
    """The video twice: drive-segmented.mp4 for players, and the .webm that a browser shows in the report."""

    def segmented(suffix: str, view: View) -> InferReport:
        with Progress(f"infer {suffix}", round(DRIVE_SECONDS * DRIVE_FPS)) as progress:
            return infer(
                deployed,
                drive,
                output / f"drive-segmented{suffix}",
                view=view,
                class_names=bundle.classes,
                palette=bundle.palette,
                progress=progress.advance,
            )

    report, _ = segmented(".mp4", "side-by-side"), segmented(".webm", "overlay")
    return report

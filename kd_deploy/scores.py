"""What a run's networks scored in PyTorch, as a bundle's ledger keeps it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError


def run_scores(run: Run) -> list[dict[str, Any]]:
    """Entries for the ledger: the run's teacher where it is a finished run that still lies there, then the run."""
    teacher = _finished(run.teacher)
    return [*([] if teacher is None else [teacher]), _entry(run)]


def _finished(source: str | None) -> dict[str, Any] | None:
    try:
        return _entry(Run.open(Path(source))) if source else None
    except UserError:  # a file of weights, a hub's, or a run that was moved, is not finished or damaged
        return None


def _entry(run: Run) -> dict[str, Any]:
    """What a run scored.

    Raises:
        UserError: it is not finished, or its summary is damaged.
    """
    summary = run.summary()
    try:
        return _scores(run, summary)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{run.path / 'summary.json'}: is damaged ({error!r}); copy the run again, or train it anew"
        ) from error


def _scores(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """As `ParityReport.to_json` where the keys are the same; nothing was compared, so there is no verdict."""
    written = (run.path / "summary.json").stat().st_mtime
    network, views = run.network, run.recipe.evaluate
    return {
        "role": run.role,
        "network": f"{network.arch} on {network.encoder}",
        "verdict": None,
        "candidate": {
            "miou": summary["miou"],
            "pixel_accuracy": summary.get("pixel_accuracy"),
            "boundary_iou": summary["boundary_iou"],
            "backend": "torch",
            "precision": "fp32",
            "device": summary["device"],
            "versions": summary["versions"],
        },
        **({"views": views.to_json()} if views.many else {}),
        "frames": summary["images"],
        "golden": False,
        "date": datetime.fromtimestamp(written, timezone.utc).isoformat(timespec="seconds"),
        "kd_deploy": summary["versions"].get("kd-deploy"),
    }

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
    return [_entry(found) for found in (teacher, run) if found]


def _finished(source: str | None) -> Run | None:
    try:
        found = Run.open(Path(source)) if source else None
    except UserError:  # a file of weights, a hub's, or a run that was moved
        return None
    return found if found and found.finished else None


def _entry(run: Run) -> dict[str, Any]:
    """As `ParityReport.to_json` where the keys are the same; nothing was compared, so there is no verdict."""
    summary = run.summary()
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

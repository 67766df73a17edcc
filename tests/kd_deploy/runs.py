"""Finished runs without a training: what `compare` reads of a run's folder, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kd_deploy.config.load import dump_recipe, load_recipe

METHODS = {
    "alone": "[]",
    "kd": "[{method: kd, weight: 1}]",
    "kd3": "[{method: kd, weight: 3}]",
    "pair": "[{method: kd, weight: 1}, {method: cwd, weight: 3}]",
    "long": "[{method: icsd, weight: 1}, {method: kd, weight: 1}, {method: brd.relation, weight: 1}]",
    "swapped": "[{method: cwd, weight: 3}, {method: kd, weight: 1}]",
}


def write_run(
    path: Path,
    method: str,
    miou: float,
    *overrides: str,
    seed: int = 0,
    teacher: Path | str | None = None,
    **summary: Any,
) -> Path:
    """A finished run of `method`: a key of METHODS, or "teacher"."""
    role = "teacher" if method == "teacher" else "student"
    terms = METHODS.get(method, "[]")
    recipe = load_recipe("demo", [f"distill={terms}", *overrides]).seeded(seed)
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    source = str(teacher or path.parent / "teacher") if terms != "[]" else None
    (path / "run.json").write_text(json.dumps({"role": role, "teacher": source}))
    facts = {
        "seed": seed,
        "miou": miou,
        "boundary_iou": miou / 2,
        "trimap_iou": {width: miou - 10 + int(width) / 2 for width in ("1", "2", "4", "8", "16")},
        "seconds": 100.0,
        "seconds_per_step": 0.5,
        "images": 64,
        "classes": {"sky": miou, "road": miou},
        "device": "a CPU",
    }
    (path / "summary.json").write_text(json.dumps(facts | summary))
    return path

"""A bundle's report: what it holds, whether its masks are the reference's, how fast it is, and its golden frames."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kd_deploy.config.views import Views
from kd_deploy.export.section import read_section
from kd_deploy.report import figures
from kd_deploy.report.frames import css, figure, mask_figure
from kd_deploy.report.page import render
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.overlay import blend


def bundle_page(path: Path) -> str:
    """The page of a bundle, from what stands in its folder; nothing is run.

    Raises:
        UserError: no bundle, or one whose files were changed.
    """
    bundle = Bundle.open(path)
    parity, benchmark = (
        _kept(path, "parity", ("verdict", "candidate")),
        _kept(path, "benchmark", ("results",)),
    )
    return render(
        "bundle.html.j2",
        path=path,
        manifest=bundle.manifest,
        facts=_facts(bundle),
        parity=parity,
        ledger=[_line(entry) for entry in bundle.ledger()],
        benchmark=benchmark,
        latencies=figures.latencies(benchmark["results"]) if benchmark else None,
        golden=_golden(bundle),
        legend=[(name, css(color)) for name, color in zip(bundle.classes, bundle.palette, strict=True)],
    )


def _kept(path: Path, command: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """What a command left beside the bundle; None where it was never run."""
    file = path / f"{command}.json"
    if not file.exists():
        return None
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _ = [result[key] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        again = f"kd-deploy {command} {shlex.quote(str(path))}"
        raise UserError(f"{file}: is damaged ({error}); run {again} again") from error
    return result


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    """A result of the ledger as a line of its table; older ledgers know less."""
    scored = entry["candidate"]
    role = entry.get("role")
    views = Views(**entry["views"]) if "views" in entry else None
    return {
        "what": f"{role}, {entry['network']}" if role else f"{scored['backend']} {scored['precision']}",
        "views": str(views) if views else "",
        "device": scored["device"],
        "miou": scored.get("miou"),
        "miou_drop": entry.get("miou_drop"),
        "boundary_iou": scored.get("boundary_iou"),
        "boundary_drop": entry.get("boundary_drop"),
        "agreement": entry.get("pixel_agreement"),
        "frames": _frames(entry),
        "verdict": entry.get("verdict"),
        "date": entry.get("date") or "",
        "version": entry.get("kd_deploy") or "",
    }


def _frames(entry: dict[str, Any]) -> str:
    """How many frames, and of which data as far as that is known."""
    parts = [entry.get("frames", "–"), "golden" if entry.get("golden") else None]
    parts += ["of", entry["data"], entry.get("split")] if entry.get("data") else []
    return " ".join(str(part) for part in parts if part)


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    height, width = bundle.size
    source, network = manifest["source"], manifest["network"]
    models = [f"{name} ({_megabytes(bundle.file(file))})" for name, file in manifest["models"].items()]
    return [
        ("network", f"{network['arch']} on {network['encoder']}"),
        ("takes", f"uint8 (N, {height}, {width}, 3) BGR, gives uint8 (N, {height}, {width}) class ids"),
        ("models", f"{', '.join(models)}; ONNX opset {manifest['opset']}"),
        ("classes", f"{len(bundle.classes)}; id {manifest['ignore']} in labels is ignored"),
        (
            "trained by",
            f"{' + '.join(source['terms'])}, {source['iterations']} iterations, seed {source['seed']}",
        ),
        ("scored", f"before the export, on {manifest['data']['format']} val: {_scores(bundle)}"),
        ("created", str(manifest["created"])),
        ("files", f"{len(manifest['files'])}, each as its sha256 in the manifest says"),
    ]


def _scores(bundle: Bundle) -> str:
    source, names = bundle.manifest["source"], {"miou": "mIoU", "boundary_iou": "boundary IoU"}
    scores = [f"{name} {source[key]:.2f}" for key, name in names.items() if source[key] is not None]
    seen = f" ({read_section(bundle, 'source.views', Views, source['views'])})" if "views" in source else ""
    return ", ".join(scores) + seen


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.1f} MB"


def _golden(bundle: Bundle) -> list[Markup]:
    """Each golden frame, PyTorch's mask, and one over the other."""
    rows = []
    for name, image, mask in bundle.golden():
        over = blend(image, mask, bundle.palette)
        parts = [
            figure(name, image),
            mask_figure("PyTorch's mask", mask, bundle.palette),
            figure("mask over frame", over),
        ]
        rows.append(Markup("").join(parts))
    return rows

"""Write a bundle: the ONNX graph, the reference weights, golden frames and the manifest, then check it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kd_deploy.config.schema import Network
from kd_deploy.export.measure import measure
from kd_deploy.export.onnx_graph import OPSET, Ends
from kd_deploy.export.precisions import (
    FOR_CPU,
    NOT_ON_A_CPU,
    Precision,
    Written,
    check_frames,
    write_models,
)
from kd_deploy.export.refusals import check_place, enough_memory
from kd_deploy.export.simplify import find_onnxsim, simplify
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.weights import write_weights
from kd_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from kd_deploy.runtime.bundle import MANIFEST, SCHEMA, Bundle, sha256
from kd_deploy.runtime.environment import versions
from kd_deploy.runtime.errors import GateFailedError
from kd_deploy.runtime.files import atomic_folder, write_json
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.images import write_image
from kd_deploy.runtime.metrics import Result, Score
from kd_deploy.runtime.model import open_model
from kd_deploy.runtime.parity.limits import golden_limits
from kd_deploy.runtime.segment import to_size

REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Content:
    """What goes into a bundle.

    Attributes:
        segmenter: the trained network.
        network: its recipe section, which rebuilds it.
        ends: the size and the number of the frames it will take.
        golden: frames that travel with the bundle, resized to `size` where they differ.
        thresholds: the parity gate's limits, by name.
        data: how the data set is read again: the recipe's section without its folder.
        source: where the network comes from: the run's summary.
        precisions: what to write; fp32 always is.
        calibration: frames of the training split, for the others.
        measured: labelled frames on which each precision is judged, at every call from the first on.
        scores: what teacher and student scored in PyTorch, entries of the ledger.
        simplify: whether onnxsim goes over the float graphs.
    """

    segmenter: Segmenter
    network: Network
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    ends: Ends
    golden: Sequence[Frame]
    thresholds: dict[str, Any]
    data: dict[str, Any]
    source: dict[str, Any]
    precisions: tuple[Precision, ...] = ("fp32",)
    calibration: Sequence[Frame] = ()
    measured: Callable[[], Iterable[Frame]] | None = None
    scores: Sequence[dict[str, Any]] = ()
    simplify: bool = False


def write_bundle(path: Path, content: Content, *, replace: bool = False) -> Bundle:
    """Write and check a bundle; `path` appears only when every check has passed.

    What can be refused without it is refused before the work.

    Raises:
        UserError: `path` exists and `replace` is not set or it is no bundle, a precision does not serve the network,
            the calibration frames are too few, or the disk refuses.
        MissingComponentError: onnxsim is wanted and not installed.
        GateFailedError: a model's masks of the golden frames, or its mIoU, are not PyTorch's.
    """
    check_place(path, replace=replace)
    check_frames(content.precisions, len(content.calibration))
    if content.simplify:
        find_onnxsim()
    with atomic_folder(path, replace=replace) as folder, enough_memory(content.ends.size):
        (folder / "golden").mkdir()
        golden = _write_golden(folder, content)
        facts = {
            "classes": content.classes,
            "palette": content.palette.tolist(),
            **_ends(content.segmenter, content.ends),
        }
        models = write_models(
            folder,
            content.segmenter,
            content.ends,
            content.precisions,
            content.calibration,
            facts,
            finish=simplify if content.simplify else None,
        )
        write_weights(content.segmenter.network.state_dict(), folder / REFERENCE)
        (folder / "README.md").write_text(_readme(content, models), encoding="utf-8")
        write_json(folder / MANIFEST, _manifest(folder, content, golden, facts, models))
        bundle = Bundle.open(folder)
        allowed = float(content.thresholds["max_miou_drop"])
        reached = {name: _check_golden(bundle, name) for name in models if name not in NOT_ON_A_CPU}
        limits = {name: golden_limits(found, allowed) for name, found in reached.items()}
        write_json(folder / MANIFEST, bundle.manifest | {"golden_limits": limits})
        bundle = Bundle.open(folder)
        for entry in content.scores:
            bundle.enter(entry)
        if content.measured:
            measure(bundle, content.measured, list(models))
        check_place(path, replace=replace)  # others may have written there meanwhile
    return Bundle.open(path)


def _write_golden(folder: Path, content: Content) -> list[dict[str, str]]:
    model = TorchModel(content.segmenter, content.ends.size, torch.device("cpu"))
    entries = []
    for number, frame in enumerate(content.golden):
        image = to_size(frame.image, content.ends.size)
        entry = {
            "name": Path(frame.name).name,
            "frame": f"golden/{number:03d}.frame.png",
            "mask": f"golden/{number:03d}.mask.png",
        }
        write_image(folder / entry["frame"], image)
        write_image(folder / entry["mask"], model.run(image[None])[0])
        entries.append(entry)
    return entries


def _ends(segmenter: Segmenter, ends: Ends) -> dict[str, Any]:
    return {
        "ignore": IGNORE,
        "input": ends.to_json(),
        "output": {"name": "mask", "dtype": "uint8", "layout": "NHW"},
        "normalisation": {
            "inside_graph": True,
            "channels": "RGB",
            "mean": segmenter.mean.flatten().tolist(),
            "std": segmenter.std.flatten().tolist(),
        },
    }


def _manifest(
    folder: Path,
    content: Content,
    golden: list[dict[str, str]],
    facts: dict[str, Any],
    models: dict[str, Written],
) -> dict[str, Any]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        "schema": SCHEMA,
        **facts,
        "opset": OPSET,
        "models": {name: model.file for name, model in models.items()},
        "precisions": {name: model.to_json() for name, model in models.items()},
        "reference": REFERENCE,
        "network": content.network.model_dump(include={"arch", "encoder"}),
        "golden": golden,
        "thresholds": content.thresholds,
        "data": content.data,
        "source": content.source,
        "tools": {"python": platform.python_version(), **versions()},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": {p.relative_to(folder).as_posix(): sha256(p) for p in files},
    }


def _check_golden(bundle: Bundle, name: str) -> Result:
    """Run a written graph on the golden frames, one by one and, where it takes any number, all at once.

    Returns the scores of the masks that agree least, by PyTorch's.
    """
    frames, masks = (np.stack(x) for x in list(zip(*bundle.golden(), strict=True))[1:])
    least = bundle.min_agreement(name)
    with OnnxRuntimeCpu(bundle, name) as model:
        results = {f"batch {model.batch or 1}": np.concatenate([model.run(frame[None]) for frame in frames])}
        if model.batch is None:
            together = frames if len(frames) > 1 else np.concatenate((frames, frames))
            results[f"batch {len(together)}"] = model.run(together)[: len(frames)]
    for at, result in results.items():
        agreement = 100.0 * float((result == masks).mean())
        if agreement < least:
            raise GateFailedError(
                f"{name}: at {at} {agreement:.3f} % of the golden frames' pixels agree with PyTorch, "
                f"{least:g} % are required; nothing was written"
            )
    if multiple := bundle.manifest["input"].get("multiple"):
        (height, width), least = bundle.size, bundle.manifest["input"]["least"]
        _check_size(bundle, name, (height + multiple, width + 2 * multiple))
        if name in ("fp32", FOR_CPU):  # so few pixels say nothing of what rounding costs
            _check_size(bundle, name, (least, least))
    score = Score(bundle.classes)
    for mask, *found in zip(masks, *results.values(), strict=True):
        score.update(mask, min(found, key=lambda own: float((own == mask).mean())))
    return score.result()


def _check_size(bundle: Bundle, name: str, size: tuple[int, int]) -> None:
    """A graph of free height and width is run at another size, and compared with PyTorch there."""
    _, frame, _ = next(bundle.golden())
    frame = to_size(frame, size)[None]
    with open_model(bundle, backend="torch") as reference, OnnxRuntimeCpu(bundle, name) as model:
        reference.size = model.size = None
        agreement = 100.0 * float((model.run(frame) == reference.run(frame)).mean())
    if agreement < bundle.min_agreement(name):
        raise GateFailedError(
            f"{name}: at {size[0]}x{size[1]} {agreement:.3f} % of a golden frame's pixels agree with PyTorch, "
            f"{bundle.min_agreement(name):g} % are required; nothing was written"
        )


def _readme(content: Content, models: dict[str, Written]) -> str:
    height, width = content.ends.size
    sides = "H, W" if content.ends.multiple else f"{height}, {width}"
    number = content.ends.batch or "N"
    dynamic = (
        content.ends.multiple or not content.ends.batch
    )  # trtexec takes 1 for what is free and not given
    shapes = f" --shapes=frame:{number}x{height}x{width}x3" if dynamic else ""
    listed = "\n".join(f"- `{model.file}`: {_of(name)}" for name, model in models.items())
    return f"""# A kd-deploy bundle: {content.network.arch} on {content.network.encoder}

{len(content.classes)} classes: {", ".join(content.classes)}.

{listed}

Each takes `frame`, uint8 ({number}, {sides}, 3) in BGR, as OpenCV decodes it, and returns `mask`, uint8
({number}, {sides}) class ids. Normalisation, upsampling and argmax are inside. manifest.json says the rest, with the
sha256 of every file.

On the device, with kd-deploy installed from its checkout (`pip install '.[runtime]'`) and `BUNDLE` for this folder:

    kd-deploy parity BUNDLE                      # the golden frames: does this machine give PyTorch's masks?
    kd-deploy benchmark BUNDLE
    kd-deploy infer BUNDLE street.mp4 -o out.mp4

With TensorRT there:

    kd-deploy build BUNDLE                       # engines for this very machine, checked, in engines/
    kd-deploy parity BUNDLE --backend tensorrt
    trtexec --loadEngine=BUNDLE/engines/FILE.engine{shapes}

`build` prints the last line for each engine, with the number of frames that it was built for.

`reference.safetensors` holds the PyTorch weights, for `--backend torch` and for parity on labelled data; `golden/`
holds frames and PyTorch's masks of them. Where parity was asked, `parity.json` holds the last result and `ledger.json`
the last of each backend, precision and machine.
"""


def _of(name: str) -> str:
    """What a model is for."""
    return {
        "fp32": "float32, channels first, for GPUs",
        FOR_CPU: "the same numbers with the channels last at the end, for CPUs",
        "fp16": "float16 where nothing overflows",
        "bf16": "bfloat16, ONNX opset 22, for TensorRT from 10.6 on; no CPU runs it",
        "int8": "int8 as TensorRT wants it: symmetric, zero points 0; slow on a CPU",
        "int8-cpu": "int8 as CPUs want it",
    }[name]

"""A student's ONNX files for benchmarks/export.py, the plain ones and ours, and how each is run."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from timing import say
from torch import Tensor, nn

from kd_deploy.config.architectures import Arch
from kd_deploy.data.dataset import open_dataset
from kd_deploy.data.scenes import draw_scene
from kd_deploy.export.channels_last import ChannelsLastGraph
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.half import make_half
from kd_deploy.export.mix_transformer import rewritten
from kd_deploy.export.onnx_graph import OPSET, Ends, write_onnx
from kd_deploy.export.quantise import MIN_FRAMES, quantise
from kd_deploy.models.segformer import MergedDecoder
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.models.weights import load
from kd_deploy.run import Run
from kd_deploy.runtime.frames import Frame

Image = NDArray[np.uint8]

CLASSES = 19

PLAIN, INSIDE = "plain", "plain, upsampled inside"
OURS = ("fp32", "fp32-cpu", "fp16", "int8", "int8-cpu")
"""In this order: int8 is made of the fp32 files."""


@dataclass(frozen=True)
class Student:
    """A network with random weights, or a run's."""

    arch: Arch = "deeplabv3plus"
    encoder: str = "mobilenet_v2"
    run: Path | None = None

    def __str__(self) -> str:
        return self.run.name if self.run else f"{self.arch} on {self.encoder}, random weights"

    def segmenter(self) -> Segmenter:
        if self.run is None:
            torch.manual_seed(0)
            return build(self.arch, self.encoder, CLASSES).eval()
        run = Run.open(self.run)
        classes = open_dataset(run.recipe.data, "val").classes
        return load(run.network, str(run.weights), len(classes), key=run.role).eval()


@dataclass(frozen=True)
class Written:
    """An exported file: the seconds it took, and the most bytes that the process which wrote it ever held."""

    path: Path
    seconds: float
    peak: int


def export_all(student: Student, folder: Path, size: tuple[int, int]) -> dict[str, Written]:
    """Every file of a student, by the names above; on Linux a child's peak begins at what its parent holds."""
    folder.mkdir()
    written = {}
    for name in (PLAIN, INSIDE, *OURS):
        say(f"{student}: export {name}")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            job = child.submit(_export, student, name, folder, size, torch.get_num_threads())
            written[name] = job.result()
    return written


def _export(student: Student, name: str, folder: Path, size: tuple[int, int], threads: int) -> Written:
    torch.set_num_threads(threads)
    segmenter, file = student.segmenter(), folder / f"{name}.onnx"
    start = time.perf_counter()
    if name in (PLAIN, INSIDE):
        write_plain(plain(segmenter), file, size, upsampled=name == INSIDE)
    else:
        _write_ours(segmenter, name, file, size)
    seconds = time.perf_counter() - start
    return Written(file, seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def write_plain(network: nn.Module, file: Path, size: tuple[int, int], *, upsampled: bool) -> None:
    torch.onnx.export(
        _Upsampled(network).eval() if upsampled else network,
        (torch.rand(1, 3, *size),),
        file,
        input_names=["x"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _write_ours(segmenter: Segmenter, name: str, file: Path, size: tuple[int, int]) -> None:
    """As `kd-deploy export` does, with drawn scenes for calibration and whatever agreement comes of them."""
    ends = Ends(size)
    frames = [Frame(f"scene {i}", *draw_scene(1, i, size)) for i in range(MIN_FRAMES)]
    if name == "int8":
        quantise(file.with_name("fp32.onnx"), file, "tensorrt", frames, min_agreement=0, silent=True)
    elif name == "int8-cpu":
        quantise(file.with_name("fp32-cpu.onnx"), file, "cpu", frames, min_agreement=0, silent=True)
    elif name == "fp16":
        graph, _ = make_half(segmenter, [frame.image for frame in frames], "fp16", min_agreement=0)
        write_onnx(graph, ends, file, {})
    else:
        form = DeployedGraph if name == "fp32" else ChannelsLastGraph
        write_onnx(form(rewritten(segmenter)), ends, file, {})


def plain(segmenter: Segmenter) -> nn.Module:
    """smp's network, with smp's own decoder put back into it."""
    network: nn.Module = segmenter.network
    merged = network.decoder
    if isinstance(merged, MergedDecoder):
        channels = segmenter.network.encoder.out_channels
        width = merged.fuse_stage[0].out_channels
        decoder: nn.Module = SegformerDecoder(channels, segmentation_channels=width).eval()
        decoder.load_state_dict(merged.state_dict())
        network.decoder = decoder
    return network


class _Upsampled(nn.Module):
    """A network with logits at full size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.network(x), size=x.shape[2:], mode="bilinear", align_corners=False)


def session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return options


def open_session(file: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])


def plain_way(
    session: onnxruntime.InferenceSession, finish: Callable[[Any], Any], mean: Any, std: Any, frame: Image
) -> Image:
    x = (frame[:, :, ::-1].astype(np.float32) / 255 - mean) / std
    x = np.ascontiguousarray(x.transpose(2, 0, 1))[None]
    mask: Image = finish(session.run(None, {"x": x})[0]).astype(np.uint8)
    return mask


def our_way(session: onnxruntime.InferenceSession, frame: Image) -> Image:
    mask: Image = session.run(None, {"frame": frame[None]})[0][0]
    return mask

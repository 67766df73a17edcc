"""A SegFormer's training step and inference with smp's head and with the merged one, which is the same function.

    python benchmarks/segformer_head.py [--encoder mit_b0] [--batch 2] [--crop 128 256] [--device cpu]

step: forward and backward of the logits' mean square, no optimiser. inference: forward alone, in eval mode.
head step: the decoder alone, on features of the encoder. Medians of interleaved repeats, in ms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import segmentation_models_pytorch as smp
import torch
from timing import describe, interleaved, positive, table, write_results
from torch import Tensor, nn

from kd_deploy.device import make_device
from kd_deploy.models.segmenter import Segmenter, build

HEAD = ("what", "smp's head", "merged head", "merged / smp's")


def main() -> None:
    arguments = make_parser().parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = make_device(arguments.device)
    networks = {"smp": plain(arguments.encoder), "merged": build("segformer", arguments.encoder, 19)}
    networks["merged"].load_state_dict(networks["smp"].state_dict())
    images = 255 * torch.rand(arguments.batch, 3, *arguments.crop, device=device)
    calls: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        calls |= {f"{what} {name}": call for what, call in jobs(network.to(device), images).items()}
    interleaved(calls, 2, device)  # warm-up
    samples = interleaved(calls, arguments.repeats, device)
    middle = {name: median(times) for name, times in samples.items()}
    height, width = arguments.crop
    print(
        f"{describe(device)}; {arguments.encoder}, batch {arguments.batch}, {height}x{width}, fp32, "
        f"medians of {arguments.repeats}\n"
    )
    rows = []
    for what in ("step", "head step", "inference"):
        theirs, ours = (middle[f"{what} {name}"] for name in networks)
        rows.append((what, f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs:.2f}"))
    print(table(HEAD, rows))
    write_results(arguments.json, {"settings": vars(arguments) | {"json": None}, "samples": samples})


def plain(encoder: str) -> Segmenter:
    """The same network with smp's own decoder in it."""
    torch.manual_seed(0)
    segmenter = build("segformer", encoder, 19)
    theirs = smp.Segformer(encoder, encoder_weights=None, classes=19, upsampling=1)
    segmenter.network.decoder = theirs.decoder
    return segmenter


def jobs(segmenter: Segmenter, images: Tensor) -> dict[str, Callable[[], object]]:
    decoder: nn.Module = segmenter.network.decoder
    with torch.no_grad():
        features = segmenter.network.encoder(images / 255)
    leaves = [features[0], *(x.clone().requires_grad_() for x in features[1:])]

    def step() -> None:
        segmenter.train().zero_grad()
        segmenter(images).logits.square().mean().backward()

    def head_step() -> None:
        segmenter.train().zero_grad()
        decoder(leaves).square().mean().backward()

    def inference() -> Tensor:
        with torch.inference_mode():
            mask: Tensor = segmenter.eval().predict(images)
        return mask

    return {"step": step, "head step": head_step, "inference": inference}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="mit_b0")
    parser.add_argument("--batch", type=positive, default=2)
    parser.add_argument("--crop", type=positive, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=positive, help="of the CPU; absent: torch's choice")
    parser.add_argument("--repeats", type=positive, default=20)
    parser.add_argument("--json", type=Path, help="a file for every sample")
    return parser


if __name__ == "__main__":
    main()

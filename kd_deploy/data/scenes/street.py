"""What the synthetic street is built of: sky, ground and skyline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.scenes.canvas import (
    BUILDING,
    FAR,
    NEAR,
    ROAD,
    SIDEWALK,
    SKY,
    VEGETATION,
    Canvas,
    Colour,
    Floats,
)
from kd_deploy.data.scenes.plants import LEAVES, WALLS, paint_crown

_PER_METRE = 24  # texels of the ground


@cache
def noise(size: int, blur: float, seed: int) -> NDArray[np.float32]:
    """(size, size) tile of smooth noise with mean 0 and deviation 1 that wraps around."""
    rough = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    margin = int(4 * blur) + 1
    smooth = cv2.GaussianBlur(np.pad(rough, margin, mode="wrap"), (0, 0), blur)[
        margin:-margin, margin:-margin
    ]
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)


@dataclass(frozen=True)
class Ground:
    """Cross-section and surface of the street; x in metres from the camera's lane."""

    left: float  # the kerbs
    right: float
    walk_left: float  # widths of the sidewalks
    walk_right: float
    asphalt: Colour
    paving: Colour
    verge: Colour
    crossings: list[float]  # z of the crossroads
    cycle_lane: Colour | None
    patches: list[tuple[float, float, float, float]] = field(
        default_factory=list
    )  # repairs: x, z, width, length


def draw_sky(canvas: Canvas, clouds: float, offset: int) -> None:
    """Fill everything above the horizon: a gradient and clouds that turn with the heading."""
    light, rows = canvas.light, int(canvas.horizon) + 2
    zenith, horizon = np.array(light.zenith), np.array(light.horizon)
    height = np.linspace(1, 0, 64)[:, None, None] ** 0.8
    sky = height * zenith + (1 - height) * horizon
    turn = canvas.view.heading * canvas.view.focal * 64
    tile = np.roll(noise(64, 3.0, 1) + 0.4 * noise(64, 1.2, 2), offset - int(turn), axis=1)[..., None]
    cover = np.clip(0.55 * (tile + clouds), 0, 0.85) * (0.35 + 0.65 * height)
    cloud = np.minimum(horizon * 0.5 + 128, 255)
    small = np.clip((sky + cover * (cloud - sky)) * np.array(light.gain), 0, 255).astype(np.uint8)
    canvas.pixels[:rows, :, :3] = cv2.resize(small, (canvas.width, rows), interpolation=cv2.INTER_CUBIC)
    canvas.pixels[:rows, :, 3] = SKY


def ribbon(
    canvas: Canvas, x0: float, x1: float, z0: float, z1: float, y: tuple[float, float] = (0, 0)
) -> Floats:
    """(2k, 3) outline of a strip along the street, in short pieces so that it follows the bend."""
    near = canvas.view.z + NEAR
    z = np.clip(canvas.view.z + np.geomspace(NEAR, 4 * FAR, 32), max(z0, near), max(z1, near))
    there = np.stack([np.full_like(z, x0), np.full_like(z, y[0]), z], axis=1)
    back = np.stack([np.full_like(z, x1), np.full_like(z, y[1]), z], axis=1)[::-1]
    return np.concatenate([there, back])


def draw_ground(canvas: Canvas, ground: Ground) -> None:
    """Road, markings, sidewalks and verges, then texture, the shadows cast before, and haze by row."""
    z, ahead = canvas.view.z, canvas.view.z + 4 * FAR
    left, right = ground.left, ground.right
    light = canvas.light
    canvas.light = replace(light, visibility=np.inf)  # the haze comes at the end, row by row
    canvas.pixels[int(canvas.horizon) + 1 :] = (
        *(c * g for c, g in zip(ground.verge, light.gain, strict=True)),
        VEGETATION,
    )
    canvas.paint(
        ribbon(canvas, left - ground.walk_left, right + ground.walk_right, z, ahead), ground.paving, SIDEWALK
    )
    for x in (left, right):
        kerb = [c * 0.78 for c in ground.paving]
        canvas.paint(ribbon(canvas, x - 0.18, x + 0.18, z, ahead), kerb, SIDEWALK)
    joints = np.ceil(z / 1.4) * 1.4 + 1.4 * np.arange(18)
    for x0, x1 in ((left - ground.walk_left, left - 0.2), (right + 0.2, right + ground.walk_right)):
        canvas.paint(_crossbars(x0, x1, joints, 0.05), [c * 0.86 for c in ground.paving], SIDEWALK)
    canvas.paint(ribbon(canvas, left, right, z, ahead), ground.asphalt, ROAD)
    if ground.cycle_lane:
        canvas.paint(ribbon(canvas, 1.85, 2.85, z, ahead), ground.cycle_lane, ROAD)
    for x, start, width, length in ground.patches:
        if z < start < z + 50:
            canvas.paint(
                _crossbars(x, x + width, np.array([start]), length), [c * 0.84 for c in ground.asphalt], ROAD
            )
    _markings(canvas, ground)
    canvas.flush()
    canvas.light = light
    _finish_ground(canvas)


def _crossbars(x0: float, x1: float, starts: NDArray[np.float64], length: float) -> Floats:
    """(N, 4, 3) rectangles on the ground from x0 to x1 that begin at the given z."""
    bars = np.zeros((len(starts), 4, 3))
    bars[:, :, 0] = (x0, x1, x1, x0)
    bars[:, :, 2] = starts[:, None] + (0, 0, length, length)
    return bars


def _markings(canvas: Canvas, ground: Ground) -> None:
    z, ahead, white = canvas.view.z, canvas.view.z + FAR, (212, 212, 206)
    dashes = np.ceil(z / 6 - 1) * 6 + 6 * np.arange(18)
    canvas.paint(_crossbars(-1.82, -1.68, dashes, 3.0), white, ROAD)
    for x in (ground.left + 2.3, 1.8):
        canvas.paint(ribbon(canvas, x - 0.06, x + 0.06, z, ahead), white, ROAD)
    for crossing in ground.crossings:
        if not z - 14 < crossing < ahead:
            continue
        canvas.paint(_crossbars(-70, 70, np.array([crossing]), 9.0), ground.asphalt, ROAD)
        for start in (crossing - 4.0, crossing + 9.8):
            for x in np.arange(ground.left + 0.4, ground.right - 0.5, 1.0):
                canvas.paint(_crossbars(x, x + 0.5, np.array([start]), 3.0), white, ROAD)
        canvas.paint(_crossbars(-1.6, 1.7, np.array([crossing - 5.4]), 0.45), white, ROAD)


@cache
def _asphalt() -> NDArray[np.float32]:
    """Fine grain on coarse stains."""
    return 4.5 * noise(256, 1.0, 4) + 4.0 * noise(256, 6.0, 3)


def _finish_ground(canvas: Canvas) -> None:
    view, light, first = canvas.view, canvas.light, int(canvas.horizon) + 1
    rows = np.arange(first, canvas.height, dtype=np.float32)[:, None] + np.float32(0.5 - canvas.horizon)
    z = np.minimum(np.float32(canvas.focal * view.height) / rows, np.float32(2 * FAR))
    columns = np.arange(canvas.width, dtype=np.float32)[None] - np.float32(view.centre * canvas.width)
    x = columns * (z / np.float32(canvas.focal)) + (
        np.float32(view.x) - np.float32(0.5 * view.curvature) * z * z
    )
    along = z + np.float32(view.z % 32)  # 32 m: the tile repeats
    ahead = np.broadcast_to(along * np.float32(_PER_METRE), x.shape)
    sample = cv2.remap(
        _asphalt(), x * np.float32(_PER_METRE), ahead, cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP
    )
    grain = sample * np.clip(np.float32(24) / z, 0, 1)
    keep = np.exp(z / np.float32(-light.visibility))
    shadow = cv2.blur(canvas.shadow[first:], (5, 5)) * np.float32((0.26 + 0.22 * light.direct) / 255)
    lit = (1 - shadow) * keep
    for channel in range(3):
        haze = (1 - keep) * np.float32(light.horizon[channel] * light.gain[channel])
        surface = (canvas.pixels[first:, :, channel] + grain) * lit + haze
        canvas.pixels[first:, :, channel] = np.clip(surface, 0, 255)


def draw_skyline(canvas: Canvas, seed: int) -> None:
    """Houses and woods so far away that only turning moves them."""
    look, turn = Random(seed), canvas.view.heading * FAR
    z = canvas.view.z + FAR
    for _ in range(48):
        x, half = (look.uniform(-260, 260) - turn + 260) % 520 - 260, look.uniform(5, 13)
        height, leaf, wall, wood = (
            look.uniform(6, 24),
            look.choice(LEAVES),
            look.choice(WALLS),
            look.random() < 0.5,
        )
        if not canvas.sees(x, z - 1, half):
            continue
        if wood:
            paint_crown(canvas, Random(seed), (x, 2.0, z), (1.3 * half, 0.35 * height), leaf, finest=5)
        else:
            quad = [[x - half, -1, z], [x + half, -1, z], [x + half, height, z], [x - half, height, z]]
            canvas.paint(quad, wall, BUILDING)
    canvas.flush()

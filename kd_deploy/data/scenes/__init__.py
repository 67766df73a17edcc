"""Synthetic street scenes with labels: the built-in data set `synthetic`, drawn from a seed.

`draw_scene` is one random world seen from one place; `draw_drive` moves the camera through such a world. The
classes are the eleven of CamVid. A picture follows from (seed, index, size) alone; labels are never blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.scenes.canvas import CLASSES, FAR, IGNORE, ROAD, SIDEWALK, SUPERSAMPLING, Canvas
from kd_deploy.data.scenes.population import SPEED
from kd_deploy.data.scenes.street import draw_ground, draw_sky, draw_skyline
from kd_deploy.data.scenes.world import World, build_world

__all__ = ["CLASSES", "IGNORE", "PALETTE", "draw_drive", "draw_scene"]

Image = NDArray[np.uint8]
FPS = 25.0  # of a drive

# In the order of CLASSES, the colours of Cityscapes; poles and fences, near to each other there, set apart.
PALETTE: Image = np.array(
    [
        (70, 130, 180), (70, 70, 70), (200, 200, 200), (128, 64, 128), (244, 35, 232), (107, 142, 35),
        (220, 220, 0), (190, 130, 110), (0, 0, 142), (220, 20, 60), (119, 11, 32),
    ],
    np.uint8,
)  # fmt: skip


def draw_scene(seed: int, index: int, size: tuple[int, int]) -> tuple[Image, Image]:
    """Scene `index` of the data set `seed` at `size` (H, W).

    Returns the image, (H, W, 3) uint8 BGR, and the label map, (H, W) uint8: ids of CLASSES, or IGNORE on the
    bonnet of the own car.
    """
    rng = np.random.default_rng([seed, index])
    world = build_world(rng, FAR)
    return _render(world, size, 0.0, 0.0, rng)


def draw_drive(seed: int, frames: int, size: tuple[int, int]) -> Iterator[tuple[Image, Image]]:
    """A drive of `frames` frames, 25 a second, through one world; yields what `draw_scene` returns."""
    rng = np.random.default_rng([seed, 0, 1])
    world = build_world(rng, FAR + frames * SPEED / FPS)
    for frame in range(frames):
        time = frame / FPS
        yield _render(world, size, time * SPEED, time, rng)


def _render(
    world: World, size: tuple[int, int], distance: float, time: float, rng: np.random.Generator
) -> tuple[Image, Image]:
    """The world after `time` seconds, seen from `distance` metres along the street."""
    wave = distance / 60  # the street winds: curvature bend * cos(wave), and its integral, the heading
    view = replace(
        world.view, z=distance, curvature=world.bend * cos(wave), heading=world.bend * 60 * sin(wave)
    )
    canvas = Canvas(size, view, world.light)
    placed = [(thing, *thing.place(time)) for thing in world.things]
    seen = [(z + thing.reach, thing) for thing, x, z in placed if canvas.sees(x, z, thing.extent)]
    seen.sort(key=lambda pair: -pair[0])  # painter's algorithm: far to near
    bodies = [thing.body(time) for thing, _, z in placed if -20 < z - distance < 70]
    canvas.cast([body for body in bodies if body is not None])
    draw_sky(canvas, world.clouds, world.look % 64)
    draw_skyline(canvas, world.look)
    draw_ground(canvas, world.ground)
    for _, thing in seen:
        thing.draw(canvas, time)
    canvas.flush()
    if world.wet:
        _reflect(canvas)
    label = np.ascontiguousarray(
        canvas.pixels[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING, 3]
    )
    image = cv2.resize(canvas.pixels[:, :, 2::-1], (size[1], size[0]), interpolation=cv2.INTER_AREA)
    if world.bonnet:
        _draw_bonnet(image, label, world.bonnet)
    return _photograph(image, world, rng), label


def _reflect(canvas: Canvas) -> None:
    """A wet street mirrors what stands above the horizon, less and less towards the camera."""
    first = int(canvas.horizon) + 1
    depth = min(canvas.height - first, first)
    below = canvas.pixels[first : first + depth]
    above = np.ascontiguousarray(canvas.pixels[first - depth : first, :, :3][::-1])
    mirror = cv2.blur(above, (5, 15)).astype(np.float32)
    share = np.linspace(0.42, 0.0, depth, dtype=np.float32)[:, None, None]
    mixed = (below[:, :, :3] * (0.98 - share) + mirror * share).astype(np.uint8)
    ground = (below[:, :, 3] == ROAD) | (below[:, :, 3] == SIDEWALK)
    below[:, :, :3][ground] = mixed[ground]


def _draw_bonnet(image: Image, label: Image, share: float) -> None:
    """The own car at the bottom, dark and ignored as in Cityscapes."""
    height, width = label.shape
    mask = np.zeros_like(label)
    axes = (int(width * 0.62), int(height * share * 1.6))
    cv2.ellipse(mask, (width // 2, int(height * (1 + share * 0.6))), axes, 0, 0, 360, (1,), cv2.FILLED)
    image[mask > 0] = (38, 36, 34)
    label[mask > 0] = IGNORE


def _photograph(image: Image, world: World, rng: np.random.Generator) -> Image:
    """What a camera adds: blur, contrast, falling light towards the corners, noise and JPEG."""
    height, width = image.shape[:2]
    if world.blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), world.blur * height / 192).astype(np.uint8)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    gain = np.float32(world.contrast) * (1 - 0.1 * (x * x + y * y))
    picture = image.astype(np.float32) * np.repeat(gain, 3, axis=1).reshape(image.shape)
    picture += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(world.grain)
    photo = np.clip(picture, 0, 255).astype(np.uint8)
    if world.quality > 100:
        return photo
    _, stream = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, world.quality])
    return np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), dtype=np.uint8)

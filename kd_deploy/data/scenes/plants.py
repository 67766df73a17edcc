"""Trees, hedges, fences and low walls of the synthetic street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import pi
from random import Random

import numpy as np

from kd_deploy.data.scenes.canvas import FENCE, VEGETATION, Canvas, Colour, Floats, patches
from kd_deploy.data.scenes.objects import Thing

WALLS: tuple[Colour, ...] = (
    (214, 198, 168), (196, 158, 122), (168, 98, 76), (150, 142, 134), (190, 184, 174), (222, 206, 152),
    (146, 160, 172), (176, 186, 160), (126, 84, 68), (202, 130, 100), (110, 112, 116), (226, 220, 208),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = (
    (76, 112, 52), (94, 124, 58), (62, 96, 56), (116, 130, 62), (86, 112, 74), (172, 124, 50), (160, 84, 48),
)  # fmt: skip
WOOD: tuple[Colour, ...] = (
    (138, 96, 64), (112, 84, 62), (166, 152, 130), (206, 202, 192), (88, 92, 88), (120, 70, 54),
)  # fmt: skip


@cache
def _crown(model: int, step: int) -> tuple[Floats, Floats, Floats]:
    """A round crown of radius 1 about (0, 0): (N, 9, 3) overlapping leaf clusters from the bottom to the top.

    Returns also their heights (N,) and offsets to the right (N,). A larger `step` leaves clusters out.
    """
    rng, count = np.random.default_rng(model), 28
    height = np.linspace(-0.95, 0.85, count) + rng.uniform(-0.15, 0.15, count)
    right = np.sqrt(np.maximum(0.05, 1 - height**2)) * rng.uniform(-0.85, 0.85, count)
    angles = np.linspace(0, 2 * pi, 9, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    radius = 0.3 * step**0.36 * rng.uniform(0.8, 1.2, (count, 9, 1))
    centres = np.stack([right, height, 0 * height], axis=1)
    return (centres[:, None] + radius * ring)[::step], height[::step], right[::step]


def paint_crown(
    canvas: Canvas, look: Random, place: tuple[float, float, float], radii: tuple[float, float], leaf: Colour,
    finest: int = 1,
) -> None:  # fmt: skip
    """Leaves in an ellipse of `radii` (across, up) at `place`, brighter at the top and towards the sun."""
    pixels = radii[0] * canvas.pixels_per_metre(place[2])
    step = max(finest, 1 if pixels > 40 else 2 if pixels > 16 else 5)
    clusters, height, right = _crown(look.randrange(16), step)
    towards = (1 if canvas.light.sun[0] > 0 else -1) * canvas.light.direct
    tones = 0.84 + 0.13 * height + 0.12 * towards * right
    tones[::3] *= 0.93
    canvas.paint(clusters * (*radii, 0) + place, tones[:, None] * np.array(leaf), VEGETATION)


@dataclass
class Tree(Thing):
    """A round tree, a conifer or (without a trunk) a bush."""

    kind: str = "round"
    size: float = 6.0  # metres to the top

    def body(self, time: float) -> Floats | None:
        if self.kind == "bush":
            return None
        angles = np.linspace(0, 2 * pi, 8, endpoint=False)
        ring = np.stack([np.cos(angles), np.zeros(8), np.sin(angles)], axis=1)
        return np.asarray(0.3 * self.size * ring + (self.x, 0.68 * self.size, self.z), dtype=np.float64)

    def draw(self, canvas: Canvas, time: float) -> None:
        look, size = Random(self.seed), self.size
        red, green, blue = look.choices(
            LEAVES, (5, 5, 5, 4, 4, 0, 0) if self.kind == "conifer" else (5, 5, 5, 4, 4, 1, 1)
        )[0]
        tone = look.uniform(0.85, 1.1)
        leaf = (red * tone, green * tone, blue * tone)
        if self.kind == "bush":
            paint_crown(canvas, look, (self.x, 0.4 * size, self.z), (0.55 * size, 0.5 * size), leaf)
            return
        canvas.post(self.x, self.z, 0, 0.5 * size, 0.05 * size, (94, 76, 60), VEGETATION)
        if self.kind == "conifer":
            self._conifer(canvas, np.array(leaf))
        else:
            paint_crown(canvas, look, (self.x, 0.64 * size, self.z), (0.34 * size, 0.36 * size), leaf)

    def _conifer(self, canvas: Canvas, leaf: Floats) -> None:
        layers, tones = [], []
        for i in range(5):
            low, half = (0.14 + 0.16 * i) * self.size, (0.23 - 0.036 * i) * self.size
            tip = (self.x, low + 0.3 * self.size, self.z)
            for side, tone in ((-1, 0.68), (1, 0.84)):
                layers.append(
                    [(self.x, low - 0.04 * self.size, self.z), (self.x + side * half, low, self.z), tip]
                )
                tones.append((tone if canvas.light.sun[0] > 0 else 1.52 - tone) + 0.04 * i)
        canvas.paint(layers, np.array(tones)[:, None] * leaf, VEGETATION)


@dataclass
class Border(Thing):
    """A piece of fence, low wall, railing or hedge along the street, from z to z + length."""

    kind: str = "boards"
    length: float = 4.0

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        middle, g = self.z + self.length / 2, self.ground
        if self.kind == "hedge":
            height = look.uniform(0.9, 1.7)
            leaf = look.choice(LEAVES[:5])
            canvas.solid(self.x, middle, 0.7, self.length, g, g + height, leaf, VEGETATION)
            tufts = 4 if canvas.pixels_per_metre(middle) > 16 else 1
            for i in range(tufts):
                place = (self.x, g + 0.85 * height, self.z + self.length * (i + 0.5) / tufts)
                paint_crown(canvas, look, place, (0.42, 0.22), leaf)
            return
        rgb: Colour
        bar: Colour
        if self.kind == "railing":
            height, rgb, bar, count = look.uniform(1.0, 1.2), (84, 92, 88), (168, 172, 168), 10
        elif self.kind == "wall":
            height, rgb, bar, count = look.uniform(0.9, 1.6), look.choice(WALLS), (120, 110, 100), 0
        else:
            height, rgb, count = look.uniform(1.1, 1.9), look.choice(WOOD), 8
            bar = (rgb[0] * 0.72, rgb[1] * 0.72, rgb[2] * 0.72)
        end, shade = self.z + self.length, canvas.light.shade((-1.0 if self.x > 0 else 1.0, 0, 0))
        quad = np.array(
            [(self.x, y, z) for y, z in ((g, self.z), (g, end), (g + height, end), (g + height, self.z))]
        )
        canvas.paint(quad, [c * shade for c in rgb], FENCE)
        if canvas.pixels_per_metre(middle) > 9:
            bars = [[(i + 0.4) / count, 0.0, (i + 0.62) / count, 1.0] for i in range(count)]
            canvas.paint(patches(quad, [*bars, [0, 0.9, 1, 1.04]]), [c * shade for c in bar], FENCE)

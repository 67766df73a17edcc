"""What stands on posts along the synthetic street: lamps, signs, traffic lights and bollards."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from random import Random

import numpy as np

from kd_deploy.data.scenes.canvas import POLE, SIGN, Canvas, Colour, Floats, patches
from kd_deploy.data.scenes.objects import Thing, box

STEEL: tuple[Colour, ...] = ((104, 106, 104), (70, 76, 74), (136, 134, 126), (60, 72, 62))
# Rim and field of a plate.
COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((196, 32, 36), (240, 238, 232)), ((196, 32, 36), (230, 200, 60)), ((240, 240, 238), (28, 84, 160)),
)  # fmt: skip


@dataclass
class Lamp(Thing):
    """A street lamp whose arm points to the side `towards` (+1 right, -1 left)."""

    towards: int = 1

    def body(self, time: float) -> Floats | None:
        return box(self.x, self.z, 0.16, 0.16, 7.0)

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        steel, top = look.choice(STEEL), look.uniform(5.5, 7.5)
        canvas.post(self.x, self.z, self.ground, self.ground + 0.9, 0.26, steel, POLE)
        canvas.post(self.x, self.z, self.ground, top, 0.15, steel, POLE)
        end = self.x + 1.7 * self.towards
        canvas.stroke([[self.x, top, self.z], [end, top + 0.25, self.z]], 0.09, steel, POLE)
        lamp = (255, 240, 190) if canvas.light.lamps else (206, 206, 200)
        canvas.stroke(
            [[end - 0.5 * self.towards, top + 0.16, self.z], [end, top + 0.2, self.z]], 0.16, lamp, POLE
        )


@dataclass
class TrafficSign(Thing):
    """One or two plates on a post; `kind` chooses the shape, and "board" is a wide direction sign."""

    kind: str = "disc"

    def body(self, time: float) -> Floats | None:
        return box(self.x, self.z, 0.5, 0.1, 2.8)

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        top = self.ground + (look.uniform(3.4, 4.0) if self.kind == "board" else look.uniform(2.6, 3.1))
        canvas.post(self.x, self.z, self.ground, top, 0.09, look.choice(STEEL), POLE)
        if self.kind == "board":
            self._board(canvas, top, look.choice(((28, 84, 160), (24, 110, 74), (230, 226, 214))))
            return
        shapes = {"disc": (12, 0.0), "triangle": (3, pi / 2), "stop": (8, pi / 8), "square": (4, pi / 4)}
        corners, turn = shapes[self.kind]
        angles = np.linspace(0, 2 * pi, corners, endpoint=False) + turn
        outline = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
        centre = np.array([self.x, top - 0.25, self.z - 0.05])
        rim, field = look.choice(COLOURS)
        if self.kind == "stop":
            rim, field = (236, 234, 230), (190, 30, 34)
        size = look.uniform(0.42, 0.52)
        canvas.paint([centre + size * outline, centre + 0.74 * size * outline], [rim, field], SIGN)
        mark = centre + np.array([[-0.22, -0.04, 0], [0.22, -0.04, 0], [0.22, 0.05, 0], [-0.22, 0.05, 0]])
        canvas.paint(mark, rim if self.kind == "stop" else (40, 40, 44), SIGN)

    def _board(self, canvas: Canvas, top: float, field: Colour) -> None:
        left, right, low = self.x - 1.1, self.x + 1.1, top - 1.3
        plate = np.array(
            [[left, low, self.z], [right, low, self.z], [right, top, self.z], [left, top, self.z]]
        )
        ink = (236, 236, 230) if sum(field) < 500 else (40, 44, 60)
        canvas.paint(patches(plate, [[-0.02, -0.03, 1.02, 1.03]]), ink, SIGN)
        canvas.paint(plate, field, SIGN)
        canvas.paint(
            patches(plate, [[0.1, 0.62, 0.75, 0.8], [0.1, 0.24, 0.6, 0.42], [0.82, 0.2, 0.9, 0.8]]), ink, SIGN
        )


@dataclass
class TrafficLight(Thing):
    """A signal on a post, with a second head on an arm over the road on the side `towards`."""

    towards: int = 0
    green_from: float = 0.0  # seconds

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        steel, wait = look.choice(STEEL), self.green_from - time
        state = 2 if wait <= 0 else 1 if wait < 0.8 else 0
        top = 5.4 if self.towards else 3.3
        canvas.post(self.x, self.z, self.ground, top, 0.15, steel, POLE)
        if self.towards:
            end = self.x + 3.4 * self.towards
            canvas.stroke([[self.x, top - 0.1, self.z], [end, top, self.z]], 0.12, steel, POLE)
            self._head(canvas, end, top + 0.15, state)
        self._head(canvas, self.x, 3.35, state)

    def _head(self, canvas: Canvas, x: float, top: float, state: int) -> None:
        z = self.z - 0.2
        plate = [[x - 0.22, top - 1.05, z], [x + 0.22, top - 1.05, z], [x + 0.22, top, z], [x - 0.22, top, z]]
        canvas.paint(plate, (30, 34, 34), SIGN)
        bulbs: tuple[tuple[Colour, Colour], ...] = (
            ((255, 60, 50), (80, 30, 30)), ((255, 190, 40), (84, 64, 26)), ((70, 240, 130), (26, 70, 48)),
        )  # fmt: skip
        for i, (bright, dark) in enumerate(bulbs):
            canvas.disc([x, top - 0.2 - 0.32 * i, z - 0.02], 0.13, bright if i == state else dark, SIGN)


@dataclass
class Post(Thing):
    """A bollard."""

    def draw(self, canvas: Canvas, time: float) -> None:
        steel = Random(self.seed).choice(STEEL)
        canvas.post(self.x, self.z, self.ground, self.ground + 0.95, 0.13, steel, POLE)

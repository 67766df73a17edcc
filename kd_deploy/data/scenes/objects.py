"""What stands and moves in the synthetic street: on wheels and on feet.

A thing draws itself on a `Canvas`; its looks follow from its seed alone and stay from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, sin
from random import Random

import numpy as np

from kd_deploy.data.scenes.canvas import (
    CAR,
    CYCLIST,
    PERSON,
    Canvas,
    Colour,
    Face,
    Floats,
    patches,
)

GLASS: Colour = (52, 66, 80)
CLOTHES: tuple[Colour, ...] = (
    (38, 40, 52), (62, 66, 74), (120, 118, 112), (176, 160, 134), (150, 74, 56), (52, 84, 128),
    (206, 200, 190), (176, 44, 48), (70, 92, 66), (214, 168, 60), (112, 82, 62), (90, 120, 150),
)  # fmt: skip
SKIN: tuple[Colour, ...] = ((236, 196, 168), (206, 156, 122), (150, 104, 78), (98, 68, 52))
PAINT: tuple[Colour, ...] = (
    (96, 98, 102), (138, 140, 144), (182, 184, 186), (226, 226, 224), (40, 42, 46), (58, 62, 70),
    (156, 36, 40), (38, 74, 134), (188, 176, 152), (70, 92, 80), (200, 150, 50), (110, 70, 58),
)  # fmt: skip
BUSES: tuple[Colour, ...] = ((190, 60, 46), (218, 190, 60), (226, 226, 220))
TURN = np.linspace(0, 2 * pi, 12, endpoint=False)


@dataclass
class Thing:
    """Something at (x, z) metres at time 0 that moves by `velocity` metres a second."""

    x: float
    z: float
    seed: int
    velocity: tuple[float, float] = (0.0, 0.0)
    ground: float = 0.0  # metres above the road: the kerb's height on the sidewalk
    extent: float = 1.0  # metres it reaches around its place, at most
    reach: float = 0.0  # added to z for the painter's order: what stands behind this depth is drawn before

    def place(self, time: float) -> tuple[float, float]:
        """Where it is after `time` seconds."""
        return self.x + self.velocity[0] * time, self.z + self.velocity[1] * time

    def draw(self, canvas: Canvas, time: float) -> None:
        """Paint it."""
        raise NotImplementedError

    def body(self, time: float) -> Floats | None:
        """Points (k, 3) whose hull casts its shadow, if it has one."""
        return None


def box(x: float, z: float, width: float, length: float, top: float) -> Floats:
    """The corners of a box that stands on the road."""
    ends = z - length / 2, z + length / 2
    return np.array([[u, y, v] for u in (x - width / 2, x + width / 2) for v in ends for y in (0.0, top)])


@dataclass
class Car(Thing):
    """A car, van or bus that heads `yaw` radians to the right of +z."""

    yaw: float = 0.0
    bus: bool = False

    def shape(self) -> tuple[Random, float, float, float, float, float, float, float]:
        """Looks, width, length, heights of waist and roof, the cabin's inset at the sides, rear and front."""
        look = Random(self.seed)
        if self.bus:
            return look, 2.5, look.choice((7.0, 10.5)), 1.1, look.uniform(2.7, 3.1), 0.06, 0.05, 0.15
        sizes = (
            (1.75, 4.0, 0.86, 1.46, 0.20, 0.30, 1.35),  # hatchback
            (1.80, 4.6, 0.86, 1.42, 0.24, 1.00, 1.60),  # saloon
            (1.90, 4.6, 1.00, 1.74, 0.18, 0.22, 1.35),  # off-roader
            (1.95, 5.2, 1.05, 2.25, 0.12, 0.06, 1.10),  # van
        )
        return look, *look.choices(sizes, (4, 3, 3, 1.4))[0]

    def body(self, time: float) -> Floats | None:
        _, width, length, _, roof, *_ = self.shape()
        across, along = (width, length) if abs(cos(self.yaw)) > 0.7 else (length, width)
        return box(*self.place(time), across, along, roof * 0.92)

    def draw(self, canvas: Canvas, time: float) -> None:
        look, width, length, waist, roof, side, rear, front = self.shape()
        x, z = self.place(time)
        paint = look.choice(BUSES if self.bus else PAINT)
        body = canvas.solid(x, z, width, length, 0.26, waist, paint, CAR, (0.03, 0.06, 0.10), self.yaw)
        cabin = canvas.solid(
            x, z, width - 0.06, length - 0.16, waist, roof, paint, CAR, (side, rear, front), self.yaw
        )
        if canvas.pixels_per_metre(z) < 7:
            return
        for face in body:
            self._body_details(canvas, face, look.random())
        for face in cabin:
            self._windows(canvas, face)

    def _body_details(self, canvas: Canvas, face: Face, chance: float) -> None:
        if face.name == "top":
            return
        canvas.paint(patches(face.quad, [[0, -0.06, 1, 0.22]]), (44, 46, 50), CAR)
        if face.name in ("left", "right"):
            along, up = face.quad[1] - face.quad[0], np.array([0.0, 1.0, 0.0])
            along /= max(float(np.linalg.norm(along)), 1e-6)
            for share in (0.19, 0.81):
                hub = face.quad[0] + share * (face.quad[1] - face.quad[0])
                hub[1] = 0.33
                rim = np.cos(TURN)[:, None] * along + np.sin(TURN)[:, None] * up
                canvas.paint([hub + 0.33 * rim, hub + 0.19 * rim], [[26, 26, 28], [120, 122, 126]], CAR)
            return
        canvas.paint(
            patches(face.quad, [[0.04, -0.45, 0.18, 0.0], [0.82, -0.45, 0.96, 0.0]]), (24, 24, 26), CAR
        )
        lamps = patches(face.quad, [[0.02, 0.56, 0.2, 0.84], [0.8, 0.56, 0.98, 0.84]])
        if face.name == "rear":
            canvas.paint(lamps, (255, 60, 44) if canvas.light.lamps or chance < 0.25 else (170, 28, 30), CAR)
            canvas.paint(patches(face.quad, [[0.36, 0.36, 0.64, 0.56]]), (214, 212, 200), CAR)
        else:
            canvas.paint(patches(face.quad, [[0.24, 0.34, 0.76, 0.66]]), (40, 42, 46), CAR)
            canvas.paint(
                lamps, (255, 250, 226) if canvas.light.lamps or chance < 0.3 else (206, 212, 216), CAR
            )

    def _windows(self, canvas: Canvas, face: Face) -> None:
        if face.name == "top":
            return
        if face.name in ("front", "rear"):
            boxes = [[0.07, 0.1, 0.93, 0.9]]
        else:
            count = 6 if self.bus else 2
            boxes = [[(i + 0.08) / count, 0.1, (i + 0.92) / count, 0.88] for i in range(count)]
        glass = patches(face.quad, boxes)
        mirror = np.array(canvas.light.horizon) * 0.35 + np.array(GLASS) * 0.5
        canvas.paint(glass, np.array(GLASS) * face.shade, CAR)
        gleam = glass.copy()  # the upper part reflects the sky
        gleam[:, :2] = 0.45 * glass[:, :2] + 0.55 * glass[:, [3, 2]]
        canvas.paint(gleam, mirror * face.shade, CAR)


@dataclass
class Person(Thing):
    """Somebody on foot who walks along `velocity`, or stands."""

    until: float = 1e9  # seconds after which a crossing person has arrived and stands

    def place(self, time: float) -> tuple[float, float]:
        return super().place(min(time, self.until))

    def body(self, time: float) -> Floats | None:
        return box(*self.place(time), 0.4, 0.3, 1.7)

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        x, z = self.place(time)
        size = look.choices((look.uniform(0.95, 1.07), look.uniform(0.62, 0.8)), (5, 1))[0]
        coat, trousers, skin = look.choice(CLOTHES), look.choice(CLOTHES[:8]), look.choice(SKIN)
        speed = hypot(*self.velocity) if time < self.until else 0.0
        walk = (self.velocity[0] / speed, self.velocity[1] / speed) if speed else (look.uniform(-1, 1), 0.3)
        swing = (0.36 if speed else 0.1) * sin(2 * pi * (0.95 * time + look.random()))
        across = 0.14 + 0.1 * abs(walk[1])  # half the width of the shoulders as seen from the street

        def at(right: float, up: float, ahead: float) -> list[float]:
            return [
                x + size * (right + ahead * walk[0]), self.ground + size * up, z + size * ahead * walk[1]
            ]  # fmt: skip

        skirt = look.random() < 0.25
        for side in (-1, 1):
            stride = side * swing
            knee = 0.5 * stride + 0.06
            leg = [at(side * 0.09, 0.9, 0), at(side * 0.09, 0.48, knee), at(side * 0.09, 0.04, stride)]
            canvas.stroke(leg, 0.13 * size, skin if skirt else trousers, PERSON)
        hem, waist = (0.62, across + 0.03) if skirt or look.random() < 0.4 else (0.84, across - 0.04)
        shade = canvas.light.shade((0, 0, -1))
        torso = [at(-waist, hem, 0), at(waist, hem, 0), at(across, 1.42, 0), at(-across, 1.42, 0)]
        canvas.paint(torso, [c * shade for c in coat], PERSON)
        for side in (-1, 1):
            arm = [
                at(side * across, 1.38, 0),
                at(side * (across + 0.05), 1.1, 0),
                at(side * across, 0.86, -side * swing),
            ]
            canvas.stroke(arm, 0.1 * size, [c * shade * 0.86 for c in coat], PERSON)
        self._head_and_load(canvas, at(0, 1.62, 0), at(0, 1.16, -0.1), size, look, skin)

    @staticmethod
    def _head_and_load(
        canvas: Canvas, head: list[float], back: list[float], size: float, look: Random, skin: Colour
    ) -> None:
        hair = look.choice(((40, 30, 26), (92, 64, 40), (180, 150, 96), (120, 116, 112)))
        canvas.disc([head[0], head[1] + 0.03 * size, head[2]], 0.135 * size, hair, PERSON)
        canvas.disc([head[0], head[1] - 0.03 * size, head[2]], 0.1 * size, skin, PERSON)
        chance = look.random()
        if chance < 0.25:
            canvas.disc(back, 0.17 * size, look.choice(CLOTHES), PERSON)
        elif chance < 0.33:
            x, y, z = head[0] + 0.1, head[1] + 0.45, head[2]
            roof = [[x + 0.6 * cos(a), y - 0.12 + 0.3 * sin(a), z] for a in np.linspace(0, pi, 9)]
            canvas.paint(roof, look.choice(CLOTHES), PERSON)


@dataclass
class Cyclist(Thing):
    """A bicycle and its rider, heading along `velocity`."""

    def body(self, time: float) -> Floats | None:
        x, z = self.place(time)
        across = abs(self.velocity[0]) > abs(self.velocity[1])
        return box(x, z, 1.5 if across else 0.4, 0.4 if across else 1.5, 1.6)

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        x, z = self.place(time)
        speed = max(hypot(*self.velocity), 1e-6)
        ahead_x, ahead_z = self.velocity[0] / speed, self.velocity[1] / speed
        shirt, trousers, frame = look.choice(CLOTHES), look.choice(CLOTHES[:6]), look.choice(PAINT)

        def at(ahead: float, up: float, right: float = 0.0) -> list[float]:
            return [x + ahead * ahead_x + right * ahead_z, up, z + ahead * ahead_z - right * ahead_x]

        wheels = [[at(hub + 0.34 * cos(a), 0.36 + 0.34 * sin(a)) for a in TURN] for hub in (-0.52, 0.52)]
        canvas.stroke(wheels, 0.055, (30, 30, 32), CYCLIST, closed=True)
        bars = [
            [at(-0.52, 0.36), at(-0.18, 0.85), at(0.42, 0.85), at(0.52, 0.36)],
            [at(-0.2, 0.8), at(0, 0.3), at(0.4, 0.8)],
        ]
        for bar in bars:
            canvas.stroke(bar, 0.05, frame, CYCLIST)
        canvas.stroke(
            [at(0.42, 1.0, -0.28), at(0.46, 1.02), at(0.42, 1.0, 0.28)], 0.05, (40, 40, 42), CYCLIST
        )
        cadence = 2 * pi * (1.1 * time + look.random())
        for side in (-1, 1):
            foot = at(0.17 * side * cos(cadence), 0.3 + 0.17 * side * sin(cadence), side * 0.1)
            knee = at(0.28 + 0.08 * side * cos(cadence), 0.68 + 0.14 * side * sin(cadence), side * 0.11)
            canvas.stroke([at(-0.16, 0.95, side * 0.09), knee, foot], 0.13, trousers, CYCLIST)
        shade = canvas.light.shade((0, 0, -1))
        canvas.stroke(
            [at(-0.15, 1.0), at(0.06, 1.34)], 0.34 - 0.1 * abs(ahead_x), [c * shade for c in shirt], CYCLIST
        )
        for side in (-1, 1):
            arm = [at(0.08, 1.36, side * 0.17), at(0.24, 1.14, side * 0.24), at(0.42, 1.02, side * 0.24)]
            canvas.stroke(arm, 0.09, [c * shade * 0.85 for c in shirt], CYCLIST)
        canvas.disc(at(0.16, 1.6), 0.12, look.choice(SKIN), CYCLIST)
        helmet = look.choice(((40, 36, 34), (230, 230, 226), (190, 60, 50)))
        canvas.disc(at(0.14, 1.66), 0.125, helmet, CYCLIST)

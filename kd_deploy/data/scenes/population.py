"""Where everything stands and how it moves along a synthetic street."""

from __future__ import annotations

from math import pi
from typing import TypeVar

import numpy as np

from kd_deploy.data.scenes.building import Building
from kd_deploy.data.scenes.objects import Car, Cyclist, Person, Thing
from kd_deploy.data.scenes.plants import Border, Tree
from kd_deploy.data.scenes.posts import Lamp, Post, TrafficLight, TrafficSign
from kd_deploy.data.scenes.street import Ground

T = TypeVar("T")
SPEED = 8.0  # of the own car in a drive, metres a second
KERB = 0.12  # height of the sidewalk in metres


def populate(rng: np.random.Generator, ground: Ground, length: float) -> list[Thing]:
    """Everything along the street from a little behind the camera to `length` metres ahead."""
    things: list[Thing] = []
    for side, kerb, walk in ((-1, ground.left, ground.walk_left), (1, ground.right, ground.walk_right)):
        things += _plots(rng, ground, side, kerb + side * walk, length)
        things += _furniture(rng, ground, side, kerb, length)
        things += _parked(rng, ground, side, kerb, length)
        things += _walkers(rng, side, kerb, walk, length)
    things += _traffic(rng, length)
    for crossing in ground.crossings:
        things += _crossroads(rng, ground, crossing)
    return things


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _pick(rng: np.random.Generator, options: tuple[T, ...]) -> T:
    return options[rng.integers(len(options))]


def _blocked(ground: Ground, z: float, length: float = 0.0, margin: float = 1.0) -> bool:
    """Whether the span from z to z + length meets a cross street."""
    return any(z < crossing + 9 + margin and z + length > crossing - margin for crossing in ground.crossings)


def _plots(rng: np.random.Generator, ground: Ground, side: int, edge: float, length: float) -> list[Thing]:
    """Buildings and parks behind the sidewalk, with what separates them from it."""
    things: list[Thing] = []
    green, z = rng.uniform(0.1, 0.5), -12.0
    while z < length:
        span = rng.uniform(8, 20)
        if _blocked(ground, z, span):
            if not _blocked(ground, z, 5.0):
                span = 5.0
            else:
                z += 1.0
                continue
        park = rng.random() < green
        setback = 4.0 if park else _pick(rng, (0.0, 0.0, 2.5, 4.0))
        if not park:
            depth = rng.uniform(8, 14)
            x, middle = edge + side * setback, z + span / 2
            things.append(
                Building(
                    x,
                    middle,
                    _seed(rng),
                    extent=span,
                    reach=span / 2,
                    side=side,
                    length=span - 0.2,
                    depth=depth,
                )
            )
        for _ in range(int(span / 4) if park else int(setback > 0) * 2):
            kind = _pick(rng, ("round", "round", "conifer", "bush") if park else ("bush", "bush", "round"))
            size = rng.uniform(1.2, 2.2) if kind == "bush" else rng.uniform(4.5, 9.0)
            across = rng.uniform(1, 9) if park else rng.uniform(0.8, setback - 0.6)
            things.append(
                Tree(edge + side * across, z + rng.uniform(0, span), _seed(rng), kind=kind, size=size)
            )
        if setback > 0:
            kind = _pick(rng, ("boards", "boards", "railing", "wall", "hedge", "hedge", "none"))
            things += _border(rng, kind, edge + side * 0.3, z, span)
        z += span
    return things


def _border(rng: np.random.Generator, kind: str, x: float, z: float, span: float) -> list[Thing]:
    """A fence or hedge in pieces of at most 4 m, so that each sorts by its own depth."""
    if kind == "none":
        return []
    seed, count = _seed(rng), max(1, round(span / 4))
    piece = span / count
    return [
        Border(x, z + i * piece, seed, ground=KERB, extent=piece, reach=piece, kind=kind, length=piece)
        for i in range(count)
    ]


def _furniture(
    rng: np.random.Generator, ground: Ground, side: int, kerb: float, length: float
) -> list[Thing]:
    """Lamps, signs, street trees and bollards along the kerb."""
    things: list[Thing] = []
    x = kerb + side * 0.55
    model = _seed(rng)  # one model of lamp for the whole street
    things += [
        Lamp(x, z, model, ground=KERB, extent=4.0, towards=-side)
        for z in np.arange(rng.uniform(4, 26), length, 26.0)
        if not _blocked(ground, z)
    ]
    z = rng.uniform(6, 18)
    while z < length:
        kind = _pick(rng, ("disc", "disc", "triangle", "square", "stop", "board"))
        if not _blocked(ground, z):
            things.append(TrafficSign(x + side * 0.1, z, _seed(rng), ground=KERB, extent=1.5, kind=kind))
        z += rng.uniform(9, 30)
    if rng.random() < 0.5:
        size, kind = rng.uniform(5, 8), _pick(rng, ("round", "round", "conifer"))
        things += [
            Tree(
                x + side * 0.3,
                z,
                _seed(rng),
                extent=0.5 * size,
                kind=kind,
                size=size * rng.uniform(0.85, 1.15),
            )
            for z in np.arange(rng.uniform(0, 12), length, rng.uniform(9, 15))
            if not _blocked(ground, z)
        ]
    if rng.random() < 0.3:
        start = rng.uniform(3, 30)
        things += [
            Post(x, z, model, ground=KERB) for z in start + 1.8 * np.arange(10) if not _blocked(ground, z)
        ]
    elif rng.random() < 0.4:
        start = rng.uniform(3, 25)
        if not _blocked(ground, start, 16):
            things += _border(rng, "railing", kerb + side * 0.3, start, 16.0)
    return things


def _parked(rng: np.random.Generator, ground: Ground, side: int, kerb: float, length: float) -> list[Thing]:
    if abs(kerb) < (4.5 if side > 0 else 7.5):  # no parking lane on this side
        return []
    things: list[Thing] = []
    density, z = rng.uniform(0.3, 0.85), rng.uniform(2, 9)
    while z < length:
        if rng.random() < density and not _blocked(ground, z, margin=6.0):
            yaw = rng.normal(0, 0.03) + (pi if side < 0 else 0.0)
            things.append(Car(kerb - side * 1.15, z, _seed(rng), extent=3.0, reach=-2.2, yaw=yaw))
        z += rng.uniform(5.6, 6.6)
    return things


def _walkers(rng: np.random.Generator, side: int, kerb: float, walk: float, length: float) -> list[Thing]:
    """People on the sidewalk, alone or in pairs; more of them near the start."""
    things: list[Thing] = []
    for _ in range(rng.poisson(length / 14) + 1):
        x, z = kerb + side * rng.uniform(0.9, walk - 0.4), 5 + (length - 5) * rng.random() ** 1.5
        pace = _pick(rng, (-1.0, 0.0, 1.0)) * rng.uniform(1.1, 1.5)
        for i in range(1 + int(rng.random() < 0.3)):
            things += [Person(x + 0.6 * i, z + 0.2 * i, _seed(rng), (0.0, pace), KERB)]
    return things


def _traffic(rng: np.random.Generator, length: float) -> list[Thing]:
    """Cars ahead in the own lane and oncoming, cyclists at the edges of the road."""
    things: list[Thing] = []
    if rng.random() < 0.75:
        bus = rng.random() < 0.15
        z = rng.uniform(24 if bus else 10, 42)
        things.append(Car(rng.normal(0, 0.15), z, _seed(rng), (0.0, SPEED), extent=3.0, reach=-2.2, bus=bus))
        things.append(
            Car(
                rng.normal(0, 0.15), z + rng.uniform(14, 40), _seed(rng), (0.0, SPEED), extent=3.0, reach=-2.2
            )
        )
    z = rng.uniform(6, 40)
    while z < 2.2 * length:
        bus = rng.random() < 0.12
        things.append(
            Car(
                -3.6 + rng.normal(0, 0.15),
                z,
                _seed(rng),
                (0.0, -9.0),
                extent=3.0,
                reach=-2.2,
                yaw=pi,
                bus=bus,
            )
        )
        z += rng.uniform(10, 50)
    for x, pace in ((2.3, 4.5), (2.3, 4.5), (-5.7, -4.5), (-5.7, -4.5)):
        if rng.random() < 0.5:
            z = 6 + (length - 60) * rng.random() ** 2.5
            things.append(Cyclist(x + rng.normal(0, 0.15), z, _seed(rng), (0.0, pace)))
    return things


def _crossroads(rng: np.random.Generator, ground: Ground, z: float) -> list[Thing]:
    """Traffic lights, people who have crossed before the camera arrives, cars and cyclists from the side."""
    things: list[Thing] = []
    arrival = max(z - 10, 0) / SPEED  # of a driving camera
    if rng.random() < 0.75:
        phase, green = _seed(rng), arrival - 3.0 if rng.random() < 0.5 else 0.0
        arm = -1 if rng.random() < 0.5 else 0
        things.append(
            TrafficLight(
                ground.right + 0.6, z - 4.4, phase, ground=KERB, extent=3.5, green_from=green, towards=arm
            )
        )
        things.append(
            TrafficLight(ground.left - 0.6, z - 4.4, phase, ground=KERB, extent=3.5, green_from=green)
        )
    for _ in range(rng.integers(0, 5)):
        pace = _pick(rng, (-1, 1)) * rng.uniform(1.1, 1.6)
        end = ground.right + rng.uniform(0.7, 2.3) if pace > 0 else ground.left - rng.uniform(0.7, 2.3)
        x = end - pace * arrival * rng.uniform(0.3, 1.0)
        things.append(Person(x, z - rng.uniform(1.3, 3.7), _seed(rng), (pace, 0.0), until=(end - x) / pace))
    for side in (-1, 1):
        lane = z + (2.4 if side < 0 else 6.6)
        if rng.random() < 0.6:  # waiting at the stop line of the cross street
            x = (ground.left - ground.walk_left - 2) if side < 0 else (ground.right + ground.walk_right + 2)
            things.append(Car(x + side * 2.0, lane, _seed(rng), extent=3.0, reach=-0.9, yaw=-side * pi / 2))
    return things

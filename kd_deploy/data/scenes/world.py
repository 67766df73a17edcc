"""A random synthetic street: light, weather, road and what stands along it."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from kd_deploy.data.scenes.canvas import Colour, Light, View
from kd_deploy.data.scenes.objects import Thing
from kd_deploy.data.scenes.population import populate
from kd_deploy.data.scenes.street import Ground

#        zenith           horizon          gain                direct visibility lamps
SKIES: tuple[tuple[Colour, Colour, Colour, float, float, bool], ...] = (
    ((86, 142, 214), (196, 218, 234), (1.04, 1.03, 1.00), 1.0, 420, False),  # noon
    ((122, 164, 214), (240, 220, 192), (1.06, 1.00, 0.90), 0.9, 260, False),  # morning
    ((160, 170, 180), (206, 212, 214), (0.95, 0.98, 1.00), 0.1, 170, False),  # overcast
    ((190, 194, 196), (206, 208, 208), (0.96, 0.97, 0.98), 0.0, 75, True),  # fog
    ((84, 92, 146), (244, 170, 124), (0.96, 0.80, 0.74), 0.7, 240, True),  # dusk
)


@dataclass
class World:
    """A street and what is in it at time 0, with the camera at z = 0."""

    light: Light
    ground: Ground
    things: list[Thing]
    view: View
    bend: float  # curvature of the street at the start, 1/m
    clouds: float
    look: int  # seed of the skyline and the clouds
    wet: bool
    bonnet: float  # share of the height that the own car's bonnet takes
    contrast: float
    blur: float
    grain: float
    quality: int  # of JPEG, above 100 for none


def build_world(rng: np.random.Generator, length: float) -> World:
    """Draw a random world whose street reaches `length` metres ahead."""
    zenith, horizon, gain, direct, visibility, lamps = SKIES[
        rng.choice(len(SKIES), p=(0.34, 0.2, 0.24, 0.08, 0.14))
    ]
    azimuth, height = rng.uniform(0, 2 * pi), rng.uniform(0.5, 1.1)
    sun = (sin(azimuth) * cos(height), sin(height), cos(azimuth) * cos(height))
    light = Light(zenith, horizon, gain, sun, direct, visibility * rng.uniform(0.8, 1.3), lamps)
    parking_left, parking_right = (2.3 if rng.random() < 0.7 else 0.4 for _ in range(2))
    grey = rng.uniform(90, 134)
    paving = np.array([(150, 146, 140), (168, 158, 142), (158, 128, 112), (132, 134, 136)][rng.integers(4)])
    first = rng.uniform(16, 80)
    ground = Ground(
        left=-6.2 - parking_left,
        right=2.9 + parking_right,
        walk_left=rng.uniform(2.6, 5.5),
        walk_right=rng.uniform(2.6, 5.5),
        asphalt=(grey, grey, grey + rng.uniform(0, 5)),
        paving=tuple(paving * rng.uniform(0.9, 1.12)),
        verge=((104, 124, 66), (120, 126, 80), (92, 112, 62))[rng.integers(3)],
        crossings=list(np.arange(first, length, rng.uniform(60, 95))),
        cycle_lane=(None, None, (136, 74, 64), (84, 112, 92))[rng.integers(4)],
        patches=[
            (rng.uniform(-5, 1), rng.uniform(3, length), rng.uniform(0.6, 2), rng.uniform(0.8, 5))
            for _ in range(int(length / 12))
        ],
    )
    view = View(
        x=rng.uniform(-0.6, 0.8), z=0.0, height=rng.uniform(1.4, 2.2), horizon=rng.uniform(0.40, 0.50),
        centre=0.5 + rng.uniform(-0.1, 0.1), focal=rng.uniform(0.58, 0.78), curvature=0.0, heading=0.0,
    )  # fmt: skip
    return World(
        light, ground, populate(rng, ground, length), view,
        bend=rng.uniform(-1, 1) / 250, clouds=rng.uniform(-1.2, 0.6), look=int(rng.integers(1 << 30)),
        wet=direct < 0.5 and rng.random() < 0.4,
        bonnet=0.0 if rng.random() < 0.6 else rng.uniform(0.04, 0.07),
        contrast=rng.uniform(0.88, 1.12), blur=rng.uniform(0, 0.6), grain=rng.uniform(1.5, 5),
        quality=int(rng.integers(75, 130)),
    )  # fmt: skip

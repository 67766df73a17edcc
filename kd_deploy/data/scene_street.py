"""What the synthetic street is built of: sky, ground, skyline, buildings, fences and plants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from math import pi
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.scene_canvas import (
    BUILDING,
    FAR,
    FENCE,
    NEAR,
    ROAD,
    SIDEWALK,
    SKY,
    VEGETATION,
    Canvas,
    Colour,
    Face,
    Floats,
    patches,
)
from kd_deploy.data.scene_objects import CLOTHES, GLASS, Thing

WALLS: tuple[Colour, ...] = (
    (214, 198, 168), (196, 158, 122), (168, 98, 76), (150, 142, 134), (190, 184, 174), (222, 206, 152), (146, 160, 172),
    (176, 186, 160), (126, 84, 68), (202, 130, 100), (110, 112, 116), (226, 220, 208),
)  # fmt: skip
ROOFS: tuple[Colour, ...] = ((150, 80, 60), (92, 88, 90), (120, 66, 52), (74, 80, 90))
SHOPS: tuple[Colour, ...] = (
    (168, 40, 44),
    (36, 92, 70),
    (40, 66, 120),
    (210, 160, 50),
    (60, 56, 60),
    (220, 214, 200),
)
LEAVES: tuple[Colour, ...] = (
    (76, 112, 52), (94, 124, 58), (62, 96, 56), (116, 130, 62), (86, 112, 74), (172, 124, 50), (160, 84, 48),
)  # fmt: skip
WOOD: tuple[Colour, ...] = (
    (138, 96, 64),
    (112, 84, 62),
    (166, 152, 130),
    (206, 202, 192),
    (88, 92, 88),
    (120, 70, 54),
)


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
    rows = int(canvas.horizon) + 2
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None, None] ** 0.8
    light = canvas.light
    gradient = height * np.float32(light.zenith) + (1 - height) * np.float32(light.horizon)
    turn = offset - int(canvas.view.heading * 120)
    tile = np.roll(noise(64, 3.0, 1) + 0.4 * noise(64, 1.2, 2), turn, axis=1)
    cover = cv2.resize(tile, (canvas.width, rows), interpolation=cv2.INTER_LINEAR)[..., None]
    cover = np.clip(0.55 * (cover + clouds), 0, 0.85) * (0.35 + 0.65 * height)
    cloud = np.minimum(np.float32(light.horizon) * 0.5 + 128, 255)
    canvas.pixels[:rows, :, :3] = np.clip(
        (gradient + cover * (cloud - gradient)) * np.float32(light.gain), 0, 255
    )
    canvas.pixels[:rows, :, 3] = SKY


def ribbon(
    canvas: Canvas, x0: float, x1: float, z0: float, z1: float, y: tuple[float, float] = (0, 0)
) -> Floats:
    """(2k, 3) outline of a strip along the street, in short pieces so that it follows the bend."""
    near = canvas.view.z + NEAR
    z = np.clip(canvas.view.z + np.geomspace(NEAR, FAR, 28), max(z0, near), max(z1, near))
    there = np.stack([np.full_like(z, x0), np.full_like(z, y[0]), z], axis=1)
    back = np.stack([np.full_like(z, x1), np.full_like(z, y[1]), z], axis=1)[::-1]
    return np.concatenate([there, back])


def draw_ground(canvas: Canvas, ground: Ground) -> None:
    """Road, markings, sidewalks and verges, then texture, the shadows cast before, and haze by row."""
    z, ahead = canvas.view.z, canvas.view.z + FAR
    left, right = ground.left, ground.right
    light = canvas.light
    canvas.light = replace(light, visibility=np.inf)  # the haze comes at the end, row by row
    canvas.pixels[int(canvas.horizon) + 1 :] = *(c * g for c, g in zip(ground.verge, light.gain, strict=True)), VEGETATION
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


def _finish_ground(canvas: Canvas) -> None:
    view, light = canvas.view, canvas.light
    first = int(canvas.horizon) + 1
    rows = np.arange(first, canvas.height, dtype=np.float32)[:, None] + np.float32(0.5)
    z = np.float32(canvas.focal * view.height) / (rows - np.float32(canvas.horizon))
    columns = np.arange(canvas.width, dtype=np.float32)[None] - np.float32(view.centre * canvas.width)
    x = columns * z / np.float32(canvas.focal) + np.float32(view.x) - np.float32(0.5 * view.curvature) * z * z
    along = np.broadcast_to(z + np.float32(view.z), x.shape)
    grain = np.zeros(x.shape, np.float32)
    for tile, per_metre, strength in ((noise(128, 2.5, 3), 12, 4.0), (noise(128, 1.0, 4), 28, 4.5)):
        sample = cv2.remap(tile, x * per_metre % 128, along * per_metre % 128, cv2.INTER_NEAREST)
        grain += sample * (strength * np.clip(420 / (z * per_metre), 0, 1))
    shadow = cv2.blur(canvas.shadow[first:], (5, 5)).astype(np.float32)
    lit = 1 - shadow * np.float32((0.26 + 0.22 * light.direct) / 255)
    keep = np.exp(-z / np.float32(light.visibility))
    haze = np.float32(light.horizon) * np.float32(light.gain)
    surface = canvas.pixels[first:, :, :3].astype(np.float32)
    surface += grain[..., None]
    surface *= (lit * keep)[..., None]
    surface += (1 - keep)[..., None] * haze
    canvas.pixels[first:, :, :3] = np.clip(surface, 0, 255)


def draw_skyline(canvas: Canvas, seed: int) -> None:
    """Houses and woods so far away that only turning moves them."""
    look, turn = Random(seed), canvas.view.heading * FAR
    z = canvas.view.z + FAR
    for _ in range(48):
        x, width = (look.uniform(-260, 260) - turn + 260) % 520 - 260, look.uniform(9, 26)
        if look.random() < 0.5:
            height = look.uniform(6, 24)
            quad = [[x, -1, z], [x + width, -1, z], [x + width, height, z], [x, height, z]]
            canvas.paint(quad, look.choice(WALLS), BUILDING)
        else:
            _paint_crown(canvas, look, (x, 2.0, z), (width * 0.7, look.uniform(5, 8)), look.choice(LEAVES))


@cache
def _crown(model: int, count: int) -> tuple[Floats, Floats, Floats]:
    """A round crown of radius 1 about (0, 0): (count, 9, 3) overlapping leaf clusters from the bottom to the top, their
    heights (count,) and offsets to the right (count,)."""
    rng = np.random.default_rng(model)
    height = np.linspace(-0.95, 0.85, count) + rng.uniform(-0.15, 0.15, count)
    right = np.sqrt(np.maximum(0.05, 1 - height**2)) * rng.uniform(-0.85, 0.85, count)
    angles = np.linspace(0, 2 * pi, 9, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    radius = (0.9 / count**0.36) * rng.uniform(0.8, 1.2, (count, 9, 1))
    centres = np.stack([right, height, 0 * height], axis=1)
    return centres[:, None] + radius * ring, height, right


def _paint_crown(
    canvas: Canvas, look: Random, place: tuple[float, float, float], radii: tuple[float, float], leaf: Colour
) -> None:
    """Leaves within the ellipse of `radii` (across, up) around `place`, brighter at the top and towards the sun."""
    pixels = radii[0] * canvas.pixels_per_metre(place[2])
    clusters, height, right = _crown(look.randrange(16), 28 if pixels > 24 else 12 if pixels > 8 else 5)
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
        red, green, blue = look.choices(LEAVES, (5, 5, 5, 4, 4, 1, 1))[0]
        tone = look.uniform(0.85, 1.1)
        leaf = (red * tone, green * tone, blue * tone)
        if self.kind == "bush":
            _paint_crown(canvas, look, (self.x, 0.4 * size, self.z), (0.55 * size, 0.5 * size), leaf)
            return
        canvas.post(self.x, self.z, 0, 0.5 * size, 0.05 * size, (94, 76, 60), VEGETATION)
        if self.kind == "conifer":
            self._conifer(canvas, np.array(leaf))
        else:
            _paint_crown(canvas, look, (self.x, 0.64 * size, self.z), (0.34 * size, 0.36 * size), leaf)

    def _conifer(self, canvas: Canvas, leaf: Floats) -> None:
        layers, tones = [], []
        for i in range(5):
            low, half = (0.14 + 0.16 * i) * self.size, (0.23 - 0.036 * i) * self.size
            tip = (self.x, low + 0.3 * self.size, self.z)
            for side, tone in ((-1, 0.68), (1, 0.84)):
                layers.append([(self.x, low - 0.04 * self.size, self.z), (self.x + side * half, low, self.z), tip])
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
            for i in range(3):
                place = (self.x, g + 0.85 * height, self.z + self.length * (i + 0.5) / 3)
                _paint_crown(canvas, look, place, (0.42, 0.22), leaf)
            return
        if self.kind == "railing":
            height, rgb, bar, count = look.uniform(1.0, 1.2), (84, 92, 88), (168, 172, 168), 10
        elif self.kind == "wall":
            height, rgb, bar, count = look.uniform(0.9, 1.6), look.choice(WALLS), (120, 110, 100), 0
        else:
            height, rgb, count = look.uniform(1.1, 1.9), look.choice(WOOD), 8
            bar = (rgb[0] * 0.72, rgb[1] * 0.72, rgb[2] * 0.72)
        for face in canvas.solid(self.x, middle, 0.12, self.length, g, g + height, rgb, FENCE):
            if face.name in ("left", "right") and canvas.pixels_per_metre(middle) > 9:
                bars = [[(i + 0.4) / count, 0.0, (i + 0.62) / count, 1.0] for i in range(count)]
                canvas.paint(
                    patches(face.quad, [*bars, [0, 0.9, 1, 1.04]]),
                    [np.array(bar) * face.shade] * (count + 1),
                    FENCE,
                )


@dataclass
class Building(Thing):
    """A house whose facade stands at x and which reaches `depth` metres away from the street."""

    side: int = 1
    length: float = 12.0
    depth: float = 12.0

    def heights(self, look: Random) -> tuple[int, float, float]:
        """Number of floors, height of the ground floor and of the others."""
        return (
            look.choices((1, 2, 3, 4, 5, 7), (2, 4, 4, 3, 2, 1))[0],
            look.uniform(3.2, 3.9),
            look.uniform(2.8, 3.3),
        )

    def body(self, time: float) -> Floats | None:
        floors, first, storey = self.heights(Random(self.seed))
        top, far = first + storey * (floors - 1), self.x + self.side * self.depth
        ends = self.z - self.length / 2, self.z + self.length / 2
        return np.array([[x, y, z] for x in (self.x, far) for y in (0, top) for z in ends])

    def draw(self, canvas: Canvas, time: float) -> None:
        look = Random(self.seed)
        floors, first, storey = self.heights(look)
        top, wall = first + storey * (floors - 1), look.choice(WALLS)
        middle, style = self.x + self.side * self.depth / 2, look.choices(("windows", "bands"), (4, 1))[0]
        faces = canvas.solid(middle, self.z, self.depth, self.length, 0, top, wall, BUILDING)
        shop, seed = look.random() < 0.55, look.randrange(1 << 30)
        for face in faces:
            if face.name == "left" if self.side > 0 else face.name == "right":
                self._facade(canvas, face, Random(seed), top, first, floors, wall, style, shop)
            elif face.name == "rear" and look.random() < 0.5:
                self._gable(canvas, face, look)
        if look.random() < 0.5:
            roof, inset = look.choice(ROOFS), look.uniform(2.0, 4.5)
            canvas.solid(
                middle,
                self.z,
                self.depth + 0.5,
                self.length + 0.2,
                top,
                top + look.uniform(1.5, 3.0),
                roof,
                BUILDING,
                (inset, 0.3, 0.3),
            )
        else:
            ledge = (wall[0] * 0.82, wall[1] * 0.82, wall[2] * 0.82)
            canvas.solid(
                middle, self.z, self.depth + 0.6, self.length + 0.1, top, top + 0.45, ledge, BUILDING
            )

    def _gable(self, canvas: Canvas, face: Face, look: Random) -> None:
        """A blank wall with a poster in the colours of signs, which is building all the same."""
        u, v, width = look.uniform(0.1, 0.6), look.uniform(0.3, 0.6), look.uniform(0.15, 0.3)
        low, high = (0.04, 0.55) if self.side > 0 else (0.45, 0.96)
        u = low + u * (high - low)
        canvas.paint(
            patches(face.quad, [[u, v, u + width, v + 0.25]]),
            np.array(look.choice(SHOPS)) * face.shade,
            BUILDING,
        )

    def _facade(
        self, canvas: Canvas, face: Face, look: Random, top: float, first: float, floors: int,
        wall: Colour, style: str, shop: bool,
    ) -> None:  # fmt: skip
        shade, quad, near = face.shade, face.quad, canvas.pixels_per_metre(self.z - self.length / 2) > 10
        columns = max(2, int(self.length / look.uniform(2.2, 3.2)))
        frame = np.array(look.choice(((232, 228, 218), (120, 96, 76), (70, 72, 76)))) * shade
        glass = np.array(GLASS) * 0.7 + np.array(canvas.light.zenith) * 0.3
        lit = np.array((250, 206, 120) if canvas.light.lamps else (150, 150, 140))
        if near:
            courses = [[0, y, 1, y + 0.012] for y in np.arange(0.04, 1, 0.9 / top)]
            canvas.paint(patches(quad, courses), np.array(wall) * shade * 0.9, BUILDING)
        storey = (top - first) / max(floors - 1, 1)
        sills = [(first + storey * (i + 0.28)) / top for i in range(floors - 1)]
        tall = 0.5 * storey / top
        if not shop:
            sills.append(0.3 * first / top)
        if style == "bands":
            boxes = np.array([[0.02, y, 0.98, y + tall] for y in sills])
        else:
            width = look.uniform(0.4, 0.6)
            boxes = np.array(
                [
                    [(i + 0.5 - width / 2) / columns, y, (i + 0.5 + width / 2) / columns, y + tall]
                    for y in sills
                    for i in range(columns)
                ]
            )
        if len(boxes):
            if near:
                edge = np.array([-0.1 / self.length, -0.12 / top, 0.1 / self.length, 0.1 / top])
                canvas.paint(patches(quad, boxes + edge), frame, BUILDING)
            canvas.paint(patches(quad, boxes), glass * shade, BUILDING)
            bright = [box for box in boxes if look.random() < (0.35 if canvas.light.lamps else 0.2)]
            if bright:
                canvas.paint(patches(quad, bright), lit * (1 if canvas.light.lamps else shade), BUILDING)
            if near and style == "windows":
                bars = boxes.copy()
                bars[:, 0], bars[:, 2] = (
                    boxes[:, [0, 2]].mean(axis=1) - 0.03 / self.length,
                    boxes[:, [0, 2]].mean(axis=1) + 0.03 / self.length,
                )
                canvas.paint(patches(quad, bars), frame, BUILDING)
        if shop:
            self._shop(canvas, face, look, top, first, columns)
        else:
            door = look.randrange(columns) / columns
            canvas.paint(
                patches(quad, [[door, 0, door + 0.5 / columns, 2.2 / top]]),
                np.array(look.choice(WOOD)) * shade,
                BUILDING,
            )

    def _shop(self, canvas: Canvas, face: Face, look: Random, top: float, first: float, columns: int) -> None:
        quad, shade, brand = face.quad, face.shade, look.choice(SHOPS)
        panes = [[(i + 0.08) / columns, 0.35 / top, (i + 0.92) / columns, 2.5 / top] for i in range(columns)]
        inside = np.array((240, 206, 140) if canvas.light.lamps else (70, 78, 84))
        canvas.paint(patches(quad, panes), inside, BUILDING)
        wares = [
            [
                p[0] + 0.1 / columns,
                p[1],
                p[0] + look.uniform(0.2, 0.6) / columns,
                p[1] + look.uniform(0.5, 1.4) / top,
            ]
            for p in panes
        ]
        colours = [np.array(look.choice(CLOTHES)) * 0.8 for _ in wares]
        canvas.paint(patches(quad, wares), colours, BUILDING)
        canvas.paint(
            patches(quad, [[0.01, 2.7 / top, 0.99, (first - 0.1) / top]]), np.array(brand) * shade, BUILDING
        )
        if look.random() < 0.45:
            x = self.x - self.side * 0.7
            canvas.solid(x, self.z, 1.4, self.length * 0.9, 2.45, 2.95, brand, BUILDING, (0.5, 0, 0))

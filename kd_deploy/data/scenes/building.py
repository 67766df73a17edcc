"""The houses of the synthetic street: walls, windows, shops and roofs."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from kd_deploy.data.scenes.canvas import BUILDING, Canvas, Colour, Face, Floats, patches
from kd_deploy.data.scenes.objects import CLOTHES, GLASS, Thing
from kd_deploy.data.scenes.plants import WALLS, WOOD

ROOFS: tuple[Colour, ...] = ((150, 80, 60), (92, 88, 90), (120, 66, 52), (74, 80, 90))
SHOPS: tuple[Colour, ...] = (
    (168, 40, 44), (36, 92, 70), (40, 66, 120), (210, 160, 50), (60, 56, 60), (220, 214, 200),
)  # fmt: skip
FRAMES: tuple[Colour, ...] = ((232, 228, 218), (120, 96, 76), (70, 72, 76))


def _dim(rgb: Colour, share: float) -> Colour:
    return rgb[0] * share, rgb[1] * share, rgb[2] * share


def _mix(glass: Colour, sky: Colour) -> Colour:
    red, green, blue = (0.7 * g + 0.3 * s for g, s in zip(glass, sky, strict=True))
    return red, green, blue


@dataclass
class Building(Thing):
    """A house whose facade stands at x, with its middle at z; it reaches `depth` metres from the street."""

    side: int = 1
    length: float = 12.0
    depth: float = 12.0

    def __post_init__(self) -> None:
        look = Random(self.seed)
        self.floors: int = look.choices((1, 2, 3, 4, 5, 7), (2, 4, 4, 3, 2, 1))[0]
        self.first, self.storey = look.uniform(3.2, 3.9), look.uniform(2.8, 3.3)
        self.top = self.first + self.storey * (self.floors - 1)
        self.wall, self.shop = look.choice(WALLS), look.random() < 0.55
        self.pitched, self.bands = look.random() < 0.5, look.random() < 0.2

    def body(self, time: float) -> Floats | None:
        far, ends = self.x + self.side * self.depth, (self.z - self.length / 2, self.z + self.length / 2)
        return np.array([[x, y, z] for x in (self.x, far) for y in (0, self.top) for z in ends])

    def draw(self, canvas: Canvas, time: float) -> None:
        look, middle, top = Random(self.seed + 1), self.x + self.side * self.depth / 2, self.top
        faces = canvas.solid(middle, self.z, self.depth, self.length, 0, top, self.wall, BUILDING)
        for face in faces:
            if face.name == ("left" if self.side > 0 else "right"):
                self._facade(canvas, face, look)
            elif face.name == "rear" and self.seed % 2:
                self._poster(canvas, face)
        roof: Colour
        if self.pitched:
            roof, inset, height = (
                look.choice(ROOFS),
                (look.uniform(2.0, 4.5), 0.3, 0.3),
                look.uniform(1.5, 3.0),
            )
        else:
            roof, inset, height = _dim(self.wall, 0.82), (0.0, 0.0, 0.0), 0.45
        canvas.solid(
            middle, self.z, self.depth + 0.6, self.length + 0.1, top, top + height, roof, BUILDING, inset
        )  # fmt: skip

    def _poster(self, canvas: Canvas, face: Face) -> None:
        """An advertisement on a blank wall, in the colours of signs, which is building all the same."""
        look = Random(self.seed)
        left, bottom = look.uniform(0.06, 0.3) + (0.4 if self.side < 0 else 0.0), look.uniform(0.3, 0.6)
        poster = patches(face.quad, [[left, bottom, left + 0.22, bottom + 0.25]])
        canvas.paint(poster, [c * face.shade for c in look.choice(SHOPS)], BUILDING)

    def _facade(self, canvas: Canvas, face: Face, look: Random) -> None:
        """Courses of brick, windows, and a shop or a door; less of it far away."""
        shade, top, near = face.shade, self.top, canvas.pixels_per_metre(self.z - self.length / 2) > 12

        def paint(boxes: object, rgb: Colour, light: float = shade) -> None:
            canvas.paint(patches(face.quad, np.asarray(boxes)), [c * light for c in rgb], BUILDING)

        columns, lamps = max(2, int(self.length / look.uniform(2.2, 3.2))), canvas.light.lamps
        ends = [canvas.pixels_per_metre(z) for z in (self.z - self.length / 2, self.z + self.length / 2)]
        narrow = abs(self.x) * abs(ends[0] - ends[1]) < 5 * columns
        boxes = self._windows(columns, self.bands or narrow, look.uniform(0.4, 0.6))
        if near:
            paint([[0, y, 1, y + 0.012] for y in np.arange(0.04, 1, 0.9 / top)], self.wall, 0.9 * shade)
        if len(boxes):
            frame = FRAMES[self.seed % len(FRAMES)]
            if near:
                margin = np.array([-0.1 / self.length, -0.12 / top, 0.1 / self.length, 0.1 / top])
                paint(boxes + margin, frame)
            paint(boxes, _mix(GLASS, canvas.light.zenith))
            chance = Random(self.seed + 2)
            bright = boxes[[chance.random() < (0.35 if lamps else 0.2) for _ in boxes]]
            if len(bright):
                paint(bright, (250, 206, 120) if lamps else (150, 150, 140), 1.0 if lamps else shade)
            if near and not self.bands:
                centre, half = boxes[:, [0, 2]].mean(axis=1), 0.03 / self.length
                paint(np.stack([centre - half, boxes[:, 1], centre + half, boxes[:, 3]], axis=1), frame)
        if self.shop:
            self._shop(canvas, face, Random(self.seed + 3), columns)
        else:
            door = self.seed % columns / columns
            paint([[door, 0, door + 0.5 / columns, 2.2 / top]], WOOD[self.seed % len(WOOD)])

    def _windows(self, columns: int, bands: bool, width: float) -> Floats:
        """(N, 4) boxes in shares of the facade: left, bottom, right, top."""
        sills = [(self.first + self.storey * (i + 0.28)) / self.top for i in range(self.floors - 1)]
        if not self.shop:
            sills.append(0.3 * self.first / self.top)
        tall = 0.5 * self.storey / self.top
        spans = [(i + 0.5 - width / 2, i + 0.5 + width / 2) for i in range(columns)]
        if bands:
            spans = [(0.02 * columns, 0.98 * columns)]
        boxes = [(u0 / columns, v, u1 / columns, v + tall) for v in sills for u0, u1 in spans]
        return np.array(boxes).reshape(-1, 4)

    def _shop(self, canvas: Canvas, face: Face, look: Random, columns: int) -> None:
        """Shop windows with wares in the colours of clothes, a name board, perhaps an awning."""
        quad, shade, top = face.quad, face.shade, self.top
        brand, awning = look.choice(SHOPS), look.random() < 0.45
        panes = [((i + 0.08) / columns, 0.35 / top, (i + 0.92) / columns, 2.5 / top) for i in range(columns)]
        canvas.paint(patches(quad, panes), (240, 206, 140) if canvas.light.lamps else (70, 78, 84), BUILDING)
        if canvas.pixels_per_metre(self.z) > 8:
            wares = [
                (u + 0.1 / columns, v, u + look.uniform(0.2, 0.6) / columns, v + look.uniform(0.5, 1.4) / top)
                for u, v, _, _ in panes
            ]
            colours = [_dim(look.choice(CLOTHES), 0.8) for _ in wares]
            canvas.paint(patches(quad, wares), colours, BUILDING)
        board = patches(quad, [[0.01, 2.7 / top, 0.99, (self.first - 0.1) / top]])
        canvas.paint(board, [c * shade for c in brand], BUILDING)
        if awning:
            x = self.x - self.side * 0.7
            canvas.solid(x, self.z, 1.4, self.length * 0.9, 2.45, 2.95, brand, BUILDING, (0.5, 0, 0))

"""The drawing surface of the synthetic street: classes, light, a pinhole camera and its painting primitives.

World coordinates are metres: x to the right, y up from the road, z forward along the street. Colour and class
lie in the same four-channel picture and one OpenCV call writes both, so that image and label cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Kind = Literal["polygon", "line", "loop", "disc"]
Colour = tuple[float, float, float]
"""RGB, 0 to 255."""

# The eleven classes of CamVid (Brostow et al. 2009) in its usual order, in the colours of Cityscapes.
CLASSES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "sidewalk", "vegetation", "sign", "fence", "car", "person", "cyclist",
)  # fmt: skip
SKY, BUILDING, POLE, ROAD, SIDEWALK, VEGETATION, SIGN, FENCE, CAR, PERSON, CYCLIST = range(len(CLASSES))
IGNORE = 255

SUPERSAMPLING = 2
NEAR, FAR = 0.6, 160.0
_SHIFT = 4  # OpenCV's fixed point: 1/16 pixel, so that a slow drive does not jitter
_FACES = np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [4, 5, 6, 7], [3, 2, 1, 0]])
_FACE_NAMES = ("rear", "right", "front", "left", "top", "bottom")
_BILINEAR = np.array([[1, 0, 0, 0], [-1, 1, 0, 0], [-1, 0, 0, 1], [1, -1, 1, -1]], dtype=np.float64)


@dataclass(frozen=True)
class Light:
    """Time of day and weather."""

    zenith: Colour
    horizon: Colour  # also the colour of the haze
    gain: Colour  # per channel, 1 = neutral
    sun: tuple[float, float, float]  # unit vector towards the sun
    direct: float  # share of the light that comes from the sun, 0 to 1
    visibility: float  # metres until the haze has taken 63 %
    lamps: bool  # lit windows and headlights

    def shade(self, normal: Sequence[float]) -> float:
        """Brightness of a surface: ambient plus Lambert's cosine."""
        cosine = normal[0] * self.sun[0] + normal[1] * self.sun[1] + normal[2] * self.sun[2]
        return 0.94 - 0.36 * self.direct + 0.1 * normal[1] + 0.55 * self.direct * max(0.0, cosine)


@dataclass(frozen=True)
class View:
    """Where the camera stands; `horizon` is a share of the height, `centre` and `focal` are of the width."""

    x: float
    z: float
    height: float
    horizon: float
    centre: float
    focal: float
    curvature: float  # 1/m: the street bends away by curvature z^2 / 2
    heading: float  # radians turned since the start, moves the skyline


class Face(NamedTuple):
    """A visible side of a solid: bottom-left, bottom-right, top-right, top-left as seen from outside."""

    name: str
    quad: Floats
    shade: float


def patches(quad: Floats, boxes: ArrayLike) -> Floats:
    """(N, 4, 3) quads over the boxes (N, 4) = left, bottom, right, top, in shares of a face's quad (4, 3)."""
    box = np.asarray(boxes, dtype=np.float64)
    weights = np.ones((len(box), 4, 4))  # bilinear: 1, u, v, u v
    u, v = weights[..., 1], weights[..., 2]
    u[:], v[:] = box[:, [0, 2, 2, 0]], box[:, [1, 1, 3, 3]]
    np.multiply(u, v, out=weights[..., 3])
    return np.asarray(weights @ (_BILINEAR @ quad), dtype=np.float64)


class Canvas:
    """A picture of (H, W) pixels drawn at twice the size.

    Shapes are noted first and drawn by `flush`, in their order: to project all of them at once is fast.
    """

    def __init__(self, size: tuple[int, int], view: View, light: Light) -> None:
        self.height, self.width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
        self.view, self.light = view, light
        self.focal = view.focal * self.width
        self.horizon = view.horizon * self.height
        self.pixels: NDArray[np.uint8] = np.zeros((self.height, self.width, 4), np.uint8)  # R, G, B, class
        self.shadow: NDArray[np.uint8] = np.zeros((self.height, self.width), np.uint8)
        self._shapes: list[tuple[Kind, int, int, int, float]] = []  # with count, corners, label, metres
        self._points: list[Floats] = []
        self._colours: list[Floats] = []

    def pixels_per_metre(self, z: float) -> float:
        """At world depth z, in drawn (supersampled) pixels."""
        return self.focal / max(z - self.view.z, NEAR)

    def sees(self, x: float, z: float, extent: float) -> bool:
        """Whether something `extent` metres around (x, z) is in the picture and some drawn pixels big."""
        depth = z - self.view.z
        if depth < -extent or depth > FAR or extent * self.focal < 4 * depth:
            return False
        middle = x - self.view.x + 0.5 * self.view.curvature * depth * depth
        side = self.view.centre if middle < 0 else 1 - self.view.centre
        return abs(middle) - extent < (depth + extent) * side / self.view.focal

    def _project(self, points: Floats) -> Floats:
        """Pixels (..., 2) of world points (..., 3); those behind the camera are pulled to its plane."""
        z = np.maximum(points[..., 2] - self.view.z, NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = (points[..., 0] - self.view.x) / z + 0.5 * self.view.curvature * z
        pixels[..., 1] = (self.view.height - points[..., 1]) / z
        return pixels * self.focal + (self.view.centre * self.width, self.horizon)

    def _note(self, kind: Kind, points: ArrayLike, rgb: ArrayLike, label: int, metres: float) -> None:
        block = np.asarray(points, dtype=np.float64)
        count, corners = block.shape[:2] if block.ndim == 3 else (1, len(block))
        colours = np.empty((count, 3))
        colours[:] = rgb
        self._shapes.append((kind, count, corners, label, metres))
        self._points.append(block.reshape(-1, 3))
        self._colours.append(colours)

    def paint(self, polygons: ArrayLike, rgb: ArrayLike, label: int) -> None:
        """Fill polygons (N, k, 3) or (k, 3), in their order, in one colour (3,) or (N, 3) a colour each."""
        self._note("polygon", polygons, rgb, label, 0.0)

    def stroke(
        self, lines: ArrayLike, metres: float, rgb: ArrayLike, label: int, closed: bool = False
    ) -> None:
        """Draw polylines (N, k, 3) or (k, 3) of a width in metres with round ends."""
        self._note("loop" if closed else "line", lines, rgb, label, metres)

    def disc(self, centre: Sequence[float], metres: float, rgb: ArrayLike, label: int) -> None:
        """Fill a circle of a radius in metres that faces the camera."""
        self._note("disc", [centre], rgb, label, metres)

    def flush(self) -> None:
        """Draw what was noted: tinted, dimmed by the haze at its depth, each pixel with its class."""
        if not self._shapes:
            return
        points, rgb = np.concatenate(self._points), np.concatenate(self._colours)
        kinds, counts, sizes, _, _ = zip(*self._shapes, strict=True)
        corners = np.repeat(sizes, counts)
        starts = np.cumsum(corners) - corners
        depth = points[:, 2] - self.view.z
        middle = np.add.reduceat(depth, starts) / corners
        keep = np.exp(-np.maximum(middle, 0) / self.light.visibility)[:, None]
        lit = (rgb * keep + np.array(self.light.horizon) * (1 - keep)) * self.light.gain
        # Polygons are cut at the camera's plane; lines and discs must lie before it as a whole.
        whole = np.repeat([kind != "polygon" for kind in kinds], counts)
        seen = np.where(whole, np.minimum.reduceat(depth, starts), np.maximum.reduceat(depth, starts)) > NEAR
        pixels = np.rint(self._project(points) * (1 << _SHIFT)).astype(np.int32)
        shapes = zip(
            seen.tolist(),
            np.minimum(lit, 255).tolist(),
            (self.focal / np.maximum(middle, NEAR)).tolist(),
            strict=True,
        )
        first = 0
        for kind, count, size, label, metres in self._shapes:
            for drawn, colour, scale in islice(shapes, count):
                if drawn:
                    self._draw(kind, pixels[first : first + size], (*colour, label), metres * scale)
                first += size
        self._shapes, self._points, self._colours = [], [], []

    def _draw(self, kind: str, pixels: NDArray[np.int32], colour: tuple[float, ...], width: float) -> None:
        if kind == "polygon":
            cv2.fillPoly(self.pixels, [pixels], colour, cv2.LINE_8, _SHIFT)
        elif kind == "disc":
            x, y = pixels[0].tolist()
            cv2.circle(
                self.pixels, (x, y), round(width * (1 << _SHIFT)), colour, cv2.FILLED, cv2.LINE_8, _SHIFT
            )
        else:
            cv2.polylines(
                self.pixels, [pixels], kind == "loop", colour, max(1, round(width)), cv2.LINE_8, _SHIFT
            )

    def post(
        self, x: float, z: float, bottom: float, top: float, metres: float, rgb: Colour, label: int
    ) -> None:
        """Paint an upright post, two drawn pixels wide at the least so that the label keeps every pole."""
        half = max(metres / 2, 1.0 / self.pixels_per_metre(z))
        left, middle, right = x - half, x + 0.2 * half, x + half
        quads = [
            [[left, bottom, z], [middle, bottom, z], [middle, top, z], [left, top, z]],
            [[middle, bottom, z], [right, bottom, z], [right, top, z], [middle, top, z]],
        ]
        sides = (-0.8, 0.0, -0.6), (0.8, 0.0, -0.6)
        self.paint(quads, [[c * self.light.shade(n) for c in rgb] for n in sides], label)

    def solid(
        self, x: float, z: float, width: float, length: float, bottom: float, top: float,
        rgb: Colour, label: int, inset: tuple[float, float, float] = (0.0, 0.0, 0.0), yaw: float = 0.0,
    ) -> list[Face]:  # fmt: skip
        """Paint the visible faces of an upright box about (x, z) that heads `yaw` radians to the right of +z.

        `inset` (sides, rear, front) in metres narrows its top. Returns the visible faces, for details.
        """
        w, h, (side, rear, front) = width / 2, length / 2, inset
        cos, sin, tall, view = math.cos(yaw), math.sin(yaw), top - bottom, self.view
        # The camera in the solid's own coordinates, the street's bend undone, and its side of each plane.
        depth = z - view.z
        across, above = view.x - x + 0.5 * view.curvature * depth * depth, view.height - bottom
        right, ahead = across * cos + depth * sin, across * sin - depth * cos
        leaning = above * side
        in_front = (
            tall * (-ahead - h) + above * rear,
            tall * (right - w) + leaning,
            tall * (ahead - h) + above * front,
            tall * (-right - w) + leaning,
            above - tall,
            -above,
        )
        visible = [k for k, distance in enumerate(in_front) if distance > 0]
        if not visible:
            return []
        local = np.array(
            [
                [-w, bottom, -h], [w, bottom, -h], [w, bottom, h], [-w, bottom, h],
                [-w + side, top, -h + rear], [w - side, top, -h + rear],
                [w - side, top, h - front], [-w + side, top, h - front],
            ]
        )  # fmt: skip
        turn = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
        quads = (local @ turn + np.array([x, 0.0, z]))[_FACES[visible]]
        normals = ((-sin, 0, -cos), (cos, 0, -sin), (sin, 0, cos), (-cos, 0, sin), (0, 1, 0), (0, -1, 0))
        shades = [self.light.shade(normals[k]) for k in visible]
        self.paint(quads, [(rgb[0] * shade, rgb[1] * shade, rgb[2] * shade) for shade in shades], label)
        return [
            Face(_FACE_NAMES[k], quad, shade) for k, quad, shade in zip(visible, quads, shades, strict=True)
        ]

    def cast(self, bodies: Sequence[ArrayLike]) -> None:
        """Add the shadows of bodies, convex hulls of (k, 3) world points, to the shadow map of the ground."""
        if not bodies:
            return
        blocks = [np.asarray(body, dtype=np.float64) for body in bodies]
        points, sun = np.concatenate(blocks), self.light.sun
        slant = self.light.direct > 0.3
        points[:, 0] -= points[:, 1] * (sun[0] / sun[1] * slant)
        points[:, 2] -= points[:, 1] * (sun[2] / sun[1] * slant)
        points[:, 1] = 0
        pixels = np.rint(self._project(points) * (1 << _SHIFT)).astype(np.int32)
        first = 0
        for block in blocks:
            last = first + len(block)
            if points[first:last, 2].max() > self.view.z + NEAR:
                hull = cv2.convexHull(pixels[first:last])
                cv2.fillConvexPoly(self.shadow, hull, (255,), cv2.LINE_8, _SHIFT)
            first = last

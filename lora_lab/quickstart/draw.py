"""Procedural pictures: coloured shapes on plain backgrounds, each with an English caption.

The base model learns `SHAPES`; it never sees a `lumi`, the small ghost that the quickstart LoRA teaches it.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image, ImageDraw

SIZE = 128  # pixels, square
OVERSAMPLE = 4  # drawn this much larger and shrunk, for smooth edges

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "yellow": (252, 211, 77),
    "green": (56, 142, 60),
    "blue": (30, 96, 196),
    "purple": (123, 44, 191),
    "white": (245, 245, 245),
    "black": (24, 24, 27),
}

Point = tuple[float, float]


class Scene(NamedTuple):
    """What one picture shows. Centre and radius are fractions of the picture's side."""

    shape: str
    colour: str
    background: str
    eyes: bool
    centre: Point
    radius: float

    @property
    def size_word(self) -> str:
        """`small`, `big` or nothing, as the caption says it."""
        if self.radius < 0.22:
            return "small "
        return "big " if self.radius > 0.32 else ""

    @property
    def caption(self) -> str:
        """The sentence the text encoder reads."""
        face = " with eyes" if self.eyes else ""
        return f"a {self.size_word}{self.colour} {self.shape}{face} on a {self.background} background"


def _around(centre: Point, radius: float, angles: list[float], radii: list[float]) -> list[Point]:
    return [
        (centre[0] + radius * r * math.cos(a), centre[1] + radius * r * math.sin(a))
        for a, r in zip(angles, radii, strict=True)
    ]


def _regular(corners: int, turn: float = -math.pi / 2) -> Callable[[Point, float], list[Point]]:
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return lambda centre, radius: _around(centre, radius, angles, [1.0] * corners)


def _cross(centre: Point, radius: float) -> list[Point]:
    arm = 0.36
    corners = [
        *[(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)],
        *[(arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm)],
    ]
    return [(centre[0] + radius * x, centre[1] + radius * y) for x, y in corners]


def _star(centre: Point, radius: float) -> list[Point]:
    angles = [-math.pi / 2 + math.pi * i / 5 for i in range(10)]
    return _around(centre, radius, angles, [1.0, 0.45] * 5)


def _heart(centre: Point, radius: float) -> list[Point]:
    turns = [2 * math.pi * i / 60 for i in range(60)]
    return [
        (
            centre[0] + radius * math.sin(t) ** 3,
            centre[1] - radius * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in turns
    ]


def _lumi(centre: Point, radius: float) -> list[Point]:
    """A ghost: a dome on top, straight sides, three pointed feet."""
    dome = [(math.cos(math.pi + math.pi * i / 30) * 0.85, math.sin(math.pi + math.pi * i / 30) * 0.85 - 0.15)
            for i in range(31)]  # fmt: skip
    feet = [(0.85, 1.0), (0.57, 0.6), (0.28, 1.0), (0.0, 0.6), (-0.28, 1.0), (-0.57, 0.6), (-0.85, 1.0)]
    return [(centre[0] + radius * x, centre[1] + radius * y) for x, y in dome + feet]


OUTLINES: dict[str, Callable[[Point, float], list[Point]]] = {
    "circle": _regular(64),
    "square": _regular(4, math.pi / 4),
    "triangle": _regular(3),
    "diamond": _regular(4),
    "cross": _cross,
    "star": _star,
    "heart": _heart,
    "lumi": _lumi,
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
"""The shapes the base model is taught. The others only teach the VAE to draw edges."""


def draw(scene: Scene) -> Image.Image:
    """Return the scene as an RGB picture of `SIZE` × `SIZE` pixels."""
    side = SIZE * OVERSAMPLE
    picture = Image.new("RGB", (side, side), COLOURS[scene.background])
    pen = ImageDraw.Draw(picture)
    centre = (scene.centre[0] * side, scene.centre[1] * side)
    radius = scene.radius * side
    pen.polygon(OUTLINES[scene.shape](centre, radius), fill=COLOURS[scene.colour])
    if scene.eyes:
        _draw_eyes(pen, centre, radius, dark=scene.colour == "white")
    return picture.resize((SIZE, SIZE), Image.Resampling.BOX)


def _draw_eyes(pen: ImageDraw.ImageDraw, centre: Point, radius: float, *, dark: bool) -> None:
    fill = COLOURS["black" if dark else "white"]
    for side in (-1, 1):
        x, y = centre[0] + side * 0.32 * radius, centre[1] - 0.12 * radius
        pen.ellipse((x - 0.2 * radius, y - 0.24 * radius, x + 0.2 * radius, y + 0.24 * radius), fill=fill)


def random_scene(draws: random.Random, shapes: tuple[str, ...] = SHAPES, *, eyes: float = 0.3) -> Scene:
    """A scene with every part chosen by `draws`; `eyes` is the probability of a face."""
    colour, background = draws.sample(sorted(COLOURS), 2)
    radius = draws.uniform(0.17, 0.38)
    return Scene(
        shape=draws.choice(shapes),
        colour=colour,
        background=background,
        eyes=draws.random() < eyes,
        centre=(draws.uniform(0.4, 0.6), draws.uniform(0.4, 0.6)),
        radius=radius,
    )

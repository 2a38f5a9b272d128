"""Covers of the demo, drawn: each theme has its palette and its kind of shape."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from flows.demo_words import Theme

WIDTH, HEIGHT = 96, 128
Colour = tuple[int, ...]


def draw_cover(theme: Theme, rng: np.random.Generator) -> bytes:
    """A JPEG of 96 x 128 pixels: jittered colours, a handful of shapes, a band where a title would be."""
    ground, shapes, accent = (_near(ImageColor.getrgb(colour), rng) for colour in theme.colours)
    image = Image.new("RGB", (WIDTH, HEIGHT), ground)
    pen = ImageDraw.Draw(image)
    for number in range(int(rng.integers(5, 10))):
        colour = accent if number % 3 == 2 else shapes
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        _DRAW[theme.shape](pen, x, y, int(rng.integers(6, 22)), colour)
    top = int(rng.integers(8, HEIGHT - 24))
    pen.rectangle((8, top, WIDTH - 8, top + 10), fill=accent)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def _near(colour: Colour, rng: np.random.Generator) -> Colour:
    return tuple(int(np.clip(part + rng.integers(-18, 19), 0, 255)) for part in colour)


def _disc(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)


def _ring(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    pen.ellipse((x - size, y - size, x + size, y + size), outline=colour, width=3)


def _stripe(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    pen.line((x - 60, y - 40, x + 60, y + 40), fill=colour, width=max(2, size // 3))


def _grid(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    for step in (0, size):
        pen.rectangle((x + step, y, x + step + size - 3, y + size - 3), outline=colour, width=2)


def _wave(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    for start in range(0, WIDTH, 2 * size):
        pen.arc((start, y - size, start + 2 * size, y + size), 180, 360, fill=colour, width=3)


def _star(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    pen.regular_polygon((x, y, size), 3, fill=colour)
    pen.regular_polygon((x, y, size), 3, rotation=180, fill=colour)


def _triangle(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    pen.polygon(((x, y - size), (x - size, y + size), (x + size, y + size)), fill=colour)


def _column(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    pen.rectangle((x, HEIGHT - 5 * size, x + size // 2, HEIGHT), fill=colour)


def _heart(pen: Any, x: int, y: int, size: int, colour: Colour) -> None:
    _disc(pen, x - size // 2, y, size // 2, colour)
    _disc(pen, x + size // 2, y, size // 2, colour)
    pen.polygon(((x - size, y + 2), (x + size, y + 2), (x, y + size + size // 2)), fill=colour)


_DRAW: dict[str, Callable[[Any, int, int, int, Colour], None]] = {
    "discs": _disc,
    "circles": _ring,
    "stripes": _stripe,
    "grid": _grid,
    "waves": _wave,
    "stars": _star,
    "triangles": _triangle,
    "columns": _column,
    "hearts": _heart,
}

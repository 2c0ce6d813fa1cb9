"""Textured grounds of many colours, on which scenes stand."""

from __future__ import annotations

import numpy as np
from PIL import Image


def rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Colours 0..1 (n, 3) of hues (n,) around a smooth wheel."""
    wheel = np.cos(2 * np.pi * (np.asarray(hue)[:, None] - np.array([0, 1, 2]) / 3))
    return np.asarray(value)[:, None] * (1 - np.asarray(saturation)[:, None] * (0.5 - 0.5 * wheel))


def textured_ground(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """float32 (3, height, width), about 0..1: two colours near one another, mixed by a texture, under clouds and grain."""
    short = min(size)
    y, x = (np.arange(side, dtype=np.float32) / short for side in size)
    hue, value = rng.random(), rng.uniform(0.15, 0.9)
    colors = rgb(hue + rng.normal(0, 0.12, 2), rng.uniform(0.1, 0.8, 2), value + rng.uniform(-0.12, 0.12, 2))
    one, other = np.clip(colors, 0, 1).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y[:, None]
    mixed = 0.5 * (slope - slope.min()) / np.ptp(slope) + 0.5 * TEXTURES[rng.integers(len(TEXTURES))](rng, y, x)
    grain = rng.standard_normal(size, np.float32)
    grain *= rng.uniform(0.005, 0.03)
    cells, amount = int(rng.integers(2, 8)), rng.uniform(0.05, 0.3)
    image = np.empty((3, *size), np.float32)
    for channel, start, step in zip(image, one - amount / 2, other - one, strict=True):
        np.multiply(_clouds(rng, size, cells), amount, out=channel, casting="same_kind")
        channel += step * mixed
        channel += grain + np.float32(start)
    return image


def _clouds(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise, float32 (height, width), 0..1 but for small overshoots, `cells` of it along the shorter side."""
    shape = [max(2, round(cells * side / min(size))) for side in size]
    grid = Image.fromarray(rng.random(shape, np.float32))
    return np.asarray(grid.resize(size[::-1], Image.Resampling.BICUBIC))


def _stripes(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Waves or, harder, stripes 0..1, 3 to 14 along the shorter side, any way."""
    angle, waves = rng.uniform(0, np.pi), 2 * np.pi * rng.uniform(3, 14)
    phase = np.float32(waves * np.cos(angle)) * x + np.float32(waves * np.sin(angle)) * y[:, None]
    return 0.5 + 0.5 * np.clip(np.sin(phase) * np.float32(rng.uniform(1, 4)), -1, 1)


def _checks(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Woven waves 0..1 along both sides."""
    rows, columns = (np.sin(np.float32(2 * np.pi * rng.uniform(2, 9)) * side) for side in (y, x))
    return 0.5 + 0.5 * np.clip(rows[:, None] * columns * np.float32(rng.uniform(1, 4)), -1, 1)


def _blobs(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """3 to 8 soft spots, 0..1."""
    count = int(rng.integers(3, 9))
    widths = rng.uniform(0.04, 0.2, (count, 1)).astype(np.float32)
    rows, columns = (
        np.exp(-(((side - rng.uniform(0, side[-1], (count, 1)).astype(np.float32)) / widths) ** 2)) for side in (y, x)
    )
    return np.minimum(rows.T @ columns, 1)


def _speckles(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Noise 0..1 of many small cells."""
    return _clouds(rng, (len(y), len(x)), int(rng.integers(12, 24)))


TEXTURES = (_stripes, _checks, _blobs, _speckles)

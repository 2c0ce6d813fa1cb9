"""Pictures of what a network learned, as PNG files: on the image itself, in colours whose steps look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..plots import new_figure, write_figure
from .heatmap import Heatmap
from .parts import as_picture

COLORS = "inferno"  # perceptually uniform, and dark where nothing is
MAPS = "viridis"
SHOWN = 8  # feature maps of a layer
COLUMNS = 12  # pictures in a row of a grid


def draw_heatmap(image: np.ndarray, found: Heatmap, title: str, meaning: str, path: Path) -> None:
    """The image (H, W, channels), the map laid over it, and the map itself with its scale; `meaning` says what 1 is."""
    picture = _shown(image)
    figure = new_figure(9.6, 3.5)
    panels = figure.subplots(1, 3)
    panels[0].imshow(picture)
    panels[0].set_title("image", loc="left", fontsize=9)
    panels[1].imshow(overlaid(picture, found.map))
    panels[1].set_title("laid over it", loc="left", fontsize=9)
    shades = panels[2].imshow(found.map, cmap=COLORS, vmin=0, vmax=1)
    panels[2].set_title(meaning, loc="left", fontsize=9)
    figure.colorbar(shades, ax=panels[2], fraction=0.046, pad=0.03)
    _finish(figure, panels, title, path)


def overlaid(image: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """A gray version of an image (H, W, channels), uint8, in the colours of shares (H, W), 0..1: the more, the less of the image is left."""
    from matplotlib import colormaps

    gray = image.mean(-1, keepdims=True) / 255 if image.ndim == 3 else image[..., None] / 255
    strength = 0.75 * shares[..., None] ** 0.7
    return (1 - strength) * (0.15 + 0.7 * gray) + strength * colormaps[COLORS](0.2 + 0.75 * shares)[..., :3]


def draw_feature_maps(image: np.ndarray, maps: Mapping[str, np.ndarray], title: str, path: Path) -> None:
    """The image, and for each layer its most active maps, each from its least (dark) to its most (bright) value."""
    figure = new_figure(1.25 * (SHOWN + 1), 1.45 * len(maps) + 0.4)
    panels = figure.subplots(len(maps), SHOWN + 1, squeeze=False)
    for row, (name, values) in zip(panels, maps.items(), strict=True):
        row[0].imshow(_shown(image))
        height, width, channels = values.shape
        row[0].set_title(f"{_short(name)}\n{height}x{width}, {channels} maps", loc="left", fontsize=7)
        chosen = np.argsort(-values.std((0, 1)), kind="stable")[:SHOWN]
        for panel, channel in zip(row[1:], chosen, strict=False):
            panel.imshow(values[..., channel], cmap=MAPS)
            panel.set_title(str(channel), loc="left", fontsize=7)
    _finish(figure, panels, title, path)


def draw_grid(
    pictures: Sequence[np.ndarray],
    titles: Sequence[str],
    title: str,
    path: Path,
    columns: int = COLUMNS,
    side: float = 1.1,
) -> None:
    """Pictures (height, width, channels), 0..1 or uint8, side by side, each so many inches wide."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    has_titles = any(titles)
    figure = new_figure(max(4.0, side * columns), (side + 0.25 * has_titles) * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel, picture, words in zip(panels.flat, pictures, titles, strict=False):
        panel.imshow(_shown(picture), interpolation="nearest")
        panel.set_title(words, loc="left", fontsize=7)
    _finish(figure, panels, title, path)


def draw_rows(
    rows: Mapping[str, Sequence[np.ndarray]], titles: Sequence[Sequence[str]], title: str, path: Path
) -> None:
    """A row of pictures under each name."""
    columns = max(map(len, rows.values()))
    figure = new_figure(max(4.0, 1.15 * columns + 0.9), 1.3 * len(rows) + 0.4)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures), words in zip(panels, rows.items(), titles, strict=True):
        line[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
        for panel, picture, word in zip(line, pictures, words, strict=False):
            panel.imshow(_shown(picture), interpolation="nearest")
            panel.set_title(word, loc="left", fontsize=7)
    _finish(figure, panels, title, path)


def _shown(image: np.ndarray) -> np.ndarray:
    """uint8, with three channels: imshow would stretch the values of a gray one."""
    picture = as_picture(image)
    return np.repeat(picture, 3, -1) if picture.shape[-1] == 1 else picture


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else "…" + name[-most + 1 :]


def _finish(figure: Any, panels: Any, title: str, path: Path) -> None:
    for panel in np.ravel(panels):
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    write_figure(figure, path)

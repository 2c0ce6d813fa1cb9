"""What a network looks at, as pictures for a page: single images with its reasons, and what each stage makes of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..data.decode import decode, decode_whole
from ..data.placement import Placement, place
from ..errors import DataError, SightlineError
from ..explain import feature_maps, grad_cam
from ..explain.figures import MAPS, overlaid
from ..explain.parts import answer_of
from ..structures import ImageSpec
from ..tasks import Task
from ..tasks.cases import Case
from .facts import Stage
from .pictures import Picture, Pictures, smaller

SIDE = 260  # pixels of a picture's longer side
TILE, ACROSS, GAP = 112, 4, 4  # pixels of a feature map and between them; so many in a row
TILES = 2 * ACROSS


@dataclass(frozen=True)
class Shown:
    """One image in a page: its file's name, whether it went well, a sentence, and pictures by what they show."""

    name: str
    went_well: bool
    sentence: str
    pictures: dict[str, Picture]


def shown_cases(task: Task, model: Any, spec: ImageSpec, cases: Sequence[Case], pictures: Pictures) -> list[Shown]:
    """The cases whose images can be read, each with the places that speak for the answer (Grad-CAM).

    Raises DataError where none of several can be read.
    """
    found: list[Shown] = []
    unreadable: list[DataError] = []
    for case in cases:
        try:
            whole = Image.fromarray(decode_whole(case.path))
            pixels = decode(case.path, spec).copy()  # torch warns of what is read-only
        except DataError as error:
            unreadable.append(error)
            continue
        views = case.views(smaller(whole, SIDE))
        reason = _reason(task, model, spec, case, whole, pixels)
        views |= reason
        made = {name: pictures.photo(view, f"{name}: {case.path.name}") for name, view in views.items()}
        there = {name: picture for name, picture in made.items() if picture is not None}
        found.append(Shown(case.path.name, case.went_well, case.sentence, there))
    if unreadable and not found:
        raise DataError("The pictures that it was measured on are not where they were", received=str(unreadable[0]))
    return [each for each in found if each.pictures]


def _reason(
    task: Task, model: Any, spec: ImageSpec, case: Case, whole: Image.Image, pixels: np.ndarray
) -> dict[str, Image.Image]:
    """The image in gray with the places that speak for the answer in colours, by its name; empty for a network that has no such map."""
    try:
        aim = task.explained(answer_of(model, pixels), case.label)
        shares = grad_cam(model, pixels, aim.target).map
    except SightlineError:
        return {}
    placement = place((whole.height, whole.width), spec)
    left, top, right, bottom = placement.crop
    image = smaller(whole.crop((round(left), round(top), round(right), round(bottom))), SIDE)
    within = Image.fromarray(_inner(shares, placement)).resize(image.size, Image.Resampling.BILINEAR)
    laid = overlaid(np.asarray(image), np.asarray(within).clip(0, 1))
    name = "What speaks for it" if shares.any() else "What speaks for it: nothing does"
    return {name: Image.fromarray((255 * laid).round().clip(0, 255).astype(np.uint8))}


def _inner(frame: np.ndarray, placement: Placement) -> np.ndarray:
    """What of the network's frame is image."""
    rows, columns = placement.inner
    return frame[placement.top : placement.top + rows, placement.left : placement.left + columns]


def stage_pictures(
    model: Any, pixels: np.ndarray, stages: Sequence[Stage], pictures: Pictures
) -> dict[str, Picture | None]:
    """For each stage the image with what one place of it sees, and the maps that vary most."""
    maps = feature_maps(model, pixels, [stage.name for stage in stages])
    found = {}
    for stage in stages:
        values = maps[stage.name]
        chosen = np.argsort(-values.std((0, 1)), kind="stable")[: TILES - 1]
        tiles = [_with_field(pixels, stage), *(_as_map(values[..., channel]) for channel in chosen)]
        words = f"The picture with a frame around what one place of {stage.name} sees ({stage.sees}), and {len(chosen)} of its {values.shape[-1]} maps"
        found[stage.name] = pictures.photo(_sheet(tiles), words)
    return found


def _with_field(pixels: np.ndarray, stage: Stage) -> Image.Image:
    """The image as the network is fed it, with a frame around what the place in its middle sees."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    picture = image.resize((TILE, TILE), Image.Resampling.BILINEAR)
    if stage.field is None:
        return picture
    box = stage.field.at(stage.field.height.places // 2, stage.field.width.places // 2)
    scale = [TILE / image.width, TILE / image.height] * 2
    left, top, right, bottom = (side * by for side, by in zip(box, scale, strict=True))
    pen = ImageDraw.Draw(picture)
    for inset, color in ((0, "#000000"), (1, "#ffffff"), (2, "#000000")):
        corners = left + inset, top + inset, right - 1 - inset, bottom - 1 - inset
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            pen.rectangle(corners, outline=color)
    return picture


def _as_map(values: np.ndarray) -> Image.Image:
    """A map (height, width) from its least (dark) to its most (bright) value."""
    from matplotlib import colormaps

    low, high = float(values.min()), float(values.max())
    colors = colormaps[MAPS]((values - low) / max(high - low, 1e-12))[..., :3]
    picture = Image.fromarray((255 * colors).round().astype(np.uint8))
    return picture.resize((TILE, TILE), Image.Resampling.NEAREST)


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    rows = -(-len(tiles) // ACROSS)
    columns = min(ACROSS, len(tiles))
    sheet = Image.new("RGB", (columns * (TILE + GAP) - GAP, rows * (TILE + GAP) - GAP), "#ffffff")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % ACROSS * (TILE + GAP), i // ACROSS * (TILE + GAP)))
    return sheet

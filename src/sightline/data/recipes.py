"""How much a picture may be changed at random, and the presets for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import yaml

from ..errors import ArgumentError, choose, refuse_unknown


@dataclass(frozen=True)
class Augmentation:
    """Ranges of random changes; the defaults change nothing.

    Chances (0..1): `flip_horizontal`, `flip_vertical`, `erase` (a rectangle turns gray), `mosaic` (four pictures in one).
    Of the geometry: `rotate` degrees either way, `shift` a share of the side either way, `zoom` a factor of 1 - zoom to
    1 + zoom, `random_resized_crop` the least share of the area that is kept (1: all of it), its proportions changed by
    up to 4 to 3. Of the colours: `brightness`, `contrast` and `saturation` factors of 1 - v to 1 + v, `hue` a share of the
    full turn either way (0..0.5), `lighting` the deviation of AlexNet's principal-component noise (0.1 there), `haze` the most of
    the way to white that a glow about a random place takes its middle (uneven light, such as a microscope's or fog).
    `mixup` and `cutmix` are the alpha of their beta distribution, 0 for none; with both, each has half of the chance.
    A box of which less than `min_visible` of the area is left is dropped; with `keep_boxes` a movement that would drop one
    is not done.
    """

    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    random_resized_crop: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    lighting: float = 0.0
    haze: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mosaic: float = 0.0
    min_visible: float = 0.25
    keep_boxes: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.keep_boxes, bool):
            raise ArgumentError("augment: keep_boxes is true or false", received=repr(self.keep_boxes))
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "keep_boxes":
                continue
            low, high = _RANGES.get(field.name, (0.0, 1.0))
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ArgumentError(
                    f"augment: {field.name} is out of range",
                    expected=f"a number of {low:g} to {high:g}",
                    received=repr(value),
                )

    @property
    def changes_nothing(self) -> bool:
        return self == replace(Augmentation(), min_visible=self.min_visible, keep_boxes=self.keep_boxes)

    @property
    def mixes_labels(self) -> bool:
        """Whether a picture may show several classes, so that targets are shares."""
        return self.mixup > 0 or self.cutmix > 0

    def unmixed(self) -> Augmentation:
        """The same without pictures that are made of several."""
        return replace(self, mixup=0.0, cutmix=0.0, mosaic=0.0)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


_RANGES = {
    "rotate": (0.0, 180.0), "zoom": (0.0, 0.9), "random_resized_crop": (0.01, 1.0), "hue": (0.0, 0.5), "lighting": (0.0, 10.0),
    "mixup": (0.0, 100.0), "cutmix": (0.0, 100.0), "shift": (0.0, 0.9),
}  # fmt: skip

_LIGHT_COLORS = {"brightness": 0.15, "contrast": 0.15, "saturation": 0.15}
_STRONG_COLORS = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.03, "lighting": 0.1}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "classify": {
        "none": {},
        "light": {"flip_horizontal": 0.5, "rotate": 7.0, "shift": 0.06, "zoom": 0.1, **_LIGHT_COLORS},
        "strong": {
            "flip_horizontal": 0.5, "rotate": 15.0, "random_resized_crop": 0.35, "erase": 0.25, "mixup": 0.2, "cutmix": 1.0,
            **_STRONG_COLORS,
        },
    },
    "localize": {
        "none": {"keep_boxes": True},
        "light": {"flip_horizontal": 0.5, "shift": 0.06, "zoom": 0.1, "min_visible": 0.7, "keep_boxes": True, **_LIGHT_COLORS},
        "strong": {
            "flip_horizontal": 0.5, "rotate": 5.0, "shift": 0.15, "zoom": 0.3, "min_visible": 0.7, "keep_boxes": True,
            **_STRONG_COLORS,
        },
    },
    "detect": {
        "none": {},
        "light": {"flip_horizontal": 0.5, "shift": 0.1, "zoom": 0.15, **_LIGHT_COLORS},
        "strong": {"flip_horizontal": 0.5, "shift": 0.1, "zoom": 0.3, "mosaic": 0.5, **_STRONG_COLORS},
    },
    "segment": {
        "none": {},
        "light": {"flip_horizontal": 0.5, "rotate": 7.0, "shift": 0.06, "zoom": 0.1, **_LIGHT_COLORS},
        "strong": {
            "flip_horizontal": 0.5, "rotate": 15.0, "random_resized_crop": 0.35, "cutmix": 1.0, **_STRONG_COLORS,
        },
    },
}  # fmt: skip
# Mixing that leaves no label that a task could learn from
_IMPOSSIBLE = {
    "classify": ("mosaic",), "localize": ("mosaic", "mixup", "cutmix"), "detect": ("cutmix",), "segment": ("mixup",)
}  # fmt: skip


def recipe(task: str, asked: str | Mapping[str, Any] | Augmentation | None) -> Augmentation:
    """The augmentation of a task: a preset's name, or a dictionary of {"preset": name} and what differs from it.

    None is "none". Raises ArgumentError for unknown names, values out of range, and mixing that the task cannot learn from.
    """
    if isinstance(asked, Augmentation):
        return _possible(task, asked)
    differing = dict(asked) if isinstance(asked, Mapping) else {}
    name = differing.pop("preset", "none") if isinstance(asked, Mapping) else asked or "none"
    preset = PRESETS[task][choose("augmentation preset", name, PRESETS[task])]
    known = [field.name for field in fields(Augmentation)]
    refuse_unknown("augment", {str(key): value for key, value in differing.items() if key not in known}, known)
    return _possible(task, Augmentation(**{**preset, **differing}))


def from_words(words: Sequence[str]) -> dict[str, Any]:
    """The command line's way to say an augmentation: a preset's name, and name=value for what differs from it.

    >>> from_words(["light", "rotate=20", "keep_boxes=true"])
    {'preset': 'light', 'rotate': 20, 'keep_boxes': True}
    """
    said: dict[str, Any] = {}
    for word in words:
        name, equals, value = str(word).partition("=")
        if not equals:
            name, value = "preset", name
        try:
            said[name] = value if name == "preset" else yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ArgumentError(f"augment: {word!r} is not name=value", expected="such as rotate=20") from error
    return said


def _possible(task: str, augmentation: Augmentation) -> Augmentation:
    for name in _IMPOSSIBLE[task]:
        if getattr(augmentation, name):
            raise ArgumentError(
                f"augment: {name} leaves no label that {task} could learn from", fix=f"Leave {name} at 0"
            )
    return augmentation

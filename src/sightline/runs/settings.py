"""Every setting of a run: from the defaults, a YAML file, and what was said in the call, the last one winning."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ..data.findings import KINDS
from ..data.recipes import from_words, recipe
from ..data.sources import FORMATS
from ..errors import ArgumentError, choose, refuse_unknown
from ..structures import COLOR_MODES, RESIZES
from ..tasks import TASKS
from ..training.numerics import AUTO, PRECISIONS
from .rates import OPTIMIZERS, SCHEDULES

MOST_PIXELS = 16384  # a side of what a network is fed
LEAST_TILE = 16  # pixels a side
FREEZE = ("backbone",)
UNFREEZE = ("last-stage", "all")
REFUSE, FIT = "refuse", "auto"
FIT_MEMORY = (REFUSE, FIT, "off")
TAKEN = ("peak", "parts", "precision", "segments")  # what a run writes down of the way that "auto" took
# What is usual, and what keeps a network from learning a few hundred images by heart; what a person says wins
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "small-data": {"augment": "light", "weight_decay": 0.02, "label_smoothing": 0.1, "dropout": 0.3, "patience": 10},
}


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do. `None` means: the model's or the machine's own."""

    data: str
    model: str = "small_cnn"
    network: dict[str, Any] | None = None
    task: str = "classify"
    epochs: int = 10
    batch_size: int = 32
    image_size: int | None = None
    color_mode: str | None = None
    resize: str = "squash"
    augment: str | dict[str, Any] = "none"
    format: str | None = None
    group_pattern: str | None = None
    classes: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    cache: bool = True
    lr: float = 0.001
    optimizer: str = "adam"
    schedule: str = "cosine"
    warmup: float = 0.0
    ema: float | None = None
    clip: float | None = None
    patience: int | None = None
    time_budget: float | None = None
    tensorboard: bool = False
    weights: str | None = None
    freeze: str | None = None
    unfreeze: str | None = None
    backbone_lr: float = 0.1
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    dropout: float | None = None
    box_loss: str = "mse"
    head: str = "unet"
    pixel_loss: str = "cross-entropy"
    class_weights: str = "none"
    tile: int | None = None
    recipe: str = "plain"
    precision: str = "auto"
    fit_memory: str | dict[str, Any] = REFUSE  # in a run's own file what "auto" has taken
    device: str = "auto"
    workers: int | None = None
    seed: int = 0
    name: str | None = None
    runs: str = "runs"
    exist_ok: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "model", "device", "runs", "name", "group_pattern", "weights"):
            _check(name, getattr(self, name), lambda v: isinstance(v, str), "text")
        for name in ("exist_ok", "cache", "tensorboard"):
            _check(name, getattr(self, name), lambda v: isinstance(v, bool), "true or false")
        choose("task", self.task, TASKS)
        choose("resize policy", self.resize, RESIZES)
        if isinstance(self.network, (list, tuple)):  # the command line's words
            object.__setattr__(self, "network", named_values("network", self.network))
        expected = "its arguments, such as filters=16"
        _check("network", self.network, lambda v: isinstance(v, dict) and all(isinstance(k, str) for k in v), expected)
        if self.format is not None:
            choose("format", self.format, FORMATS)
        self._check_data_settings()
        self._check_task_settings()
        if self.color_mode is not None:
            choose("color mode", self.color_mode, COLOR_MODES)
        for name in ("epochs", "batch_size", "image_size", "workers", "patience"):
            _check(name, getattr(self, name), lambda v: _is_whole(v) and v >= 1, "a whole number of at least 1")
        self._check_training_settings()
        _check("image_size", self.image_size, lambda v: v <= MOST_PIXELS, f"at most {MOST_PIXELS} pixels a side")
        _check("seed", self.seed, lambda v: _is_whole(v) and 0 <= v < 2**63, "a whole number of at least 0")
        if self.name is not None and not _is_folder_name(self.name):
            raise ArgumentError(
                "The name of a run is the name of a folder",
                expected="up to 100 letters, without a path",
                received=repr(self.name),
            )

    def _check_training_settings(self) -> None:
        for name in ("lr", "clip", "time_budget"):
            _check(name, getattr(self, name), lambda v: _is_number(v) and v > 0, "a number above 0")
        _check("warmup", self.warmup, lambda v: _is_number(v) and v >= 0, "a number of epochs, at least 0")
        _check("warmup", self.warmup, lambda v: v < self.epochs or not v, f"less than the {self.epochs} epochs")
        _check("ema", self.ema, lambda v: _is_number(v) and 0 < v < 1, "a number between 0 and 1, such as 0.999")
        _check("weight_decay", self.weight_decay, lambda v: _is_number(v) and v >= 0, "a number of at least 0")
        for name in ("label_smoothing", "dropout"):
            _check(name, getattr(self, name), lambda v: _is_number(v) and 0 <= v < 1, "a number of at least 0, below 1")
        self._check_transfer()
        choose("recipe", self.recipe, RECIPES)
        choose("optimizer", self.optimizer, OPTIMIZERS)
        choose("schedule", self.schedule, SCHEDULES)
        choose("precision", self.precision, (AUTO, *PRECISIONS))
        if not isinstance(self.fit_memory, dict):
            choose("fit-memory", self.fit_memory, FIT_MEMORY)
        elif set(self.fit_memory) != set(TAKEN):
            raise ArgumentError(
                "fit_memory holds no way that a run has taken", expected=", ".join(TAKEN),
                received=", ".join(map(str, self.fit_memory)), fix=f"Give one of {', '.join(FIT_MEMORY)}",
            )  # fmt: skip

    def _check_task_settings(self) -> None:
        """What one task alone, or not every one, can use."""
        classes = (self.classes,) if isinstance(self.classes, str) else self.classes
        _check(
            "classes", classes, lambda v: isinstance(v, (list, tuple)) and all(isinstance(n, str) for n in v), "names"
        )
        object.__setattr__(self, "classes", tuple(classes))
        if self.classes and TASKS[self.task].takes_labels:
            raise ArgumentError("--classes chooses boxes", received=f"--task {self.task}", fix="Leave it out")
        _check("tile", self.tile, lambda v: _is_whole(v) and v >= LEAST_TILE, f"at least {LEAST_TILE} pixels")
        TASKS[self.task](**self.task_options)  # raises
        for name, others in _DEFAULTS.items():
            if name not in TASKS[self.task].own_settings and getattr(self, name) != others:
                its = next(task for task in TASKS.values() if name in task.own_settings)
                raise ArgumentError(
                    f"--{name.replace('_', '-')} is for --task {its.name}",
                    received=f"--task {self.task}",
                    fix="Leave it out",
                )
        for name in ("unfreeze", "label_smoothing", "dropout"):
            if not TASKS[self.task].takes_labels and getattr(self, name):
                raise ArgumentError(
                    f"--{name.replace('_', '-')} is for classification",
                    received=f"--task {self.task}",
                    fix="Leave it out",
                )

    def _check_transfer(self) -> None:
        _check("backbone_lr", self.backbone_lr, lambda v: _is_number(v) and 0 < v <= 1, "a factor above 0, at most 1")
        if self.freeze is not None:
            choose("part to freeze", self.freeze, FREEZE)
        if self.unfreeze is not None:
            choose("part to unfreeze", self.unfreeze, UNFREEZE)
        if self.learns_features and not recipe(self.task, self.augment).changes_nothing:
            raise ArgumentError(
                "With a frozen backbone the features of each image are computed once, so images cannot be augmented",
                fix="Leave --augment out, or add --unfreeze last-stage, which trains on after that with augmented images",
            )

    def _check_data_settings(self) -> None:
        allow = (self.allow,) if isinstance(self.allow, str) else self.allow
        _check(
            "allow", allow, lambda v: isinstance(v, (list, tuple)), "kinds of findings, such as [copies-across-splits]"
        )
        object.__setattr__(self, "allow", tuple(choose("kind of finding", kind, KINDS) for kind in allow))
        if isinstance(self.augment, (list, tuple)):  # the command line's words
            object.__setattr__(self, "augment", from_words(self.augment))
        expected = "a preset's name, or a dictionary of a preset and what differs from it"
        _check("augment", self.augment, lambda v: isinstance(v, (str, dict)), expected)
        recipe(self.task, self.augment)

    @property
    def run_name(self) -> str:
        """The name given, or data-model."""
        return self.name or f"{Path(self.data).resolve().name}-{self.model_label}"

    @property
    def model_label(self) -> str:
        return Path(self.model).name.replace(":", "-").replace(".py", "")

    @property
    def folder(self) -> Path:
        return Path(self.runs) / self.task / self.run_name

    @property
    def task_options(self) -> dict[str, Any]:
        """The settings that are one task's own."""
        return {name: getattr(self, name) for name in TASKS[self.task].own_settings}

    @property
    def learns_features(self) -> bool:
        """Whether a head alone trains, on features of each image that are computed once: it reads one map of the backbone."""
        return self.freeze is not None and self.unfreeze is None and TASKS[self.task].takes_labels

    @property
    def thread_count(self) -> int:
        return self.workers or os.cpu_count() or 1

    @property
    def _asked_to_fit(self) -> str:
        return FIT if isinstance(self.fit_memory, dict) else self.fit_memory

    def as_yaml(self) -> str:
        plain = asdict(self) | {"name": self.run_name, "allow": list(self.allow), "classes": list(self.classes)}
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    def command(self) -> str:
        """The command that asks for the same."""
        words = ["sightline", "train", shlex.quote(self.data)]
        defaults = {field.name: field.default for field in fields(self)}
        for name, value in (asdict(self) | {"fit_memory": self._asked_to_fit}).items():
            if name in ("data", "exist_ok") or value == defaults[name]:
                continue
            flag = f"--{name.replace('_', '-')}"
            if name == "cache":
                words.append("--no-cache")
            elif value is True:
                words.append(flag)
            else:
                words += [word for each in _as_words(value) for word in (flag, shlex.quote(each))]
        return " ".join(words)


def _as_words(value: Any) -> list[str]:
    """A setting as the values of its flag, which may be given several times."""
    if isinstance(value, dict):
        return [str(v) if name == "preset" else f"{name}={v}" for name, v in value.items()]
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]


SETTING_NAMES = [field.name for field in fields(Settings)]
_OWN = {name for task in TASKS.values() for name in task.own_settings}
_DEFAULTS = {field.name: field.default for field in fields(Settings) if field.name in _OWN}  # of one task's settings


def resolve(data: str | Path | None, given: Mapping[str, Any], config: str | Path | None = None) -> Settings:
    """Settings from a YAML file and a call. Raises ArgumentError for a key that does not exist, or a value out of range."""
    from_file = read_config(config) if config is not None else {}
    refuse_unknown("train", {k: v for k, v in given.items() if k not in SETTING_NAMES}, SETTING_NAMES)
    chosen = from_file | {key: value for key, value in given.items() if value is not None}
    task = TASKS[choose("task", chosen.get("task", "classify"), TASKS)]
    chosen = {**task.defaults, **RECIPES[choose("recipe", chosen.get("recipe", "plain"), RECIPES)], **chosen}
    frozen = task.takes_labels and chosen.get("freeze") is not None and chosen.get("unfreeze") is None
    if frozen and not {"augment"} & {*given, *from_file}:
        chosen.pop("augment", None)  # the recipe's: frozen features are of images as they are
    if isinstance(chosen.get("fit_memory"), dict):  # another run's way, which may not do for this one
        chosen["fit_memory"] = FIT
    for name in ("model", "runs", "weights"):
        if isinstance(chosen.get(name), Path):
            chosen[name] = str(chosen[name])
    if data is not None:
        chosen["data"] = str(data)
    if "data" not in chosen:
        raise ArgumentError("There is no data to train on", fix="Name a folder: sightline train FOLDER")
    return Settings(**chosen)


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file; unknown keys are refused with the nearest name."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"The settings {path} cannot be read ({error.strerror})", fix="Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"The settings {path} are not YAML ({' '.join(str(error).split())})") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ArgumentError(f"The settings {path} are not keys with values", expected="lines such as epochs: 10")
    values = {key.replace("-", "_"): value for key, value in values.items() if value is not None}
    for name in ("lr", "warmup", "ema", "clip", "time_budget", "backbone_lr", "weight_decay"):
        with contextlib.suppress(KeyError, TypeError, ValueError):  # YAML 1.1 reads 1e-3 as text
            values[name] = float(values[name])
    refuse_unknown(
        f"The settings file {path}", {k: v for k, v in values.items() if k not in SETTING_NAMES}, SETTING_NAMES
    )
    return values


def named_values(what: str, words: Sequence[str]) -> dict[str, Any]:
    """The command line's way to say arguments.

    >>> named_values("network", ["filters=16", "padding=same"])
    {'filters': 16, 'padding': 'same'}
    """
    pairs = [str(word).partition("=") for word in words]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise ArgumentError(f"{what}: {wrong[0]!r} is not name=value", expected="such as filters=16")
    return {name: yaml.safe_load(value) for name, _, value in pairs}


def _is_folder_name(name: str) -> bool:
    return 0 < len(name) <= 100 and Path(name).name == name and name not in (".", "..")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check(name: str, value: Any, is_right: Callable[[Any], bool], expected: str) -> None:
    if value is not None and not is_right(value):
        raise ArgumentError(
            f"The setting {name.replace('_', '-')} is out of range", expected=expected, received=repr(value)
        )

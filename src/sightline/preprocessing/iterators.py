"""Endless batches of arrays for `next`, and numbered ones for whoever asks for an epoch, as Keras's iterators are.

Two ways in, and both draw what Keras draws: `next(batches)` goes on forever, in a new order (with `shuffle`) after each
pass; `batches[i]` for i in range(len(batches)), then `on_epoch_end()`, is one epoch. With a seed, batch number k since the
beginning draws from `RandomState(seed + k)`, its order and its changes, so that two iterators of one seed go in step.
"""

from __future__ import annotations

import abc
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..console import say
from ..data.listing import existing_folder
from ..errors import ArgumentError, DataError, ShapeError, choose, did_you_mean
from .files import CHANNELS, INTERPOLATIONS, height_and_width, img_to_array, load_img
from .transforms import random_source

SUFFIXES = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")  # Keras's; a dot before them is not asked for
CLASS_MODES = ("categorical", "binary", "sparse", "input")
SUBSETS = ("training", "validation")


class Iterator(abc.ABC):
    """`n` samples in batches of `batch_size`, the last one smaller; `next` never ends."""

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None):
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ArgumentError("batch_size is a positive whole number", received=repr(batch_size))
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ArgumentError("seed is None or a whole number from 0", received=repr(seed))
        self.n, self.batch_size, self.shuffle, self.seed = n, int(batch_size), shuffle, seed
        self.batch_index = 0
        self.total_batches_seen = 0
        self.index_array: np.ndarray | None = None
        self._random = None if seed is None else random_source(seed)

    @abc.abstractmethod
    def _batch(self, indices: np.ndarray, random: Any) -> Any:
        """The batch of the samples of these numbers, changed as drawn from `random`."""

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        random = self._next_source()
        if self.batch_index == 0 or self.index_array is None:
            self.index_array = self._order(random)
        at = self.batch_index
        self.batch_index = (at + 1) % len(self)
        return self._batch(self._numbers(self.index_array, at), random)

    def __getitem__(self, idx: int) -> Any:
        if not 0 <= idx < len(self):
            raise ArgumentError("There is no batch of this number", expected=f"0 .. {len(self) - 1}", received=idx)
        random = self._next_source()
        if self.index_array is None:
            self.index_array = self._order(random)
        return self._batch(self._numbers(self.index_array, idx), random)

    def on_epoch_end(self) -> None:
        """A new order for the epoch that `[0]` begins."""
        self.index_array = self._order(self._random if self._random is not None else random_source(None))

    def reset(self) -> None:
        """Let `next` begin with the first batch again."""
        self.batch_index = 0

    def _next_source(self) -> Any:
        number = self.total_batches_seen
        self.total_batches_seen += 1
        if self.seed is None:
            return random_source(None)
        self._random = random_source(self.seed + number)
        return self._random

    def _order(self, random: Any) -> np.ndarray:
        return random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _numbers(self, order: np.ndarray, batch: int) -> np.ndarray:
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]


class NumpyArrayIterator(Iterator):
    """Batches of `x` (n, height, width, channels), with `y` and `sample_weight` where they are given.

    A batch is x, (x, y) or (x, y, sample_weight); x is float32. Raises ArgumentError, ShapeError and DataError.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
        seed: int | None = None,
        subset: str | None = None,
        ignore_class_split: bool = False,
    ):
        if isinstance(x, (list, tuple)):
            fix = "Make one array of a list of images with np.stack; give further inputs by a generator of your own"
            raise ArgumentError("flow takes one array of images", received=f"a {type(x).__name__} of {len(x)}", fix=fix)
        images = np.asarray(x, dtype="float32")
        if images.ndim != 4:
            raise ShapeError("Images are (n, height, width, channels)", received=f"shape {images.shape}")
        warn_of_channels(images)
        if sample_weight is not None and y is None:
            raise ArgumentError("sample_weight comes with y, and there is no y")
        targets = None if y is None else _as_many("y", y, images)
        weights = None if sample_weight is None else _as_many("sample_weight", sample_weight, images)
        if subset is not None:
            choose("subset", subset, SUBSETS)
            first = int(len(images) * image_data_generator.validation_split)
            if targets is not None and first and not ignore_class_split:
                _require_same_classes(targets[:first], targets[first:])
            part = slice(first) if subset == "validation" else slice(first, None)
            images = images[part]
            targets, weights = (None if array is None else array[part] for array in (targets, weights))
        if len(images) == 0:
            raise DataError("There is no image to flow", received=f"{np.shape(x)}", fix=_subset_hint(subset))
        self.x, self.y, self.sample_weight = images, targets, weights
        self.image_data_generator, self.subset = image_data_generator, subset
        super().__init__(len(images), batch_size, shuffle, seed)

    def _batch(self, indices: np.ndarray, random: Any) -> Any:
        images = [self.image_data_generator.prepare(self.x[i].copy(), random) for i in indices]
        batch = np.stack(images, dtype="float32", casting="unsafe")
        if self.y is None:
            return batch
        if self.sample_weight is None:
            return batch, self.y[indices]
        return batch, self.y[indices], self.sample_weight[indices]


class DirectoryIterator(Iterator):
    """Batches of the image files in a folder's class folders, read when they are asked for.

    A batch is (x, y), or x where `class_mode` is None; x is float32 (n, *image_shape). y is one-hot (n, classes) for
    "categorical", the number of the class (n,) for "binary" and "sparse", all float32, and x itself for "input".
    Raises ArgumentError, and DataError for a folder without images, or, with its path, a file that cannot be read.
    """

    def __init__(
        self,
        directory: Any,
        image_data_generator: Any,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ):
        self.directory, self.image_data_generator = directory, image_data_generator
        self.target_size = height_and_width(target_size)
        self.color_mode = choose("color_mode", color_mode, CHANNELS)
        self.image_shape = (*self.target_size, CHANNELS[color_mode])
        self.class_mode = None if class_mode is None else choose("class_mode", class_mode, CLASS_MODES)
        self.interpolation = choose("interpolation", interpolation, INTERPOLATIONS)
        self.keep_aspect_ratio = keep_aspect_ratio
        self.subset = None if subset is None else choose("subset", subset, SUBSETS)
        names = class_names(directory, classes)
        self.num_classes = len(names)
        self.class_indices = {name: number for number, name in enumerate(names)}
        files = [list_files(directory, name, follow_links) for name in names]
        if subset is not None:
            files = [_part(found, subset, image_data_generator.validation_split) for found in files]
        self.filenames = [file for found in files for file in found]
        self.filepaths = [os.path.join(directory, file) for file in self.filenames]
        self.classes = np.repeat(np.arange(len(names), dtype="int32"), [len(found) for found in files])
        self.samples = len(self.filenames)
        if not self.samples:
            expected = f"class folders with images: {directory}/<class>/*.jpg"
            raise DataError(f"{directory} has no image to flow", expected=expected, fix=_subset_hint(subset))
        say(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        super().__init__(self.samples, batch_size, shuffle, seed)

    @property
    def labels(self) -> np.ndarray:
        """The class number of each file, as `classes`."""
        return self.classes

    def _batch(self, indices: np.ndarray, random: Any) -> Any:
        images = [self.image_data_generator.prepare(self._read(i), random) for i in indices]
        batch = np.stack(images, dtype="float32", casting="unsafe")
        if self.class_mode is None:
            return batch
        if self.class_mode == "input":
            return batch, batch.copy()
        numbers = self.classes[indices]
        if self.class_mode == "categorical":
            return batch, np.eye(self.num_classes, dtype="float32")[numbers]
        return batch, numbers.astype("float32")

    def _read(self, number: int) -> np.ndarray:
        path = self.filepaths[number]
        image = load_img(path, self.color_mode, self.target_size, self.interpolation, self.keep_aspect_ratio)
        return img_to_array(image)


def class_names(directory: Any, classes: Sequence[str] | None) -> list[str]:
    """`classes`, each of which has a folder, or all folders of `directory` in order. Raises ArgumentError and DataError."""
    root = existing_folder(directory)
    folders = sorted(name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name)))
    if not classes:
        return folders
    if isinstance(classes, str) or len(set(classes)) < len(classes):
        raise ArgumentError("classes is a list of different folder names", received=repr(classes))
    for name in classes:
        if not os.path.isdir(os.path.join(root, name)):
            raise DataError(f"{root} has no folder for the class {name!r}", fix=did_you_mean(str(name), folders))
    return list(classes)


def list_files(directory: Any, name: str, follow_links: bool) -> list[str]:
    """The image files of the class folder `name` at any depth, relative to `directory`, folder by folder in order."""
    folder = os.path.join(directory, name)
    places = sorted(os.walk(folder, followlinks=follow_links), key=lambda place: place[0])
    return [
        os.path.relpath(os.path.join(place, file), directory)
        for place, _, files in places
        for file in sorted(files)
        if file.lower().endswith(SUFFIXES)
    ]


def warn_of_channels(images: np.ndarray) -> None:
    """Warn where the last axis of (n, height, width, channels) does not look like channels."""
    if images.shape[3] not in CHANNELS.values():
        warnings.warn(
            f"Images have 1, 3 or 4 channels on their last axis; these have the shape {images.shape}", stacklevel=4
        )


def _part(files: list[str], subset: str, validation_split: float) -> list[str]:
    """The first `validation_split` of a class's files is its validation subset, the rest its training subset."""
    first = int(validation_split * len(files))
    return files[:first] if subset == "validation" else files[first:]


def _as_many(name: str, values: Any, images: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 0 or len(array) != len(images):
        received = f"{len(images)} and {len(array) if array.ndim else repr(values)}"
        raise ShapeError(f"x and {name} must have as many samples", received=received)
    return array


def _require_same_classes(first: np.ndarray, rest: np.ndarray) -> None:
    if not np.array_equal(np.unique(first), np.unique(rest)):
        raise ArgumentError(
            "The training and the validation subset have not the same classes: the first part of x is for validation",
            fix="Shuffle x and y together before, or give ignore_class_split=True",
        )


def _subset_hint(subset: str | None) -> str | None:
    if subset is None:
        return None
    return f'subset="{subset}" takes a share that leaves an image: give ImageDataGenerator(validation_split=0.2)'

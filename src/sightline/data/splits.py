"""Who is trained on and who is held back: seeded, and alike in every class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import DataError
from ..structures import Dataset, Sample

VALIDATION_SHARE = 0.15
TEST_SHARE = 0.15


def with_splits(dataset: Dataset, seed: int) -> Dataset:
    """The data set with "train", "validation" and, unless the folder chose its splits without one, "test".

    Given splits stay as they are. What is missing is drawn from the training images, stratified and seeded.
    """
    splits = dict(dataset.splits)
    if "all" in splits:
        rest, splits["test"] = stratified_split(splits.pop("all"), TEST_SHARE, seed)
        share = VALIDATION_SHARE / (1 - TEST_SHARE)
        splits["train"], splits["validation"] = stratified_split(rest, share, seed)
    elif "validation" not in splits:
        splits["train"], splits["validation"] = stratified_split(splits["train"], VALIDATION_SHARE, seed)
    if "validation" in dataset.given and not splits["validation"]:
        raise DataError(
            f"The validation folder of {dataset.root} holds no image in a class folder",
            fix="Put images there, or remove the folder: validation is then drawn from the training images",
        )
    ordered: dict[str, tuple[Sample, ...]] = {
        name: splits[name] for name in ("train", "validation", "test") if name in splits
    }
    if not ordered["validation"]:
        raise DataError(
            f"{dataset.root} has too few images to hold any back for validation",
            expected="at least 2 images of some class",
            received=f"{len(ordered['train'])} images of {len(dataset.classes)} classes",
        )
    return replace(dataset, splits=ordered)


def stratified_split(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """(kept, held back): of each class about `share` is held back, at least one where the class has two."""
    by_label: dict[int, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_label[sample.label].append(index)
    generator = np.random.default_rng(seed)
    held: set[int] = set()
    for label in sorted(by_label):
        indices = by_label[label]
        count = min(max(1, round(share * len(indices))), len(indices) - 1)
        held.update(int(i) for i in generator.permutation(indices)[:count])
    return (
        tuple(s for i, s in enumerate(samples) if i not in held),
        tuple(s for i, s in enumerate(samples) if i in held),
    )

"""Who is trained on and who is held back: seeded, alike in every class, and nothing that belongs together on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from ..errors import DataError
from ..structures import Dataset, Sample
from .census import Facts
from .duplicates import clusters, exact_copies, near_copies

VALIDATION_SHARE = 0.15
TEST_SHARE = 0.15


def with_splits(dataset: Dataset, seed: int) -> Dataset:
    """The data set with "train", "validation" and, unless the folder chose its splits without one, "test".

    Given splits stay as they are. What is missing is drawn from the training images, stratified and seeded; samples of
    one group come to the same side.
    """
    splits = dict(dataset.splits)
    if not splits.get("all") and not splits.get("train"):
        raise DataError(
            f"{dataset.root} has no images to train on", received=f"the splits {', '.join(splits) or 'none'}"
        )
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
            expected="at least 2 images of some class that do not belong together",
            received=f"{len(ordered['train'])} images of {len(dataset.classes)} classes",
        )
    return replace(dataset, splits=ordered)


def stratified_split(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """(kept, held back): of each class about `share` is held back, at least one where the class has two, never all of it.

    The units (single samples, or the samples of one group) are visited in a random order, and one is held back
    where that brings the held-back counts of the classes nearer to what is wanted. For single samples of one class each
    that is the exact share of every class; where an image shows several classes, or units are large, it is near it.
    """
    own = [strata(sample) for sample in samples]
    total: Counter[int] = Counter(stratum for each in own for stratum in each)
    wanted = {stratum: min(max(1, round(share * n)), n - 1) for stratum, n in total.items()}
    held: Counter[int] = Counter()
    chosen: set[int] = set()
    for unit in shuffled_units(samples, seed):
        gain = Counter(stratum for i in unit for stratum in own[i])
        # the squared distance to what is wanted falls by the sum of n * (2 * (wanted - held) - n)
        nearer = sum(n * (2 * (wanted[s] - held[s]) - n) for s, n in gain.items()) > 0
        if nearer and all(held[s] + n < total[s] for s, n in gain.items()):
            chosen.update(unit)
            held.update(gain)
    return (
        tuple(sample for i, sample in enumerate(samples) if i not in chosen),
        tuple(sample for i, sample in enumerate(samples) if i in chosen),
    )


def shuffled_units(samples: Sequence[Sample], seed: int) -> list[list[int]]:
    """The numbers of the samples that no split may part, together: those of each group, and each of the others alone; in a seeded order."""
    units: dict[str | int, list[int]] = {}
    for i, sample in enumerate(samples):
        units.setdefault(i if sample.group is None else sample.group, []).append(i)
    in_order = list(units.values())
    return [in_order[number] for number in np.random.default_rng(seed).permutation(len(in_order))]


def with_copies_together(dataset: Dataset, facts: Sequence[Facts], *, near: bool = True) -> Dataset:
    """The data set with copies in one group, which is larger where its samples have groups of their own.

    `facts` are those of `dataset.samples`. Without `near` only files of the same bytes are copies: all pictures of one
    fixed camera are alike from afar.
    """
    samples = dataset.samples
    by_group: dict[str, list[int]] = {}
    for i, sample in enumerate(samples):
        if sample.group is not None:
            by_group.setdefault(sample.group, []).append(i)
    belonging = [*exact_copies(facts), *(near_copies(facts) if near else ()), *by_group.values()]
    cluster = clusters(len(samples), belonging)
    sizes = Counter(cluster)
    named = iter(
        replace(sample, group=f"together {number}") if sizes[number] > 1 else sample
        for sample, number in zip(samples, cluster, strict=True)
    )
    return replace(dataset, splits={split: tuple(islice(named, len(own))) for split, own in dataset.splits.items()})


def strata(sample: Sample) -> set[int]:
    """The classes that a sample shows; -1 where it shows none that is known, so that such samples are a class of their own."""
    if sample.label is not None:
        return {sample.label}
    return set(sample.boxes.labels.tolist()) or {-1} if sample.boxes is not None else {-1}

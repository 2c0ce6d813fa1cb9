"""k-fold cross-validation: each image is held back once, alike in every class, and nothing that belongs together on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..errors import DataError, whole_number
from ..structures import Dataset, Sample
from .splits import VALIDATION_SHARE, shuffled_units, strata, stratified_split

HELD = "test"  # the split that no fold and no search may see


def folds(samples: Sequence[Sample], count: int, seed: int) -> list[tuple[tuple[Sample, ...], tuple[Sample, ...]]]:
    """(trained on, held back) for each of `count` folds, the samples in their order; each is held back in one fold.

    The units (single samples, or the samples of one group) come one by one, large ones first, to the fold that has
    least of their classes: of single samples of one class each, two folds' counts of a class differ by at most one.
    """
    whole_number(count, "The number of folds", least=2)
    numbers = fold_numbers(samples, count, seed)
    return [
        (
            tuple(sample for sample, number in zip(samples, numbers, strict=True) if number != fold),
            tuple(sample for sample, number in zip(samples, numbers, strict=True) if number == fold),
        )
        for fold in range(count)
    ]


def fold_numbers(samples: Sequence[Sample], count: int, seed: int) -> list[int]:
    """For each sample the fold, 0 to `count` - 1, that holds it back."""
    own = [strata(sample) for sample in samples]
    total: Counter[int] = Counter(stratum for each in own for stratum in each)
    held: list[Counter[int]] = [Counter() for _ in range(count)]
    sizes, numbers = [0] * count, [0] * len(samples)
    for unit in sorted(shuffled_units(samples, seed), key=len, reverse=True):
        gain = Counter(stratum for i in unit for stratum in own[i])
        # by how much the squared counts of a fold would grow, each class as its own share
        growth = [sum(n * (2 * held[f][s] + n) / total[s] for s, n in gain.items()) for f in range(count)]
        fold = min(range(count), key=lambda f: (growth[f], sizes[f]))
        held[fold].update(gain)
        sizes[fold] += len(unit)
        for i in unit:
            numbers[i] = fold
    return numbers


def pooled(dataset: Dataset) -> tuple[Sample, ...]:
    """What folds are made of: every sample but those of the test split."""
    return tuple(sample for split, samples in dataset.splits.items() if split != HELD for sample in samples)


def require_folds(dataset: Dataset, count: int) -> None:
    """Raise DataError where a class has too few images that do not belong together for each fold to hold one back."""
    samples = pooled(dataset)
    labelled = all(sample.label is not None for sample in samples)
    units: Counter[int] = Counter()
    for unit in shuffled_units(samples, 0):
        units.update({label for i in unit for label in strata(samples[i])} if labelled else {-1})
    few = [(n, label) for label, n in units.items() if n < count]
    if not samples or few:
        least, label = min(few, default=(0, -1))
        what = f" of the class {dataset.classes[label]!r}" if label >= 0 else ""
        raise DataError(
            f"{dataset.root} has too few images{what} for {count} folds",
            expected=f"at least {count} that do not belong together",
            received=least,
            fix="Ask for fewer folds (--folds)" if least > 1 else None,
        )


def fold_datasets(dataset: Dataset, count: int, seed: int) -> list[Dataset]:
    """A data set for each fold: what it holds back is "test", and "validation" is drawn from the rest as for any training.

    The data set's own test split is in none of them. Raises DataError where it has too few images.
    """
    require_folds(dataset, count)
    made = []
    for number, (rest, held) in enumerate(folds(pooled(dataset), count, seed)):
        train, validation = stratified_split(rest, VALIDATION_SHARE, seed + number)
        if not validation:
            raise DataError(f"{dataset.root} has too few images to hold any back for validation in {count} folds")
        splits = {"train": train, "validation": validation, "test": held}
        made.append(replace(dataset, splits=splits, given=()))
    return made


def search_folds(dataset: Dataset, count: int, seed: int) -> list[Dataset]:
    """As `fold_datasets`, for a search that has test images elsewhere: what a fold holds back is its "validation"."""
    require_folds(dataset, count)
    return [
        replace(dataset, splits={"train": rest, "validation": held}, given=())
        for rest, held in folds(pooled(dataset), count, seed)
    ]

"""Checks of a data set before it is trusted. Each is a function that yields problems; `check` runs them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import DataError, choose
from ..structures import Boxes, Dataset, Mask, Problem, Sample
from .census import Facts
from .duplicates import exact_copies, near_copies
from .findings import KINDS, Check, Finding, gathered

FEW = 10  # images of a class
IMBALANCE = 5  # times as many images in the largest class
TINY, HUGE, ODD = 32, 50_000_000, 4  # pixels of a side, pixels of an image, times as long as wide
TINY_BOX = 3  # pixels of a side
EDGE = 1.0  # pixels by which a box may reach over the edge: tools round


def check(dataset: Dataset, facts: Sequence[Facts]) -> Check:
    """What is wrong with a data set; `facts` are those of `dataset.samples`, from `census`."""
    places = list(zip(_split_names(dataset), dataset.samples, facts, strict=True))
    problems = [*dataset.problems]
    for each in places:
        problems += _of_sample(dataset, *each)
    problems += [*_of_copies(dataset, places), *_of_groups(dataset, places), *_of_classes(dataset)]
    return Check(dataset, gathered(problems))


Place = tuple[str, Sample, Facts]


def _split_names(dataset: Dataset) -> list[str]:
    return [split for split, samples in dataset.splits.items() for _ in samples]


def _of_sample(dataset: Dataset, split: str, sample: Sample, facts: Facts) -> Iterator[Problem]:
    if facts.size is None:
        yield Problem(sample.path, facts.problem or "cannot be read")
        return
    yield from _of_size(sample, facts.size)
    if sample.boxes is not None:
        for _, problem in box_problems(sample, facts.size):
            yield problem
    if sample.mask is not None:
        yield from _of_mask(sample.mask, facts.size, facts)


def _of_size(sample: Sample, size: tuple[int, int]) -> Iterator[Problem]:
    height, width = size
    if min(size) < TINY:
        yield Problem(sample.path, f"is {width}x{height} pixels", "tiny-image")
    if height * width > HUGE:
        yield Problem(sample.path, f"is {width}x{height} pixels", "huge-image")
    if max(size) > ODD * min(size):
        yield Problem(sample.path, f"is {width}x{height} pixels", "odd-proportions")
    if sample.size is not None and sample.size != size:
        stated = f"{sample.size[1]}x{sample.size[0]}"
        yield Problem(sample.path, f"is {width}x{height} pixels, its label says {stated}", "size-differs")


def box_problems(sample: Sample, size: tuple[int, int]) -> Iterator[tuple[int, Problem]]:
    """(number of the box, what is wrong with it) for the boxes of an image of `size` (height, width)."""
    boxes = sample.boxes or Boxes()
    seen: set[tuple[float, ...]] = set()
    for number, (box, label) in enumerate(zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True)):
        for kind in _kinds_of_box(box, label, size):
            corners = ", ".join(f"{value:g}" for value in box)
            yield number, Problem(sample.path, f"box {number + 1} ({corners})", kind)
        if boxes.crowd[number]:  # it may lie on whatever is in it
            continue
        if (*box, label) in seen:
            yield number, Problem(sample.path, f"box {number + 1} is there twice", "box-twice")
        seen.add((*box, label))


def _kinds_of_box(box: list[float], label: int, size: tuple[int, int]) -> Iterator[str]:
    height, width = size
    left, top, right, bottom = box
    if label < 0:
        yield "class-unknown"
    if not np.isfinite(box).all():
        yield "box-not-a-number"
    elif right < left or bottom < top:
        yield "box-inverted"
    elif right == left or bottom == top:
        yield "box-empty"
    elif right <= 0 or bottom <= 0 or left >= width or top >= height:
        yield "box-outside"
    elif min(left, top) < -EDGE or right > width + EDGE or bottom > height + EDGE:
        yield "box-over-edge"
    elif min(right - left, bottom - top) <= TINY_BOX:
        yield "tiny-box"


def _of_mask(mask: Mask, size: tuple[int, int], facts: Facts) -> Iterator[Problem]:
    if facts.mask_size is None:
        yield Problem(mask.path, facts.mask_problem or "cannot be read", "mask-unreadable")
        return
    if facts.mask_size != size:
        sizes = [f"{width}x{height}" for height, width in (facts.mask_size, size)]
        yield Problem(mask.path, f"is {sizes[0]} pixels, its image {sizes[1]}", "mask-size")
    if facts.mask_unknown:
        yield Problem(mask.path, f"has the values {_values(mask, facts.mask_unknown)}", "mask-values")


def _values(mask: Mask, values: tuple[int, ...]) -> str:
    color = mask.coding.kind == "color"
    words = [f"{v >> 16},{v >> 8 & 255},{v & 255}" if color else str(v) for v in values[:5]]
    return "; ".join(words) + (" ..." if len(values) > 5 else "")


def _of_copies(dataset: Dataset, places: Sequence[Place]) -> Iterator[Problem]:
    facts = [each for _, _, each in places]
    exact = [(group[0], other) for group in exact_copies(facts) for other in group[1:]]
    near = [pair for pair in near_copies(facts) if facts[pair[0]].digest != facts[pair[1]].digest]
    for pairs, name in ((exact, "copies"), (_one_each(near, places), "likeness")):
        for i, j in pairs:
            (first, one, _), (second, other, _) = places[i], places[j]
            shown = f"looks like {_short(dataset, one.path)}"
            if first != second:
                yield Problem(other.path, f"{shown} ({first}; this is {second})", f"{name}-across-splits")
            else:
                yield Problem(other.path, shown, name)
            if (
                dataset.task == "classify"
                and one.label is not None
                and other.label is not None
                and one.label != other.label
            ):
                classes = f"{dataset.classes[one.label]}, here {dataset.classes[other.label]}"
                yield Problem(other.path, f"{shown}: there {classes}", "conflicting-labels")


def _one_each(pairs: Iterable[tuple[int, int]], places: Sequence[Place]) -> list[tuple[int, int]]:
    """For each second picture one pair, of two splits where there is one: a film of n frames is n findings and not n * n."""
    chosen: dict[int, int] = {}
    for i, j in pairs:
        if j not in chosen or (places[chosen[j]][0] == places[j][0] != places[i][0]):
            chosen[j] = i
    return [(i, j) for j, i in chosen.items()]


def _of_groups(dataset: Dataset, places: Sequence[Place]) -> Iterator[Problem]:
    by_group: dict[str, dict[str, Path]] = defaultdict(dict)
    for split, sample, _ in places:
        if sample.group is not None:
            by_group[sample.group].setdefault(split, sample.path)
    for group, splits in by_group.items():
        if len(splits) > 1:
            first, *others = splits
            also = ", ".join(f"{split} ({_short(dataset, splits[split])})" for split in others)
            yield Problem(
                splits[first], f"is of the group {group!r}, which is in {first} and {also}", "group-across-splits"
            )


def _of_classes(dataset: Dataset) -> Iterator[Problem]:
    if dataset.task == "segment" or len(dataset.classes) < 2:
        return
    training = "train" if "train" in dataset.splits else "all"
    counts = dict(zip(dataset.classes, dataset.counts(training), strict=True))
    most = max(counts, key=lambda name: counts[name])
    things = "images" if dataset.task == "classify" else "boxes"
    for name, count in counts.items():
        if count < FEW:
            yield Problem(dataset.root, f"{name} has {count} {things}", "few")
        elif count * IMBALANCE < counts[most]:
            yield Problem(dataset.root, f"{name} has {count} {things}, {most} {counts[most]}", "imbalance")
    for split, samples in dataset.splits.items():
        for name, count in zip(dataset.classes, dataset.counts(split), strict=True):
            if not count and samples and split != training:
                yield Problem(dataset.root, f"{split} has no {name}", "class-absent")


def _short(dataset: Dataset, path: Path) -> Path:
    return path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else path


def stop_on_errors(checked: Check, allow: Sequence[str]) -> None:
    """Raise DataError for the errors whose kind is not allowed. Raises ArgumentError for a kind that does not exist."""
    for kind in allow:
        choose("kind of finding", kind, KINDS)
    stopping = [finding for finding in checked.errors if finding.kind not in allow]
    if not stopping:
        return
    told = "; ".join(_sentence(finding) for finding in stopping)
    ways = " ".join(f"--allow {finding.kind}" for finding in stopping)
    raise DataError(
        f"{checked.dataset.root} has errors: {told}",
        fix=f"{KINDS[stopping[0].kind].fix}. `sightline check` lists all; {ways} goes on"
        + (f" without {_left_out(stopping)}" if _left_out(stopping) else ""),
    )


def _sentence(finding: Finding) -> str:
    more = f" and {finding.count - 1} more" if finding.count > 1 else ""
    return f"{finding.kind} ({KINDS[finding.kind].meaning}): {finding.problems[0]}{more}"


def _left_out(findings: Iterable[Finding]) -> str:
    return " and ".join(dict.fromkeys(KINDS[f.kind].left_out for f in findings if KINDS[f.kind].left_out))


def usable(dataset: Dataset, facts: Sequence[Facts]) -> Dataset:
    """The data set without what a training cannot use: images that cannot be read, masks that do not fit, impossible boxes.

    Boxes are cut at the edge of their image, and every sample knows its size. What is left out is in the check's findings.
    """
    kept = iter([_usable(sample, each, dataset.task) for sample, each in zip(dataset.samples, facts, strict=True)])
    splits = {
        split: tuple(sample for sample in islice(kept, len(own)) if sample is not None)
        for split, own in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


_NO_BOX = {kind for kind in KINDS if KINDS[kind].left_out in ("the box", "the second one")}


def _usable(sample: Sample, facts: Facts, task: str) -> Sample | None:
    if facts.size is None or (sample.mask is not None and facts.mask_size != facts.size):
        return None
    sample = replace(sample, size=facts.size)
    if sample.boxes is None:
        return sample
    boxes = usable_boxes(sample, facts.size)
    return None if task == "localize" and not len(boxes) else replace(sample, boxes=boxes)


def usable_boxes(sample: Sample, size: tuple[int, int]) -> Boxes:
    """The boxes of an image of `size` (height, width) that are possible, cut at its edge."""
    boxes = sample.boxes or Boxes()
    wrong = {number for number, problem in box_problems(sample, size) if problem.kind in _NO_BOX}
    good = boxes[[number for number in range(len(boxes)) if number not in wrong]]
    return good.moved(np.clip(good.xyxy, 0, [size[1], size[0]] * 2))

"""From matched detections to average precision and recall, of the images as they are or each taken several times."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .matching import IGNORED, RIGHT, UNMATCHED, Matches, Table

RECALLS = np.linspace(0, 1, 101)  # where COCO reads the precision


def average_precision(table: Table, matches: Matches, times: np.ndarray) -> np.ndarray:
    """COCO's average precision (S, classes, A, T) where image i is there times[s, i] times; NaN for a class without objects.

    The mean, over 101 recalls, of the best precision at that recall or more. Detections of equal score keep their images' order.
    """
    samples = len(times)
    result = np.full((samples, table.classes, *matches.outcome.shape[:2]), np.nan)
    for label, (objects, found, candidates) in enumerate(_classes(table, matches)):
        positives = times[:, table.objects.image[objects]] @ matches.counted[:, objects].T
        if not positives.any():
            continue
        result[:, label] = _of_class(
            times[:, table.found.image[found]],
            matches.inside[:, found],
            matches.candidates[candidates] - found.start,
            matches.outcome[..., candidates],
            positives,
        )
    return result


def average_recall(table: Table, matches: Matches, times: np.ndarray, most: int) -> np.ndarray:
    """The recall (S, classes, A, T) of the `most` surest detections of each image and class; otherwise as `average_precision`."""
    result = np.full((len(times), table.classes, *matches.outcome.shape[:2]), np.nan)
    for label, (objects, _, candidates) in enumerate(_classes(table, matches)):
        positives = times[:, table.objects.image[objects]] @ matches.counted[:, objects].T
        chosen = matches.candidates[candidates]
        weights = times[:, table.found.image[chosen]] * (table.found.rank[chosen] < most)
        right = np.tensordot(weights, matches.outcome[..., candidates] == RIGHT, (1, 2))
        result[:, label] = _divided(right, positives[:, :, None])
    return result


def _classes(table: Table, matches: Matches) -> Iterator[tuple[slice, slice, slice]]:
    """The objects, detections and candidates of each class, which lie together."""
    numbers = np.arange(table.classes + 1)
    objects = np.searchsorted(table.objects.label, numbers)
    found = np.searchsorted(table.found.label, numbers)
    candidates = np.searchsorted(matches.candidates, found)
    for label in range(table.classes):
        yield tuple(slice(ends[label], ends[label + 1]) for ends in (objects, found, candidates))  # type: ignore[misc]


def _of_class(
    times: np.ndarray, inside: np.ndarray, candidates: np.ndarray, outcome: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """(S, A, T) of one class: `times` (S, detections), `inside` (A, detections), `outcome` (A, T, C), `positives` (S, A).

    Only candidates can be right, and the precision is best where one is, so it is looked at there alone.
    """
    reached = np.cumsum(times[:, None] * inside, -1)[..., candidates]  # as if what is inside counted, whatever it took
    right = outcome == RIGHT
    moved = (right | ((outcome == UNMATCHED) & inside[:, None, candidates])) ^ inside[:, None, candidates]
    moved = np.where(right, moved, -moved.astype(np.int8))
    weights = times[:, None, None, candidates]
    hits = np.cumsum(weights * right, -1)
    counted = reached[:, :, None] + np.cumsum(weights * moved, -1)
    precision = hits / np.maximum(counted, 1)
    best = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]
    best = np.concatenate([best, np.zeros((*best.shape[:-1], 1))], -1)  # beyond the last hit
    first = _first_at(hits, _needed(positives)[:, :, None])
    result = np.take_along_axis(best, first, -1).mean(-1)
    return np.where(positives[:, :, None] > 0, result, np.nan)


def _needed(positives: np.ndarray) -> np.ndarray:
    """The fewest hits (..., 101) whose share of `positives` (...), divided in float64, is at least each recall."""
    of = np.maximum(positives, 1)[..., None]
    hits = np.ceil(RECALLS * of)
    hits -= (hits - 1) / of >= RECALLS
    hits += hits / of < RECALLS
    return hits.astype(np.int64)


def _first_at(rising: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Where rising (..., C) first reaches needed (..., N); C where it does not. One search: each row stands above those before it."""
    *lead, many = rising.shape
    rows = int(np.prod(lead))
    wanted = np.broadcast_to(needed, (*lead, needed.shape[-1])).reshape(rows, -1)
    step = max(rising.max(initial=0), wanted.max(initial=0)) + 1
    above = np.arange(rows)[:, None] * step
    at = np.searchsorted((rising.reshape(rows, many) + above).ravel(), wanted + above)
    return (at - np.arange(rows)[:, None] * many).reshape(*lead, -1)


def _divided(one: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(one, by, out=np.full(np.broadcast_shapes(one.shape, by.shape), np.nan), where=by > 0)


def points(score: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(right ones, counted ones, score) at each score that counts, falling: a threshold takes all detections of a score or none."""
    order = np.argsort(-score, kind="stable")
    order = order[state[order] != IGNORED]
    score, right = score[order], np.cumsum(state[order] == RIGHT)
    last = np.flatnonzero(np.diff(score, append=-1.0))
    return right[last], last + 1, score[last]


def states(table: Table, matches: Matches) -> np.ndarray:
    """What each detection of the table is, of matches of one range and threshold."""
    state = np.where(matches.inside[0], UNMATCHED, IGNORED)
    outcome = matches.outcome[0, 0]
    state[matches.candidates] = np.where(outcome == UNMATCHED, state[matches.candidates], outcome)
    return state

"""Measures of a classifier in which each class weighs the same, from its confusion: true classes by row, those said by column."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .intervals import Interval, effective_interval

# From how many of each class (..., classes) are right, true and said: a number for each row
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
AT_ONCE = 2**20  # numbers held at a time


def macro_f1(confusion: np.ndarray) -> float:
    """The mean F1 of the classes that are there or were said."""
    return float(_macro_f1(*_sums(confusion)))


def balanced_accuracy(confusion: np.ndarray) -> float:
    """The mean recall of the classes that are there."""
    return float(_balanced_accuracy(*_sums(confusion)))


def macro_f1_interval(confusion: np.ndarray) -> Interval:
    """The 95 % interval of `macro_f1`."""
    return _interval(confusion, _macro_f1)


def balanced_accuracy_interval(confusion: np.ndarray) -> Interval:
    """The 95 % interval of `balanced_accuracy`."""
    return _interval(confusion, _balanced_accuracy)


def _macro_f1(right: np.ndarray, true: np.ndarray, said: np.ndarray) -> np.ndarray:
    return _mean_ratio(2 * right, true + said)


def _balanced_accuracy(right: np.ndarray, true: np.ndarray, said: np.ndarray) -> np.ndarray:
    return _mean_ratio(right, true)


def _sums(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many of each class are right, true and said."""
    return confusion.diagonal(), confusion.sum(1), confusion.sum(0)


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The mean of part / whole over the last axis, where there is a whole; 0 where there is none."""
    there = whole > 0
    return np.where(there, part / np.maximum(whole, 1), 0.0).sum(-1) / np.maximum(there.sum(-1), 1)


def _interval(confusion: np.ndarray, measure: Measure) -> Interval:
    """The error is the jackknife's (Efron, 1982): images in one place of the confusion give the same when they are left out."""
    n = int(confusion.sum())
    rows, columns = np.nonzero(confusion)
    times, sums, step = confusion[rows, columns], _sums(confusion), max(1, AT_ONCE // len(confusion))
    parts = [_without(sums, rows[i : i + step], columns[i : i + step], measure) for i in range(0, len(rows), step)]
    without = np.concatenate(parts) if parts else np.zeros(0)
    apart = without - (times @ without) / max(n, 1)
    error = math.sqrt((n - 1) / n * float(times @ apart**2)) if n > 1 else 0.0
    return effective_interval(float(measure(*sums)), error, n, most=n)


def _without(
    sums: tuple[np.ndarray, np.ndarray, np.ndarray], rows: np.ndarray, columns: np.ndarray, measure: Measure
) -> np.ndarray:
    """The measure (cells,) without one image of each of these cells of the confusion."""
    right, true, said = sums
    classes = np.arange(len(right))
    row, column = rows[:, None] == classes, columns[:, None] == classes
    return measure(right - (row & column), true - row, said - column)

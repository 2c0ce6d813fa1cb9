"""Boundaries of the classes in class maps, and how many of their pixels two maps share up to a distance."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree


def boundary(classes: np.ndarray) -> np.ndarray:
    """(height, width) bool: pixels that have one of another class above, below, left or right of them (4-connected, inside)."""
    edge = np.zeros(classes.shape, bool)
    down, right = classes[1:] != classes[:-1], classes[:, 1:] != classes[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def boundary_counts(true: np.ndarray, said: np.ndarray, classes: int, distance: float) -> np.ndarray:
    """(4, classes): boundary pixels of `true`, those with one of `said` of their class at most `distance` pixels off, and the reverse.

    The maps are (height, width) of numbers below `classes`; others are no class, though a boundary runs along them.
    """
    one, other = _points(true, classes), _points(said, classes)
    pairs = (one, _near(one, other, distance)), (other, _near(other, one, distance))
    return np.stack([np.bincount(each[:, 2], minlength=classes) for all_, near in pairs for each in (all_, all_[near])])


def _points(map_: np.ndarray, classes: int) -> np.ndarray:
    """(n, 3) rows, columns and classes of boundary pixels."""
    rows, columns = np.nonzero(boundary(map_) & (map_ < classes))
    return np.column_stack([rows, columns, map_[rows, columns]])


def _near(points: np.ndarray, others: np.ndarray, distance: float) -> np.ndarray:
    if not len(points) or not len(others):
        return np.zeros(len(points), bool)
    limit = np.sqrt(np.floor(distance**2) + 0.5)  # squares are whole numbers: no rounding decides
    apart = np.array([1, 1, 2 * limit + 1])  # classes are farther from each other than any pixel may be
    return np.isfinite(KDTree(others * apart).query(points * apart, distance_upper_bound=limit)[0])

"""Which images are the same picture: copies to the byte, and nearly (saved again, resized, a little brighter).

Nearly means: the thumbnails' grays correlate by at least `ALIKE`, and so do the proportions. A flat picture (a deviation
below `FLAT`) looks like any other flat one from afar, so only copies to the byte count there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .census import Facts

ALIKE = 0.99
FLAT = 4.0  # gray levels, 0..255
PROPORTIONS = 0.05  # by which width / height may differ, relatively
BLOCK = 2048  # thumbnails compared at once


def exact_copies(facts: Sequence[Facts]) -> list[list[int]]:
    """The groups of two or more files with the same bytes, each in order."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, each in enumerate(facts):
        if each.digest is not None:
            groups[each.digest].append(i)
    return [group for group in groups.values() if len(group) > 1]


def near_copies(facts: Sequence[Facts]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that are nearly the same, copies to the byte among them where they are not flat.

    Every pair is compared: n thumbnails cost n * n * 256 multiplications (half a minute for 100,000 on two cores).
    """
    seen = [i for i, each in enumerate(facts) if each.thumbnail is not None]
    if not seen:
        return []
    grays = np.array([facts[i].thumbnail for i in seen], np.float32).reshape(len(seen), -1)
    sizes = np.array([facts[i].size for i in seen], float)
    proportions = np.log(sizes[:, 1] / sizes[:, 0])
    grays -= grays.mean(1, keepdims=True)
    norms = np.linalg.norm(grays, axis=1)
    lively = norms > FLAT * np.sqrt(grays.shape[1])
    numbers, grays, proportions = np.array(seen)[lively], grays[lively] / norms[lively, None], proportions[lively]
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(grays), BLOCK):
        rows, columns = np.nonzero(grays[start : start + BLOCK] @ grays[start:].T >= ALIKE)
        later = (rows < columns) & (np.abs(proportions[start + rows] - proportions[start + columns]) < PROPORTIONS)
        pairs += zip(numbers[start + rows[later]].tolist(), numbers[start + columns[later]].tolist(), strict=True)
    return pairs


def clusters(count: int, groups: Sequence[Sequence[int]]) -> list[int]:
    """For each of `count` things the number of its cluster, where `groups` name things that belong together."""
    pairs = [(group[0], other) for group in groups for other in group[1:]]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()

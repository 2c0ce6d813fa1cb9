"""Average precision as the PASCAL VOC challenges measure it (Everingham et al. 2010 and 2015, and their development kit)."""

from __future__ import annotations

import numpy as np

from .matching import IGNORED, RIGHT, UNMATCHED, Table, overlapping


def voc_states(table: Table, iou: float) -> np.ndarray:
    """What each detection (n,) of the table is by VOC's rule, which has no limit on their number.

    A detection belongs to the object that it overlaps most (of equals the first), and is false where that is less than
    `iou` or a surer one has the object; it never takes the second best. One that belongs to an ignored object is neither
    right nor false, nor is one that belongs to none and lies in a crowd, which VOC does not know.
    """
    found, objects, overlap = overlapping(table, iou)
    crowd = table.objects.crowd[objects]
    state = np.full(len(table.found.score), UNMATCHED)
    state[found[crowd]] = IGNORED
    found, objects, overlap = found[~crowd], objects[~crowd], overlap[~crowd]
    order = np.lexsort((objects, -overlap, found))
    found, best = np.unique(found[order], return_index=True)
    objects = objects[order][best]
    state[found] = np.where(table.objects.ignored[objects], IGNORED, UNMATCHED)
    _, first = np.unique(objects, return_index=True)  # detections lie by score, the surest first
    first = first[~table.objects.ignored[objects[first]]]
    state[found[first]] = RIGHT
    return state


def voc_average_precision(state: np.ndarray, positives: int, points: str | int) -> float:
    """Of one class: `state` (n,) of its detections, the surest first; NaN without objects.

    "all": the area under the curve whose precision is the best at that recall or more (VOC 2010 on); 11: the mean of that
    precision at the recalls 0, 0.1, ..., 1 (VOC 2007).
    """
    if not positives:
        return float("nan")
    right = state[state != IGNORED] == RIGHT
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if points == "all":
        return float(best[:-1][right].sum() / positives)
    needed = -(-np.arange(11) * positives // 10)  # rounded up, in whole numbers
    return float(best[np.searchsorted(hits, needed)].mean())

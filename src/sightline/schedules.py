"""Learning rates as functions of the epoch, for `callbacks.LearningRateScheduler`."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(learning_rate: float, epochs: int) -> Callable[[int], float]:
    """From `learning_rate` in epoch 0 along half a cosine towards 0 after the last (Loshchilov & Hutter, 2017, eq. 5).

    >>> [round(cosine(1.0, 4)(epoch), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    return lambda epoch: learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

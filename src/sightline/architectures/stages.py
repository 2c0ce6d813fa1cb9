"""Where a backbone's feature maps of each size are: what heads on several maps begin with."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.cuts import last_maps
from ..graph.symbolic import Value
from ..models import Model


def stages_of(backbone: Model, strides: Sequence[int]) -> list[Value | None]:
    """The feature map at each of the strides, None where there is none: by the stages' names, or the last map of that size through which
    all that follows goes."""
    _, height, width, _ = backbone.input_shape
    last = last_maps(backbone)
    found = []
    for stride in strides:
        smaller, larger = (height // stride, width // stride), (-(-height // stride), -(-width // stride))
        name = f"stride_{stride}"
        name = name if name in backbone.values else last.get(smaller, last.get(larger, ""))
        found.append(backbone.values.get(name))
    return found

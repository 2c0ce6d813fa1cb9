"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from .faster import in_place, pool_before_activation
from .folding import FOLDABLE, fold_batchnorm
from .networks import (
    GLOBAL,
    cut_points,
    ends_in_softmax,
    on_input,
    output_nodes,
    remove_head,
    split_at,
    with_dropout,
)
from .recomputing import recompute

__all__ = [
    "FOLDABLE",
    "GLOBAL",
    "cut_points",
    "ends_in_softmax",
    "fold_batchnorm",
    "in_place",
    "on_input",
    "output_nodes",
    "pool_before_activation",
    "recompute",
    "remove_head",
    "split_at",
    "with_dropout",
]

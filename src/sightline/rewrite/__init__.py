"""Graph -> graph: networks made from networks. Each rewrite shares the weights of what it was made from."""

from ..graph.cuts import cut_points, last_maps, output_nodes
from .dilating import dilate
from .faster import in_place, pool_before_activation
from .folding import FOLDABLE, fold_batchnorm
from .fully_convolutional import to_fully_convolutional
from .networks import GLOBAL, ends_in_softmax, on_input, remove_head, split_around, split_at, with_dropout
from .recomputing import recompute
from .score_map import ScoreMap, score_map
from .temperature import TEMPERATURE, before_softmax, with_temperature

__all__ = [
    "FOLDABLE",
    "GLOBAL",
    "TEMPERATURE",
    "ScoreMap",
    "before_softmax",
    "cut_points",
    "dilate",
    "ends_in_softmax",
    "fold_batchnorm",
    "in_place",
    "last_maps",
    "on_input",
    "output_nodes",
    "pool_before_activation",
    "recompute",
    "remove_head",
    "score_map",
    "split_around",
    "split_at",
    "to_fully_convolutional",
    "with_dropout",
    "with_temperature",
]

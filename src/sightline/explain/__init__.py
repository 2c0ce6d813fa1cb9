"""What a network learned, and why it answers as it does: pictures of its filters, its feature maps and its reasons.

All are functions of the graph: they find layers by the names of nodes, those of nested networks as "backbone/conv1".
"""

from .class_activation import cam, grad_cam
from .filters import Patches, exciting_patches, filters
from .heatmap import Heatmap
from .maps import feature_maps
from .maximization import activation_maximization
from .neighbours import Nearest, features, nearest
from .occlusion import occlusion
from .targets import of_class, of_detection, of_region

__all__ = [
    "Heatmap",
    "Nearest",
    "Patches",
    "activation_maximization",
    "cam",
    "exciting_patches",
    "feature_maps",
    "features",
    "filters",
    "grad_cam",
    "nearest",
    "occlusion",
    "of_class",
    "of_detection",
    "of_region",
]

"""Metrics by Keras's names: pure functions of a batch that return a value for each sample, and their running means; and the quality of detections."""

from __future__ import annotations

import inspect
from typing import Any

from ..configurable import from_name
from ..errors import ArgumentError
from ..graph.build import snake_case
from ..keras_only import missing, own
from .base import (
    FunctionMetric,
    Mean,
    Metric,
    SampleMean,
)
from .binned import (
    BinnedAP50,
)
from .boxes import (
    BoxHits,
    BoxIoU,
)
from .by_class import (
    balanced_accuracy,
    macro_f1,
)
from .confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from .curves import (
    AUC,
)
from .detection import (
    DetectionQuality,
    detection_quality,
)
from .errors import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)
from .intervals import (
    wilson_interval,
)
from .overlap import (
    BinaryIoU,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
)
from .pixels import (
    SegmentationQuality,
)
from .shares import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    PixelAccuracy,
    ShapedAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)

__all__ = [
    "AUC",
    "METRICS",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "BinnedAP50",
    "BoxHits",
    "BoxIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "DetectionQuality",
    "FalseNegatives",
    "FalsePositives",
    "FunctionMetric",
    "IoU",
    "Mean",
    "MeanAbsoluteError",
    "MeanIoU",
    "MeanSquaredError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PixelAccuracy",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SampleMean",
    "SegmentationQuality",
    "ShapedAccuracy",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "balanced_accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "detection_quality",
    "get",
    "macro_f1",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
    "wilson_interval",
]

_CLASSES: tuple[type[Metric], ...] = (
    AUC,
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    BinaryIoU,
    BinnedAP50,
    BoxHits,
    BoxIoU,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    FalseNegatives,
    FalsePositives,
    IoU,
    MeanAbsoluteError,
    MeanIoU,
    MeanSquaredError,
    OneHotIoU,
    OneHotMeanIoU,
    PixelAccuracy,
    Precision,
    Recall,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    TrueNegatives,
    TruePositives,
)
METRICS: dict[str, type[Metric]] = {
    **{kind.__name__: kind for kind in _CLASSES},
    **{snake_case(kind.__name__): kind for kind in _CLASSES},
    **dict.fromkeys(("bce", "BCE"), BinaryCrossentropy),
    **dict.fromkeys(("mae", "MAE"), MeanAbsoluteError),
    **dict.fromkeys(("mse", "MSE"), MeanSquaredError),
    **dict.fromkeys(("accuracy", "acc"), ShapedAccuracy),  # as Keras's compile means them
}


def get(metric: Any) -> Metric:
    """A metric from its name, class, instance, or a function of (y_true, y_pred).

    One that is given by name has that name in the history, as in Keras ("acc", "mse").
    """
    if callable(metric) and not isinstance(metric, (Metric, type)):
        return FunctionMetric(metric)
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        return ShapedAccuracy(metric)
    kind = METRICS.get(metric, metric) if isinstance(metric, str) else metric
    if isinstance(kind, type) and issubclass(kind, Metric) and (needed := _needed_arguments(kind)):
        raise ArgumentError(
            f"The metric {kind.__name__} needs {' and '.join(needed)}",
            fix=f"Give metrics.{kind.__name__}({', '.join(f'{name}=...' for name in needed)})",
        )
    told = {name: kind for name, kind in METRICS.items() if name.islower()}  # the others differ by case alone
    made = from_name("metric", kind, told, Metric)
    if isinstance(metric, str):
        made.name = metric
    return made


def _needed_arguments(kind: type[Metric]) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]


def __getattr__(name: str) -> Any:
    raise missing("metrics", name, own(globals()))

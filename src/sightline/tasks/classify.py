"""Classification: one class for each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..losses import CategoricalCrossentropy, Loss
from ..metrics import (
    CategoricalAccuracy,
    Metric,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    wilson_interval,
)
from ..plots import draw_confusion
from ..structures import Prediction
from .base import Headline, Measures, Task


class Classify(Task):
    """Targets are class numbers, or shares of the classes; the head is a softmax over the classes."""

    name = "classify"
    best = "val_accuracy"

    def loss(self, shares: bool, label_smoothing: float = 0.0) -> str | Loss:
        if shares:
            return CategoricalCrossentropy(label_smoothing=label_smoothing)
        return "sparse_categorical_crossentropy"

    def metrics(self, classes: int, shares: bool) -> list[Metric]:
        k = top_k(classes)
        accuracy, top = (
            (CategoricalAccuracy, TopKCategoricalAccuracy)
            if shares
            else (SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy)
        )
        return [accuracy(name="accuracy")] + ([top(k, name=f"top_{k}_accuracy")] if k else [])

    def measure(self, split: str, answers: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Measures:
        n = len(targets)
        truth, said = torch.from_numpy(targets), torch.from_numpy(answers)
        right = {"accuracy": sparse_categorical_accuracy(truth, said)}
        if k := top_k(len(classes)):
            right[f"top-{k} accuracy"] = sparse_top_k_categorical_accuracy(truth, said, k)
        shares = {name: float(values.double().mean()) for name, values in right.items()}
        headlines = [Headline(name, share, wilson_interval(share, n)) for name, share in shares.items()]
        confusion = np.zeros((len(classes), len(classes)), int)
        np.add.at(confusion, (targets, answers.argmax(1)), 1)
        return Measures(
            split, n, tuple(headlines), {"confusion": confusion.tolist(), "classes": per_class(confusion, classes)}
        )

    def prediction(self, path: Path, answer: np.ndarray, classes: Sequence[str]) -> Prediction:
        return Prediction(path, tuple(classes), tuple(float(p) for p in answer))

    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        draw_confusion(np.array(measures.details["confusion"]), classes, path)


def top_k(classes: int) -> int | None:
    """The k of the second headline: 5 from 50 classes on, 2 below, none for two classes."""
    return 5 if classes >= 50 else 2 if classes > 2 else None


def per_class(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, object]]:
    """Images, precision, recall and F1 of each class; rows of `confusion` are true classes. None where undefined."""

    def ratio(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    rows: list[dict[str, object]] = []
    for i, name in enumerate(classes):
        right, true, said = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        f1 = ratio(2 * right, true + said)
        rows.append(
            {"class": name, "images": true, "precision": ratio(right, said), "recall": ratio(right, true), "f1": f1}
        )
    return rows

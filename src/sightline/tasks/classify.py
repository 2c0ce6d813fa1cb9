"""Classification: one class for each image."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.augment import Example
from ..errors import ArgumentError, ShapeError
from ..graph.network import Network
from ..losses import CategoricalCrossentropy
from ..metrics import (
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    balanced_accuracy,
    macro_f1,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    wilson_interval,
)
from ..metrics.by_class import balanced_accuracy_interval, macro_f1_interval
from ..metrics.intervals import mcnemar, paired_share_interval
from ..models import Model
from ..plots import draw_calibration, draw_confusion
from ..rewrite import TEMPERATURE, ends_in_softmax
from ..structures import ImageSpec, Prediction, Sample
from .base import Difference, Goals, Headline, Measures, Size, Source, Targets, Task
from .calibration import calibration_of, in_sentences
from .cases import EACH, Case, file_of, quoted


class Classify(Task):
    """Targets are class numbers, or shares of the classes; the head is a softmax over the classes."""

    name = "classify"
    does = "tells {} classes apart"
    question = "Which classes does it mix up?"
    picture = "Confusion matrix: true classes by row, predicted classes by column"
    best = "val_accuracy"
    takes_labels = True
    meanings = {  # noqa: RUF012
        "accuracy": "the share of images whose class it says rightly",
        "top-2 accuracy": "the share of images whose right class is among the two that it finds most probable",
        "top-5 accuracy": "the share of images whose right class is among the five that it finds most probable",
        "macro F1": "how well each class is both found and not confused with others, averaged so that rare classes count as much as common ones",
        "balanced accuracy": "the share of right answers within each class, averaged so that rare classes count as much as common ones",
        "precision": "of the images that it calls so, the share that really are",
        "recall": "of the images that really are, the share that it calls so",
        "f1": "one number for both (their harmonic mean): low where either is low",
    }
    _temperature: float | None = None

    def for_network(self, metadata: Mapping[str, Any]) -> Classify:
        other = copy.copy(self)
        other._temperature = metadata.get(TEMPERATURE)
        return other

    def network(self, source: Source, spec: ImageSpec, classes: Sequence[str]) -> Model:
        network = source.make(spec.shape, len(classes))
        if network.output_shape != (None, len(classes)):
            raise ShapeError(
                f"The output of {source.name} does not fit the {len(classes)} classes",
                expected=(None, len(classes)),
                received=network.output_shape,
            )
        if not ends_in_softmax(network):
            raise ArgumentError(
                f"{source.name} does not end in a softmax, so its answers are no probabilities",
                fix="Give the last layer activation='softmax'",
            )
        return network

    def targets(self, classes: int, shares: bool) -> Targets:
        return partial(class_shares, classes=classes) if shares else class_numbers

    def goals(self, model: Model, classes: int, shares: bool, label_smoothing: float) -> Goals:
        loss = CategoricalCrossentropy(label_smoothing=label_smoothing) if shares else "sparse_categorical_crossentropy"
        k = top_k(classes)
        accuracy, top = (
            (CategoricalAccuracy, TopKCategoricalAccuracy)
            if shares
            else (SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy)
        )
        return Goals(loss, [accuracy(name="accuracy")] + ([top(k, name=f"top_{k}_accuracy")] if k else []))

    def results(self, answers: Sequence[torch.Tensor], sizes: Iterable[Size], spec: ImageSpec) -> list[Any]:
        """The probabilities of the classes."""
        return list(answers[0].numpy())

    def measure(
        self, split: str, results: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Measures:
        targets, answers = np.array([sample.label for sample in samples], np.int64), np.stack(results)
        n = len(targets)
        truth, said = torch.from_numpy(targets), torch.from_numpy(answers)
        right = {"accuracy": sparse_categorical_accuracy(truth, said)}
        if k := top_k(len(classes)):
            right[f"top-{k} accuracy"] = sparse_top_k_categorical_accuracy(truth, said, k)
        shares = {name: float(values.double().mean()) for name, values in right.items()}
        headlines = [Headline(name, share, wilson_interval(share, n)) for name, share in shares.items()]
        confusion = np.zeros((len(classes), len(classes)), int)
        np.add.at(confusion, (targets, answers.argmax(1)), 1)
        headlines += [
            Headline("macro F1", macro_f1(confusion), macro_f1_interval(confusion)),
            Headline("balanced accuracy", balanced_accuracy(confusion), balanced_accuracy_interval(confusion)),
        ]
        details = {
            "confusion": confusion.tolist(), "classes": per_class(confusion, classes),
            "calibration": calibration_of(answers, targets, self._temperature, fitted_here=split == "validation"),
            "cases": surest(answers, targets, samples),
        }  # fmt: skip
        return Measures(split, n, tuple(headlines), details)

    def compare(
        self, first: Sequence[Any], second: Sequence[Any], samples: Sequence[Sample], classes: Sequence[str]
    ) -> Difference:
        one, other = (
            np.array([said.argmax() == sample.label for said, sample in zip(results, samples, strict=True)])
            for results in (first, second)
        )
        alone = int((one & ~other).sum()), int((other & ~one).sum())
        shares = float(one.mean()), float(other.mean())
        return Difference("accuracy", shares, paired_share_interval(*alone, len(samples)), alone, mcnemar(*alone))

    def cases(self, measures: Measures, classes: Sequence[str]) -> list[Case]:
        return [_case(row, classes) for row in measures.details.get("cases", ())]

    def answering_classes(self, model: Model) -> Network | None:
        return model

    def remarks(self, measures: Measures) -> list[str]:
        known = measures.details.get("calibration")  # which older runs have not
        return in_sentences(known) if known else []

    def prediction(self, path: Path, result: Any, classes: Sequence[str]) -> Prediction:
        return Prediction(path, tuple(classes), tuple(float(p) for p in result))

    def draw(self, measures: Measures, classes: Sequence[str], path: Path) -> None:
        draw_confusion(np.array(measures.details["confusion"]), classes, path)

    def draw_calibration(self, measures: Measures, path: Path) -> bool:
        draw_calibration(measures.details["calibration"], path)
        return True


def surest(answers: np.ndarray, targets: np.ndarray, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The surest right answer of each of some classes, and the surest wrong answers: file, class, what was said and how surely. JSON-able."""
    said, sure = answers.argmax(1), answers.max(1)
    order = np.argsort(-sure, kind="stable")
    first = {int(targets[i]): int(i) for i in order[::-1] if said[i] == targets[i]}  # the surest of each class
    right = sorted(first.values(), key=lambda i: -sure[i])[:EACH]
    wrong = [int(i) for i in order if said[i] != targets[i]][:EACH]
    return [
        {"path": file_of(samples[i]), "true": int(targets[i]), "said": int(said[i]), "probability": float(sure[i])}
        for i in right + wrong
    ]


def _case(row: Mapping[str, Any], classes: Sequence[str]) -> Case:
    right = row["true"] == row["said"]
    sentence = f"Taken for {quoted(classes, row['said'])} with a probability of {100 * row['probability']:.0f} %"
    sentence += ", and it is." if right else f"; it is {quoted(classes, row['true'])}."
    return Case(Path(row["path"]), right, sentence, row["said"], lambda image: {"The picture": image})


def class_numbers(examples: Sequence[Example]) -> tuple[np.ndarray, ...]:
    """The class of each picture, int64 (n,)."""
    return (np.array([example.labels[0][0] for example in examples], np.int64),)


def class_shares(examples: Sequence[Example], classes: int) -> tuple[np.ndarray, ...]:
    """The shares of the classes in each picture, float32 (n, classes)."""
    shares = np.zeros((len(examples), classes), np.float32)
    for row, example in zip(shares, examples, strict=True):
        for label, share in example.labels:
            row[label] += share
    return (shares,)


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

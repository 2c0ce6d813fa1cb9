"""What is said of a classifier's probabilities: how far they can be trusted, before and after a temperature."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics.calibration import error_by_chance, log_loss, reliability, tempered
from ..metrics.intervals import paired_mean_interval


def calibration_of(
    answers: np.ndarray, labels: np.ndarray, temperature: float | None, *, fitted_here: bool
) -> dict[str, Any]:
    """The calibration of probabilities (n, classes) that a `temperature` was applied to, and what it was without, as JSON has it.

    `fitted_here`: whether the temperature was fitted on these images.
    """
    now = _measured(answers, labels)
    if temperature is None:
        return {"temperature": None, **now}
    plain = tempered(np.log(np.maximum(answers, np.finfo(np.float32).tiny)), 1 / temperature)
    gained = paired_mean_interval(log_loss(plain, labels) - log_loss(answers, labels))
    before = _measured(plain, labels)
    return {
        "temperature": temperature, "fitted here": fitted_here, **now, "before": before, "log loss gained interval": list(gained),
    }  # fmt: skip


def _measured(answers: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    confidence, right = answers.max(1).astype(np.float64), answers.argmax(1) == labels
    found = reliability(confidence, right)
    bins = [
        {"from": float(low), "to": float(high), "images": int(n), "confidence": float(mean), "accuracy": float(share)}
        for low, high, n, mean, share in zip(found.edges, found.edges[1:], found.n, *found[2:], strict=False)
        if n
    ]
    sure = confidence - right
    return {
        "ECE": found.error, "ECE by chance": error_by_chance(confidence), "log loss": float(log_loss(answers, labels).mean()),
        "overconfidence": {"value": float(sure.mean()), "interval": list(paired_mean_interval(sure))}, "bins": bins,
    }  # fmt: skip


def in_sentences(calibration: dict[str, Any]) -> list[str]:
    """Calibration errors, and what they are worth."""
    chance = f"a perfectly calibrated network is within {calibration['ECE by chance']:.3f} on as many images"
    said = [f"Calibration error (ECE) {calibration['ECE']:.4f}; {chance}"]
    if calibration["temperature"] is not None:
        before, (low, high) = calibration["before"], calibration["log loss gained interval"]
        said.append(
            f"Before its temperature of {calibration['temperature']:.3f} the calibration error was {before['ECE']:.4f} and the "
            f"log loss {before['log loss']:.4f}, now {calibration['log loss']:.4f} (gained {low:.3f} to {high:.3f}, 95 % interval)"
        )
        if calibration["fitted here"]:
            said.append("The same images chose the temperature, so what it gains is optimistic")
    return said

"""Curves in words, for who cannot see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..measure import Curve

CURVES = {
    "loss": "How wrong its answers were while it learned: lower is better. Where the validation line rises while the training line falls, it learned pictures by heart.",
    "learning_rate": "How large its steps were while it learned. It is usually made smaller towards the end.",
}
MEASURE = (
    "How good its answers were: higher is better. The best epoch on the validation pictures is the one that was kept."
)


def curve_in_words(history: Mapping[str, Sequence[float]], name: str) -> str:
    """What a curve by epoch shows."""
    rows = [(f"val_{name}", "validation")] if f"val_{name}" in history else []
    rows = [(name, "training"), *rows] if rows else [(name, "")]
    told = [f"{label} from {history[key][0]:.3g} to {history[key][-1]:.3g}".strip() for key, label in rows]
    return f"{name.replace('_', ' ').capitalize()} by epoch: {', '.join(told)}"


def curve_caption(name: str) -> str:
    """How to read a curve by epoch."""
    return CURVES.get(name, MEASURE)


def held_in_words(curve: Curve) -> str:
    """What a curve of a change shows."""
    rows = ", ".join(
        f"{100 * share:.0f} % at {strength:g}" for strength, share in zip(curve.strengths, curve.agreement, strict=True)
    )
    return f"Answers that stay the same under {curve.change} ({curve.unit}): {rows}"

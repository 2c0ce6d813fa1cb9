"""What the tests against Keras (JAX backend) share: the same arguments, weights and data must give the same numbers.

Hypothesis draws the same cases in every run (derandomize), so that a failure here is always a change in the code.
"""

from __future__ import annotations

import functools
import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
# Each case compiles its own small XLA program, which takes far longer than to run it
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false",
)

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

import sightline as sl

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")
if keras.backend.backend() != "jax":
    pytest.skip("Keras was imported with another backend than JAX before", allow_module_level=True)

enable_x64 = functools.partial(jax.enable_x64, True)

TOLERANCE = 1e-5
SEEDS = st.integers(0, 2**16)
PADDINGS = st.sampled_from(["valid", "same"])


def examples(count: int) -> Any:
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def one_hot(numbers: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[numbers]


def to_torch(x: np.ndarray) -> torch.Tensor:
    """An NHWC array as the NCHW tensor that a layer gets."""
    return torch.from_numpy(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)


def to_people(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(1, -1) if x.ndim == 4 else x


def one_or_list(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def assert_close(actual: Any, expected: Any, what: str, tolerance: float = TOLERANCE, least: float = 1.0) -> None:
    """|actual - expected| <= tolerance * |expected|, by norm.

    Norms below `least` count as `least`: a sum of terms of size one may cancel, and its error does not.
    """
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, what
    error = np.linalg.norm((actual - expected).ravel()) / max(np.linalg.norm(expected.ravel()), least)
    assert error <= tolerance, f"{what}: relative error {error:.2e}"


def copy_weights(ours: Any, theirs: Any) -> None:
    """Keras checks that there are as many, and their shapes."""
    theirs.set_weights(ours.get_weights())
    if isinstance(theirs, keras.layers.Normalization):
        theirs.finalize_state()


def gradients_of(ours: Any) -> list[np.ndarray]:
    """The gradients of the trainable weights as Keras lays them out."""
    return [v._replace(tensor=v.tensor.grad).read() for v in ours.variables() if v.trainable]


def twins(kind: str, shapes: list[tuple[int, ...]], rng: np.random.Generator, **arguments: Any) -> tuple[Any, Any]:
    """One layer of each side in float64, with the same random weights. Their symbolic output shapes must be equal."""
    with enable_x64():
        ours, theirs = (
            getattr(sl.layers, kind)(**arguments),
            getattr(keras.layers, kind)(**arguments, dtype="float64"),
        )
        symbolic = ours(one_or_list([sl.Input(shape) for shape in shapes]))
        assert symbolic.shape == theirs(one_or_list([keras.Input(shape, dtype="float64") for shape in shapes])).shape
        ours.double()
        ours.set_weights([random_weight(rng, variable) for variable in ours.variables()])
        copy_weights(ours, theirs)
    return ours, theirs


def random_weight(rng: np.random.Generator, variable: Any) -> np.ndarray:
    """Random values of a weight's shape; a variance is positive, and what is no trained weight else stays as it is."""
    if "variance" in variable.name:
        return rng.uniform(0.5, 2, variable.keras_shape)
    return rng.normal(size=variable.keras_shape) if variable.trainable or "mean" in variable.name else variable.read()


def assert_same_call(ours: Any, theirs: Any, inputs: list[np.ndarray], rng: np.random.Generator, **mode: Any) -> None:
    """Answer, gradients by inputs and by weights, and what the call did to Keras's state (which is written back)."""
    inputs = [x.astype(np.float64) for x in inputs]
    leaves = [to_torch(x).requires_grad_() for x in inputs]
    answer = to_people(ours(one_or_list(leaves)))
    direction = rng.normal(size=answer.shape)
    ours.zero_grad()
    (answer * torch.from_numpy(direction)).sum().backward()

    def projected(trainable: Any, xs: Any) -> Any:
        state = [v.value for v in theirs.non_trainable_variables]
        y, state = theirs.stateless_call(trainable, state, one_or_list(xs), **mode)
        return (y * direction).sum(), (y, state)

    with enable_x64():
        gradients = jax.jit(jax.value_and_grad(projected, argnums=(0, 1), has_aux=True))
        trainable = [v.value for v in theirs.trainable_variables]
        (_, (expected, state)), (by_weights, by_inputs) = gradients(trainable, inputs)
        for variable, value in zip(theirs.non_trainable_variables, state, strict=True):
            variable.assign(value)
    assert_close(answer, expected, "answer")
    for leaf, gradient in zip(leaves, by_inputs, strict=True):
        assert_close(to_people(leaf.grad), gradient, "gradient by the input")
    for weight, gradient in zip(gradients_of(ours), by_weights, strict=True):
        assert_close(weight, gradient, f"gradient by a weight of shape {weight.shape}")


def check_layer(kind: str, shapes: list[tuple[int, ...]], seed: int = 0, batch: int = 2, **arguments: Any) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = twins(kind, shapes, rng, **arguments)
    assert_same_call(ours, theirs, [normal(rng, batch, *shape) for shape in shapes], rng)


# Losses and metrics of boxes and pixels, of which Keras has none; tests/test_box_tasks.py and test_pixel_....py have theirs
OF_BOXES = ("BoxGIoU", "DetectionLoss", "BinnedAP50", "BoxHits", "BoxIoU")
OF_PIXELS = ("PixelCrossentropy", "PixelDice", "PixelFocal", "PixelAccuracy", "SumOfLosses")
OUR_OWN = OF_BOXES + OF_PIXELS

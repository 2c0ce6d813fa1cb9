"""Activation maximization: a picture of what a filter, or a class, would like to see.

A picture is found by gradient ascent from noise. What makes it one that a person recognises is taken from Olah, Mordvintsev & Schubert,
"Feature Visualization", Distill, 2017: the picture is made of frequencies, each with the strength that it has in photos; its colours are those
that vary independently in photos; and it is shifted, turned and scaled a little at each step, so that only what bears that stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import whole_number
from ..graph.network import Network
from ..layers import Rescaling
from ..layout import to_channels_last
from ..measure.effective_field import frozen, image_shape
from ..rewrite import output_nodes
from .parts import channel_of, layer_named, looked_into
from .targets import before_activation, class_scores

RATE, STRENGTH, SMOOTHNESS = 0.05, 0.01, 1.0  # of Adam; of the first noise; what total variation weighs
LEAST = 1e-3  # of an excitement, by whose size its gradient is divided: all filters are alike then
TURN, SCALE, SHIFT = 8.0, 0.12, 1 / 12  # degrees, shares of the size, and of the side, either way
# Directions in which colours of ImageNet vary independently, and how much (Krizhevsky, Sutskever & Hinton 2012, section 4.1)
COLOR_VARIANCES = (0.2175, 0.0188, 0.0045)
COLOR_DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def activation_maximization(
    model: Network, layer: str | None = None, filter: int | Sequence[int] = 0, steps: int = 128, seed: int = 0
) -> np.ndarray:
    """A picture, float32 (height, width, channels), 0..1, that excites a filter of a layer; for several filters (n, height, width, channels).

    Without a `layer`, `filter` is the number of a class. What grows is the mean of the filter's feature map, or the class's score before the
    softmax. The same seed gives the same picture. Raises ArgumentError for an unknown layer or filter.
    """
    network = looked_into(model)
    answers, wanted = _wanted(network, layer, filter)
    shape, steps = image_shape(network), whole_number(steps, "steps")
    generator = torch.Generator().manual_seed(whole_number(seed, "seed", least=0))
    like = next(network.parameters())
    take = taking(model)
    frequencies = _noise(len(wanted), shape, generator, STRENGTH)
    optimizer = torch.optim.Adam([frequencies], RATE)
    with frozen(network):
        for step in range(steps):
            pictures = painted(frequencies, shape)
            seen = F.grid_sample(
                pictures, _moved(pictures.shape, generator), padding_mode="reflection", align_corners=False
            )
            excitement = answers(take(seen).to(like.device, like.dtype)).float().cpu()
            gained = excitement[torch.arange(len(wanted)), wanted]
            loss = SMOOTHNESS * _variation(pictures) - gained / gained.detach().abs().clamp(min=LEAST)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            if step == 0:
                _wake(frequencies, generator)
    found = to_channels_last(painted(frequencies.detach(), shape)).contiguous().numpy()
    return found if isinstance(filter, Sequence) else found[0]


def _wanted(
    network: Network, layer: str | None, filter: Any
) -> tuple[Callable[[torch.Tensor], torch.Tensor], list[int]]:
    """(what makes of a batch the excitement (n, filters), the filters that are wanted)."""
    numbers = list(filter) if isinstance(filter, Sequence) else [filter]
    if layer is None:
        name = output_nodes(network)[0].name
        return lambda x: class_scores(before_activation(network(x))), [channel_of(network, name, n) for n in numbers]
    name = layer_named(network, layer)
    part = Network(network.inputs, network.values[name])

    def means(x: torch.Tensor) -> torch.Tensor:
        said = before_activation(part(x))
        return said.mean((2, 3)) if said.ndim == 4 else said

    return means, [channel_of(network, name, n) for n in numbers]


def taking(model: Network) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes of pictures 0..1 what a network takes: 0..255 where it scales pixels itself, else as its metadata say."""
    scales = [layer.scale for layer in model.modules() if isinstance(layer, Rescaling)]
    if scales and np.max(np.abs(scales[0])) < 0.1:
        return lambda x: x * 255
    said = getattr(model, "metadata", {}).get("preprocessing", {"mean": [0.0], "std": [1.0]})
    mean, std = (torch.tensor(said[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return lambda x: (x - mean) / std


def _noise(n: int, shape: Sequence[int], generator: torch.Generator, strength: float) -> torch.Tensor:
    """Frequencies (n, channels, height, width // 2 + 1, 2) of faint noise."""
    channels, height, width = shape
    noise = torch.randn(1, channels, height, width // 2 + 1, 2, generator=generator)  # each filter begins with the same
    return (strength * noise).repeat(n, 1, 1, 1, 1).requires_grad_()


def painted(frequencies: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Pictures (n, channels, height, width), 0..1, of frequencies; low ones are strong, as 1 / f in photos."""
    channels, height, width = shape
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    strengths = 1 / torch.sqrt(x * x + y * y).clamp(min=1 / max(height, width))
    spectrum = torch.view_as_complex(frequencies) * strengths * math.sqrt(height * width)
    waves = torch.fft.irfft2(spectrum, s=(height, width)) / 4
    if channels == 3:
        directions = torch.tensor(COLOR_DIRECTIONS) * torch.tensor(COLOR_VARIANCES).sqrt()
        waves = torch.einsum("ij,njhw->nihw", directions / directions.norm(dim=0).max(), waves)
    return torch.sigmoid(waves)


def _moved(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Where to look in pictures that are turned, scaled and shifted a little, at random."""
    angle, size, across, down = (2 * torch.rand(4, generator=generator) - 1).tolist()
    angle, size = math.radians(TURN * angle), 1 + SCALE * size
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 2 * SHIFT * across], [sin, cos, 2 * SHIFT * down]])
    return F.affine_grid(matrix.expand(shape[0], 2, 3), list(shape), align_corners=False)


def _variation(pictures: torch.Tensor) -> torch.Tensor:
    """The mean difference of neighbours, for each picture."""
    down, across = pictures.diff(dim=2).abs(), pictures.diff(dim=3).abs()
    return (
        down.flatten(1).mean(1) + across.flatten(1).mean(1) if min(pictures.shape[2:]) > 1 else 0 * down.sum((1, 2, 3))
    )


def _wake(frequencies: torch.Tensor, generator: torch.Generator) -> None:
    """Stronger noise for filters that the first did not excite at all: a dead ReLU has no gradient."""
    assert frequencies.grad is not None
    asleep = frequencies.grad.flatten(1).abs().amax(1) == 0
    if asleep.any():
        with torch.no_grad():
            frequencies[asleep] += 10 * STRENGTH * torch.randn(frequencies[asleep].shape, generator=generator)

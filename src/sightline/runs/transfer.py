"""Learning from someone else's weights: a head on features that are computed once, then more of the network, slowly."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx, nn

from ..callbacks import EarlyStopping
from ..errors import ArgumentError
from ..graph.build import layer_of
from ..graph.network import Network
from ..layers import (
    Activation,
    BatchNormalization,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Identity,
    Layer,
)
from ..models import Model
from ..rewrite import split_at
from ..tasks import Task
from .features import Features
from .settings import Settings

LAST_STAGE = "stride_16"  # the end of the stage before the last
HEAD_EPOCHS, HEAD_PATIENCE = 30, 5  # of the head alone, before more is unfrozen: seconds
# What a head may begin with that has no weights and draws nothing: its results are the smaller features
FIXED = (Activation, Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D, Identity)


def backbone_of(model: Model, name: str) -> str:
    """The name of the node at which a model's backbone ends. Raises ArgumentError for a network that does not say."""
    node = model.metadata.get("backbone")
    if not isinstance(node, str) or node not in model.values:
        raise ArgumentError(
            f"{name} does not say where its backbone ends, so there is nothing to freeze",
            fix="Use a network that has a name (see `sightline models`), or train all of it",
        )
    return node


def frozen_part(model: Model, name: str) -> Network:
    """The network up to where a model's backbone ends: a node, or the several maps that a head reads. Raises ArgumentError as `backbone_of`."""
    ends = model.metadata.get("backbone")
    if isinstance(ends, list) and model.values.keys() >= set(ends):
        return Network(model.inputs, [model.values[node] for node in ends])
    return split_at(model, backbone_of(model, name))[0]


def freeze(model: Model, name: str, unfreeze: str | None) -> list[torch.Tensor]:
    """Freeze the backbone but for what `unfreeze` names ("last-stage" or "all"); returns its weights that train.

    BatchNormalization stays in inference mode in all of the backbone: a few hundred images would spoil its statistics.
    """
    backbone = frozen_part(model, name)
    layers = {id(layer): layer for layer in _parts(backbone)}
    trained: set[int] = set()
    if unfreeze == "all":
        trained = set(layers)
    elif unfreeze == "last-stage":
        if LAST_STAGE not in model.values:
            raise ArgumentError(f"{name} has no named stages", fix="Use --unfreeze all")
        before, _ = split_at(model, LAST_STAGE)
        trained = set(layers) - {id(layer) for layer in _parts(before)}
    for key, layer in layers.items():
        if isinstance(layer, Layer):
            layer.trainable = key in trained and not isinstance(layer, BatchNormalization)
    return [parameter for parameter in backbone.parameters() if parameter.requires_grad]


def _parts(network: Network) -> Iterator[nn.Module]:
    """The layers of a network, and those of networks in it."""
    for layer in network.layers:
        if isinstance(layer, Network):
            yield from _parts(layer)
        else:
            yield layer


def split_head(model: Model, name: str) -> tuple[Network, Model]:
    """What computes a frozen network's features, and the rest, which trains on them; both share the model's weights."""
    node = next(node for node in model.graph.nodes if node.name == backbone_of(model, name))
    while (following := _only_reader(node)) is not None and isinstance(layer_of(model, following), FIXED):
        node = following
    below, above = split_at(model, node.name)
    return below, Model(above.inputs, above.output, f"head_of_{model.name}")


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def train_head_first(head: Model, features: dict[str, Features], task: Task, settings: Settings) -> dict[str, float]:
    """Train a compiled head on features until its validation is no better; returns the best epoch's logs.

    It is short and has no state on disk: a run that is killed in it begins it again.
    """
    held_back = features.get("validation")
    stopping = EarlyStopping(monitor=task.best, patience=HEAD_PATIENCE, restore_best_weights=True)
    history = head.fit(
        features["train"].values,
        features["train"].targets,
        batch_size=settings.batch_size,
        epochs=HEAD_EPOCHS,
        validation_data=None if held_back is None else (held_back.values, held_back.targets),
        callbacks=[] if held_back is None else [stopping],
        verbose=0,
    ).history
    best = len(history["loss"]) - 1 if held_back is None else stopping.best_epoch
    return {name: values[best] for name, values in history.items()}

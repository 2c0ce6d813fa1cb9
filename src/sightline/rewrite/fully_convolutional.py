"""A classifier as a network that says of every place of a larger image what the classifier says of the crop there.

Layers on feature maps stay; where the head begins, a Flatten and Dense layer become a convolution whose kernel is the feature map's size
at training, and global pooling a pooling with that window (Sermanet et al., OverFeat, 2013, section 3.5; Long, Shelhamer & Darrell, 2014,
figure 2). What follows in the head is done at every place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NoReturn

import torch
from torch import fx, nn

from ..errors import SightlineError, whole_number
from ..graph import nested
from ..graph.build import walk
from ..graph.network import Network, public_class
from ..graph.symbolic import Value, describe_layer
from ..layers import Activation, Dense, Flatten, GlobalMaxPooling2D, MaxPooling2D, Reshape, Torch
from ..layers.core import InputLayer
from .dense_heads import convolution_of, on_maps, pooling_of, works_on_flattened, works_on_places
from .foreign_parts import FLATTENING, Pooling, Sliding, meaning_of
from .inlining import inlined
from .map_layers import SINGLE, is_one_by_one, kind_of, on_head, on_map, passes_through
from .networks import GLOBAL
from .score_map import KEY, Grid, Pair, ScoreMap


def to_fully_convolutional(model: Any, stride: int = 1) -> Any:
    """The network that takes images of any size from its training size on and gives a map of scores: (None, h, w, classes).

    Each place of the map answers for a window of the training size: `score_map(dense)` says which. Without "same" padding its score is exactly
    what `model` says of that crop; with it, windows see around them the image in place of padding. `stride` thins the map: only every
    so-manieth place along both axes is computed in the head. "same" padding at strides above 1 keeps the rows and columns of the
    training size. Several outputs, as of a class and a box head, become several maps.

    The weights are the model's own or views of them, so that what trains one changes the other. Raises SightlineError that
    names the node which stands in the way: a layer that makes each place depend on the whole image, or moves places.
    """
    stride = whole_number(stride, "to_fully_convolutional: stride")
    given = [value for value in model.inputs if len(value.inner_shape) == 3] if model.built else []
    if len(given) != 1 or len(model.inputs) != 1 or None in given[0].inner_shape:
        raise SightlineError(
            f"{model.name} does not take one image of one size, so it cannot become fully convolutional",
            expected="one input (None, height, width, channels)",
            received=model.input_shape if model.built else "a network that does not know its input's shape yet",
        )
    conversion = _Conversion(inlined(model), model.name, stride)
    channels, height, width = given[0].inner_shape
    wide = _dtype_of(model, given[0])
    value = InputLayer((None, None, channels), wide, name=_name_of(model)).value()  # type: ignore[arg-type]
    outputs = conversion.outputs(value)
    dense = public_class(model).from_values([value], outputs, model.name)
    dense.training = model.training
    if wide != given[0].dtype:
        _say_type(dense, wide, given[0].dtype)
    dense.metadata.update({**model.metadata, KEY: conversion.score_map((height, width)).as_dict()})
    return dense


def _dtype_of(model: Network, given: Value) -> torch.dtype:
    """The type of the weights, which a person may have changed since the model was made."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), given.dtype)


def _say_type(dense: Network, wide: torch.dtype, given: torch.dtype) -> None:
    """Let the graph say the type that the model's says: a file is read into layers of that type."""
    for node in dense.graph.nodes:
        if node.meta.get("dtype") == wide:
            node.meta["dtype"] = given
    dense.inputs[0].call.layer.dtype = str(given).removeprefix("torch.")  # type: ignore[assignment]
    dense.__dict__["_values"] = None  # to be made anew from the graph


def _name_of(model: Network) -> str:
    return next(str(node.meta["layer"]) for node in model.graph.nodes if node.op == "placeholder")


@dataclass(frozen=True)
class Part:
    """A value of the new network beside what it was for one image of the training size.

    `shape`: there, (C, H, W). `flat`: "HWC" or "CHW" where the model has the map flattened so. `head`: the node with which the head
    begins, behind which there is one place for each window; None on feature maps.
    """

    value: Value
    shape: tuple[int, int, int]
    grid: Grid
    flat: str | None = None
    head: str | None = None

    @property
    def size(self) -> Pair:
        return self.shape[1], self.shape[2]


class _Conversion:
    """A walk over the network's calls, with a `Part` for each value."""

    def __init__(self, network: Network, name: str, stride: int):
        self.network, self.name, self.stride = network, name, stride
        self.ends: list[Part] = []
        self.made: dict[tuple[int, Any], Any] = {}  # layers that took the place of others, which may be called again

    def outputs(self, value: Value) -> Any:
        """The outputs' values, in their structure, where `value` comes in."""
        shape: Any = self.network.inputs[0].inner_shape
        results = walk(self.network, lambda node, position: Part(value, shape, Grid()), self._call)
        names = iter(str(node) for node in nested.each(fx.Node, self.network.graph.output_node().args[0]))
        return nested.mapped(Part, lambda part: self._end(part, next(names, "")), results)

    def score_map(self, window: Pair) -> ScoreMap:
        """Where the scores lie; raises SightlineError where the outputs' do not lie in the same places."""
        strides = {(part.grid.stride[0], part.grid.stride[1]) for part in self.ends}
        if len(strides) > 1 or any(each.denominator > 1 for pair in strides for each in pair):
            received = ", ".join(f"{float(a):g}x{float(b):g}" for a, b in sorted(strides))
            raise SightlineError(
                f"{self.name} has outputs whose places lie {received} pixels apart, so they make no one map of scores",
                fix="Convert a model of one of them: sl.Model(model.input, output)",
            )
        ((rows, columns),) = strides
        halo = [max(*(max(part.grid.before[i], part.grid.after[i]) for part in self.ends), Fraction(0)) for i in (0, 1)]
        return ScoreMap(window, (int(rows), int(columns)), (-int(-halo[0] // 1), -int(-halo[1] // 1)))

    # --- one call ------------------------------------------------------------------------------------------------

    def _call(self, node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Part:
        parts = list(nested.each(Part, [args, kwargs]))
        if "shape" not in node.meta or not parts:
            self._refuse(node, layer, "gives several values")
        if len({part.head is None for part in parts}) > 1:
            entered = next(part.head for part in parts if part.head)
            self._refuse(
                node, layer,
                f'brings what "{entered}" makes of the whole map back to each place of a map: of a larger image every window would '
                "need a map of its own",
                fix="Slide the classifier instead: sl.detectors.SlidingWindowDetector(model)",
            )  # fmt: skip
        if any(part.flat for part in parts):
            return self._on_row(node, layer, parts, args, kwargs)
        return (self._on_map if parts[0].head is None else self._on_head)(node, layer, parts, args, kwargs)

    def _on_map(self, node: fx.Node, layer: nn.Module, parts: list[Part], args: Any, kwargs: Any) -> Part:
        part, out = parts[0], node.meta["shape"]
        kind = kind_of(layer)
        if kind in GLOBAL:
            return self._pooled(node, layer, part, "max" if kind is GlobalMaxPooling2D else "average")
        if kind is Flatten:
            return replace(part, flat="HWC")
        meaning = meaning_of(layer, part.shape, out) if isinstance(layer, Torch) and len(parts) == 1 else None
        if meaning == FLATTENING:
            return replace(part, flat="CHW")
        if isinstance(meaning, Pooling):
            return self._adapted(node, layer, part, meaning)
        if len(out) != 3:
            self._refuse(node, layer, f"makes something else of a map of {part.size[0]}x{part.size[1]} places")
        if isinstance(meaning, Sliding):
            grid = part.grid.slid(meaning.kernel, meaning.strides, _twice(meaning.before), part.size, out[1:])
            return self._called(node, layer, grid, args, kwargs)
        grid = self._joined(node, layer, parts)
        found = on_map(layer, [each.shape for each in parts], out, grid)
        if isinstance(found, str):
            self._refuse(node, layer, found)
        if found is not None:
            return self._called(node, self._once(layer, found[0]), found[1], args, kwargs)
        if not works_on_places(layer, [each.shape for each in parts], part.value.dtype, rows=False):
            self._refuse(node, layer, "does not do the same at each place of a larger map")
        return self._called(node, layer, grid, args, kwargs)

    def _on_head(self, node: fx.Node, layer: nn.Module, parts: list[Part], args: Any, kwargs: Any) -> Part:
        """What the model does to a row, or to a map of one place, at every place."""
        part, shapes = parts[0], [source.meta["shape"] for source in node.all_input_nodes]
        rows = len(shapes[0]) == 1
        meaning = None
        if isinstance(layer, Torch) and len(parts) == 1 and not rows:
            meaning = meaning_of(layer, part.shape, node.meta["shape"])
        kind = kind_of(layer)
        same_values = kind is Reshape and max(node.meta["shape"]) == part.shape[0]
        if passes_through(layer) or same_values or meaning == FLATTENING:
            return part
        if isinstance(meaning, Pooling) and meaning.places == (1, 1):
            return part
        if rows and (kind is Dense or is_linear(layer)):
            return self._called(node, self._convolution(node, layer, part, 1), part.grid, args, kwargs)
        if isinstance(meaning, Sliding) and is_one_by_one(meaning.kernel, meaning.strides, meaning.before):
            return self._called(node, layer, part.grid, args, kwargs)
        other: Any = on_head(layer, len(shapes[0]) + 1)
        if other is None and isinstance(layer, Torch):
            other = on_maps(layer) if rows else None
        if other is None and works_on_places(layer, [each.shape for each in parts], part.value.dtype, rows=rows):
            other = layer
        if other is None:
            self._refuse(node, layer, "does not do the same at each place of a map of scores")
        return self._called(node, self._once(layer, other), self._joined(node, layer, parts), args, kwargs)

    def _on_row(self, node: fx.Node, layer: nn.Module, parts: list[Part], args: Any, kwargs: Any) -> Part:
        """What the model does to a flattened map."""
        part = parts[0]
        if len(parts) == 1 and (kind_of(layer) is Dense or is_linear(layer)):
            grid = self._thinned(part.grid)
            return replace(
                self._called(node, self._convolution(node, layer, part, self.stride), grid, args, kwargs),
                head=node.name,
            )
        if part.size == (1, 1):
            there = {id(each): self._begun(each, node.name) for each in parts}
            args, kwargs = nested.mapped(Part, lambda each: there[id(each)], [args, kwargs])
            return self._on_head(node, layer, list(there.values()), args, kwargs)
        if len(parts) > 1:
            self._refuse(node, layer, f"joins rows that are maps of {part.size[0]}x{part.size[1]} places")
        if passes_through(layer) or (isinstance(layer, Torch) and type(layer.module) is nn.Flatten):
            return part
        single = kind_of(layer) in SINGLE and getattr(layer, "activation", None) not in ("softmax", "log_softmax")
        known = single and not callable(getattr(layer, "activation", None))
        if known or works_on_flattened(layer, part.shape, part.value.dtype):
            return replace(self._called(node, layer, part.grid, args, kwargs), flat=part.flat)
        self._refuse(
            node, layer, f"stands between the flattening of a map of {part.size[0]}x{part.size[1]} places and the Dense layer",
            fix="Put it before the Flatten or behind the Dense layer",
        )  # fmt: skip

    # --- the parts of it -----------------------------------------------------------------------------------------

    def _called(self, node: fx.Node, layer: nn.Module, grid: Grid, args: Any, kwargs: Any) -> Part:
        """The call, of this layer, in the new network; the head goes on where it is one."""
        given = list(nested.each(Part, [args, kwargs]))
        args, kwargs = nested.mapped(Part, lambda part: part.value, [args, kwargs])
        out = node.meta["shape"]
        shape = (
            out
            if len(out) == 3
            else (given[0].shape if given[0].flat and out[0] != layer_units(layer) else (*out, 1, 1))
        )
        return Part(layer(*args, **kwargs), shape, grid, head=given[0].head)

    def _convolution(self, node: fx.Node, layer: nn.Module, part: Part, stride: int) -> nn.Module:
        activation = getattr(layer, "activation", None)
        if callable(activation) and not works_on_places(
            Activation(activation), [(*node.meta["shape"], 1, 1)], part.value.dtype, rows=True
        ):
            self._refuse(node, layer, "has an activation that does not do to maps what it does to rows")
        key = (part.shape, part.flat, stride)
        return self._kept(
            layer, key, lambda: convolution_of(layer, part.shape[0], part.size, part.flat or "HWC", stride)
        )

    def _once(self, layer: nn.Module, other: nn.Module) -> nn.Module:
        """The first layer that took this one's place with such arguments."""
        return layer if other is layer else self._kept(layer, repr(other), lambda: other)

    def _kept(self, layer: Any, key: Any, make: Callable[[], Any]) -> Any:
        """What takes a layer's place, the same each time it is called so; a second such layer gets a name of its own."""
        if (id(layer), key) not in self.made:
            made = self.made[id(layer), key] = make()
            made.named_by_count = made.named_by_count or sum(of == id(layer) for of, _ in self.made) > 1
        return self.made[id(layer), key]

    def _pooled(self, node: fx.Node, layer: nn.Module, part: Part, kind: str) -> Part:
        name = str(node.meta["layer"])
        pooling = self._kept(layer, part.size, lambda: pooling_of(kind, part.size, self.stride, name))
        return Part(pooling(part.value), (part.shape[0], 1, 1), self._thinned(part.grid), head=node.name)

    def _adapted(self, node: fx.Node, layer: nn.Module, part: Part, meaning: Pooling) -> Part:
        """torch's adaptive pooling: nothing where the map has the size already, a pooling where that goes evenly."""
        if meaning.places == (1, 1):
            return self._pooled(node, layer, part, meaning.kind)
        if meaning.places == part.size:
            return part
        rows, columns = meaning.places
        window = part.size[0] // rows, part.size[1] // columns
        if (window[0] * rows, window[1] * columns) != part.size:
            self._refuse(
                node, layer, f"makes {rows}x{columns} places of {part.size[0]}x{part.size[1]} by windows of unlike sizes",
                fix=f"Make the network for images whose last map has {rows}x{columns} places, or a multiple",
            )  # fmt: skip
        name = str(node.meta["layer"])
        pooling = self._kept(layer, window, lambda: pooling_of(meaning.kind, window, window, name))
        grid = part.grid.slid(window, window, ((0, 0), (0, 0)), part.size, meaning.places)
        return Part(pooling(part.value), (part.shape[0], rows, columns), grid)

    def _thinned(self, grid: Grid) -> Grid:
        return replace(grid, stride=(grid.stride[0] * self.stride, grid.stride[1] * self.stride))

    def _begun(self, part: Part, name: str) -> Part:
        """A map of one place as the first of the head."""
        value = part.value
        if self.stride > 1:
            value = self._kept(value, "thinned", lambda: MaxPooling2D(1, self.stride))(value)
        return Part(value, part.shape, self._thinned(part.grid), head=name)

    def _joined(self, node: fx.Node, layer: nn.Module, parts: list[Part]) -> Grid:
        grid = parts[0].grid
        for part in parts[1:]:
            if part.grid.stride != grid.stride or (part.size != parts[0].size):
                self._refuse(node, layer, "joins maps whose places lie differently in the image")
            grid = grid.with_(part.grid)
        return grid

    def _end(self, part: Part, name: str) -> Value:
        if part.head is None and part.size == (1, 1):
            part = self._begun(part, name)
        if part.head is None:
            size = f"{part.size[0]}x{part.size[1]}"
            what = f"a row of a map of {size} places" if part.flat else f"a feature map of {size} places"
            raise SightlineError(
                f'The output "{name}" of {self.name} is {what}, so there is no head that becomes convolutional',
                expected="global pooling, or Flatten and a Dense layer, before each output",
            )
        self.ends.append(part)
        return part.value

    def _refuse(self, node: fx.Node, layer: nn.Module, why: str, fix: str | None = None) -> NoReturn:
        inner = f" of {type(layer.module).__name__}" if isinstance(layer, Torch) else ""
        raise SightlineError(
            f'{self.name} cannot become fully convolutional: "{node.name}", {describe_layer(layer)}{inner}, {why}',
            fix=fix
            or f'Replace that layer, or convert the network before it: sl.Model(model.input, model.values["{node.name}"])',
        )


def is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, Torch) and type(layer.module) is nn.Linear


def layer_units(layer: nn.Module) -> int | None:
    """The filters of a convolution."""
    return getattr(layer, "filters", None)


def _twice(before: Pair) -> tuple[Pair, Pair]:
    return (before[0], before[0]), (before[1], before[1])

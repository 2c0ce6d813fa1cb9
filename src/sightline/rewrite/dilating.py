"""A backbone that keeps a finer map: strides taken out, and what lies behind them dilated.

Each window behind a stride of two that is taken out reads every second place, so that the network's own answer stands at every second
place of the new one (the algorithme à trous: Holschneider et al., 1989; Chen et al., DeepLab, 2014, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from torch import fx, nn

from ..errors import SightlineError, whole_number
from ..graph import nested
from ..graph.build import walk
from ..graph.network import Network, public_class
from ..graph.symbolic import Value, describe_layer
from ..layers import (
    AveragePooling2D,
    Cropping2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
    ZeroPadding2D,
)
from ..layers.padding import Checked, Pads, checked_padding, pads_of, sides
from ..layout import Shape
from .dense_heads import changed
from .inlining import inlined
from .map_layers import ANYWHERE, JOINING, OVER_CHANNELS, SLIDING, axes_of, kind_of
from .score_map import Pair

POOLINGS = (MaxPooling2D, AveragePooling2D)
AROUND = (ZeroPadding2D, Cropping2D)
WHOLE_MAP = (GlobalAveragePooling2D, GlobalMaxPooling2D)
ONE: Pair = (1, 1)


def dilate(network: Network, output_stride: int = 16) -> Any:
    """The network, of its own kind and on its weights, whose maps lie at most `output_stride` pixels apart.

    A stride that would pass that becomes 1, and convolutions behind it are dilated by what was taken out. At places that both maps
    have, every second of the new one where one stride of 2 was taken out, the answer is the network's own; with "same" padding at
    a stride it is so at sizes that are padded as the model's. A mean over the whole map (squeeze and excitation) is then one over more places.

    Raises SightlineError that names the node which cannot be dilated: a pooling behind such a stride, or a layer not known.
    """
    output_stride = whole_number(output_stride, "dilate: output_stride")
    dilation = _Dilation(inlined(network), network.name, output_stride)
    inputs = [Value(value.call, value.inner_shape, value.dtype) for value in network.inputs]
    result = public_class(network).from_values(inputs, dilation.outputs(inputs), network.name)
    result.training = network.training
    if hasattr(network, "metadata"):
        result.metadata.update(network.metadata)
    return result


@dataclass(frozen=True)
class Part:
    """A value of the new network. `stride`: pixels from place to place; `rate`: from which place on its map the network's own next
    place lies. Both are None for what was made of a whole map."""

    value: Value
    stride: Pair | None = ONE
    rate: Pair | None = ONE


class _Dilation:
    """A walk over the network's calls, with a `Part` for each value."""

    def __init__(self, network: Network, name: str, output_stride: int):
        self.network, self.name, self.output_stride = network, name, output_stride
        self.made: dict[
            tuple[Any, ...], nn.Module
        ] = {}  # layers that took the place of others, which may be called again

    def outputs(self, inputs: list[Value]) -> Any:
        results = walk(self.network, lambda node, position: Part(inputs[position]), self._call)
        return nested.mapped(Part, lambda part: part.value, results)

    def _call(self, node: fx.Node, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parts = list(nested.each(Part, [args, kwargs]))
        places = {(part.stride, part.rate) for part in parts if part.rate is not None}
        if len(places) > 1 and len({rate for _, rate in places}) > 1:
            self._refuse(node, layer, "joins maps of which not all were made finer")
        stride, rate = next(iter(places), (None, None))
        kind = kind_of(layer)
        if stride is not None and rate is not None:
            if kind in SLIDING:
                layer, stride, rate = self._sliding(node, layer, stride, rate)
            elif kind in AROUND:
                layer = self._around(layer, rate)
            elif kind in WHOLE_MAP:
                stride = rate = None
            elif not _keeps_places(layer, kind):
                stride = self._unknown(node, layer, stride, rate)
        args, kwargs = nested.mapped(Part, lambda part: part.value, [args, kwargs])
        return nested.mapped(Value, lambda value: Part(value, stride, rate), layer(*args, **kwargs))

    def _sliding(self, node: fx.Node, layer: Any, stride: Pair, rate: Pair) -> tuple[nn.Module, Pair, Pair]:
        """A convolution or pooling, and the places behind it."""
        taken = [rate[i] > 1 or stride[i] * layer.strides[i] > self.output_stride for i in (0, 1)]
        strides = tuple(1 if taken[i] else layer.strides[i] for i in (0, 1))
        behind = tuple(rate[i] * layer.strides[i] // strides[i] for i in (0, 1))
        dilation = getattr(layer, "dilation_rate", ONE)
        rates = tuple(rate[i] * dilation[i] for i in (0, 1))
        if strides == layer.strides and rates == dilation:
            return layer, (stride[0] * strides[0], stride[1] * strides[1]), rate
        is_pooling = isinstance(layer, POOLINGS)
        if max(strides) > 1 or (is_pooling and rate != ONE):
            self._refuse(
                node, layer, "is a pooling, or has a stride along one axis alone, behind a stride that is taken out"
            )
        attributes: dict[str, Any] = {"strides": strides, "padding": self._padding(node, layer, rate)}
        if not is_pooling:
            attributes["dilation_rate"] = rates
        return self._changed(layer, **attributes), stride, (behind[0], behind[1])

    def _padding(self, node: fx.Node, layer: Any, rate: Pair) -> Checked:
        """What a layer with its strides taken out pads, so that its windows begin where the network's do."""
        shape: Shape = node.args[0].meta["shape"]  # type: ignore[union-attr]
        kernel = getattr(layer, "kernel_size", None) or layer.pool_size
        if layer.padding != "same":
            return layer.padding if layer.padding == "valid" else checked_padding(_times(sides(layer.padding), rate))
        dilation = getattr(layer, "dilation_rate", ONE)
        pads = pads_of((shape[1], shape[2]), kernel, layer.strides, "same", dilation)
        wide = [(kernel[i] - 1) * dilation[i] * rate[i] for i in (0, 1)]
        before = [pads[i][0] * rate[i] for i in (0, 1)]
        if before == [each // 2 for each in wide]:
            return "same"
        around = tuple((before[i], wide[i] - before[i]) for i in (0, 1))
        if isinstance(layer, AveragePooling2D) or (
            isinstance(layer, MaxPooling2D) and max(map(max, around)) * 2 > min(kernel)
        ):
            self._refuse(
                node, layer, 'pads ("same") otherwise than at a stride of 1', fix="Make it for images one pixel larger"
            )
        return checked_padding(around)

    def _around(self, layer: Any, rate: Pair) -> nn.Module:
        """Padding and cropping: so many times as many rows and columns."""
        name = "padding" if isinstance(layer, ZeroPadding2D) else "cropping"
        return layer if rate == ONE else self._changed(layer, **{name: _times(getattr(layer, name), rate)})

    def _unknown(self, node: fx.Node, layer: nn.Module, stride: Pair, rate: Pair) -> Pair:
        """How far apart the places are behind any other layer, by the sizes of what it takes and gives."""
        if rate != ONE:
            self._refuse(node, layer, "is not known to do the same at each place of a finer map")
        old, new = node.all_input_nodes[0].meta.get("shape", ()), node.meta.get("shape", ())
        if len(old) != 3 or len(new) != 3:
            return stride
        rows, columns = (max(1, round(stride[i] * old[i + 1] / new[i + 1])) for i in (0, 1))
        return rows, columns

    def _changed(self, layer: nn.Module, **attributes: Any) -> nn.Module:
        key = (id(layer), *attributes.values())
        return self.made.setdefault(key, changed(layer, **attributes))

    def _refuse(self, node: fx.Node, layer: nn.Module, why: str, fix: str | None = None) -> NoReturn:
        raise SightlineError(
            f"{self.name} cannot be dilated to an output stride of {self.output_stride}: {describe_layer(layer)} {why}",
            received=f'the node "{node.name}"',
            fix=fix or "Take a larger output_stride, or another backbone such as resnet50 or mobilenetv2",
        )


def _keeps_places(layer: Any, kind: type[nn.Module] | None) -> bool:
    """Whether a layer does at each place of a map what it does there of a coarser one."""
    return kind in JOINING or kind in ANYWHERE or (kind in OVER_CHANNELS and axes_of(layer) <= {-1, 3})


def _times(pads: Pads, rate: Pair) -> Pads:
    (top, bottom), (left, right) = pads
    return (top * rate[0], bottom * rate[0]), (left * rate[1], right * rate[1])

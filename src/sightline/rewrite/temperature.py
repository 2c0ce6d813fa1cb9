"""The temperature of a classifier's softmax, which says how sure it is (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from ..graph.network import Network, public_class
from ..graph.symbolic import Value
from ..layers import Activation, Rescaling, Softmax
from .faster import without_activation
from .networks import ends_in_softmax, output_nodes

TEMPERATURE = "temperature"  # in a model's metadata


def before_softmax(network: Any) -> Value:
    """The logits: what goes into the softmax in which a network ends, without a temperature that it may have.

    Raises ArgumentError for a network that ends otherwise, or in a network within it.
    """
    if not ends_in_softmax(network):
        raise ArgumentError(f"{network.name} does not end in a softmax, so it has no logits before it")
    value = network.values[output_nodes(network)[0].name]
    layer = value.call.layer
    if isinstance(layer, Network):
        raise ArgumentError(f"{network.name} ends in the network {layer.name}, whose softmax cannot be reached")
    (source,) = value.call.args
    if not isinstance(layer, (Activation, Softmax)):
        return without_activation(layer)(source)
    is_tempered = TEMPERATURE in network.metadata and isinstance(source.call.layer, Rescaling)
    return source.call.args[0] if is_tempered else source


def with_temperature(network: Any, temperature: float) -> Any:
    """The network whose logits are divided by `temperature` before its softmax, in place of one that it may have.

    Above 1 it is less sure, below 1 surer; which class is the likeliest stays. It shares the network's layers and says
    the temperature in its metadata.
    """
    if not 0 < temperature < float("inf"):
        raise ArgumentError("A temperature is a number above 0", received=temperature)
    scaling = Rescaling(1 / temperature, name="temperature")
    scaling.named_by_count = True  # a layer of a person's own may have that name
    output = Activation("softmax")(scaling(before_softmax(network)))
    result = public_class(network).from_values(network.inputs, output, network.name)
    result.training = network.training
    result.metadata.update({**network.metadata, TEMPERATURE: float(temperature)})
    return result

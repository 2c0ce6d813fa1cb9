"""What every layer is: a `torch.nn.Module` that finds its input's channels when first called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import nn

from ..allocator import ask_for_huge_pages
from ..configurable import Configurable
from ..errors import ArgumentError, ShapeError, SightlineError, check_name
from ..graph import nested
from ..graph.symbolic import FIRST_CALL, building, call_on, first_call, in_mode, record, values_in
from ..graph.weights import Variable, Weighted, parts_of
from ..initializers import Given, checked, initialize
from ..layout import Shape


class Common(TypedDict, total=False):
    """The arguments that every layer takes."""

    name: str | None
    input_shape: Sequence[int] | None
    trainable: bool


class Weight(NamedTuple):
    """A layer's weight: its name in Keras, its attribute here, and how its arguments begin ("kernel" of kernel_initializer)."""

    keras: str
    attribute: str
    prefix: str


KERNEL, BIAS = Weight("kernel", "weight", "kernel"), Weight("bias", "bias", "bias")


class Layer(Configurable, Weighted, nn.Module):
    """The base of all layers.

    `name`: unique in a model; counted there when not given. `input_shape`: (H, W, C) without the batch, on the first
    layer of a Sequential. `trainable=False` freezes the weights. A subclass gives `forward` (tensors NCHW or
    (N, features)) and, where it has weights, `build` and `weight_kinds`. It keeps each constructor argument as an
    attribute of the same name. Called with `training=`, a layer runs in that mode whatever its own is.
    """

    foreign = False  # True where forward is someone else's code
    weight_kinds: tuple[Weight, ...] = ()  # in Keras's order
    counters: tuple[str, ...] = ()  # attributes that count calls in training: part of a training's state

    def __init__(
        self,
        *,
        trainable: bool = True,
        name: str | None = None,
        input_shape: Sequence[int] | None = None,
        **unknown: Any,
    ):
        super().__init__()
        self._refuse(unknown)
        check_name(name, "A layer")
        self.name = name
        self.named_by_count = False
        self.input_shape = None if input_shape is None else checked_shape(input_shape, type(self).__name__)
        self.built = False
        self._trainable = bool(trainable)

    @property
    def trainable(self) -> bool:
        """Whether the weights are trained. A frozen BatchNormalization, or torch module, runs in inference mode."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        self.requires_grad_(self._trainable)
        self.train(self.training)

    # --- being called ------------------------------------------------------------------------------------------

    def build(self, *shapes: Shape) -> None:
        """Create the weights for inputs of these shapes, without the batch and channels first. Called once."""

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        if self.built and training is None and not kwargs and len(args) == 1 and isinstance(args[0], torch.Tensor):
            return super().__call__(*args)  # most calls; what follows took a twentieth of MobileNetV2's time
        symbolic = list(values_in([args, kwargs]))
        if not self.built:
            tensors = list(nested.each(torch.Tensor, args))
            self._require_tensors(args, symbolic or tensors)
            with building():
                self.build(*([v.inner_shape for v in symbolic] or [tuple(t.shape[1:]) for t in tensors]))
            self.built = True
            if not self._trainable:
                self.requires_grad_(False)
            if tensors and tensors[0].is_meta and any(not p.is_meta for p in self.parameters()):
                return call_on("meta", self, args, kwargs)  # inside another layer whose shape is being found
        if symbolic:
            return record(self, args, kwargs, training)
        self._require_tensors(args, list(nested.each(torch.Tensor, [args, kwargs])))
        with in_mode(self, training):
            return super().__call__(*args, **kwargs)

    def _require_tensors(self, args: tuple[Any, ...], found: Sequence[Any]) -> None:
        if not found:
            raise ShapeError(
                f"{type(self).__name__} takes symbolic values or tensors",
                received=", ".join(type(arg).__name__ for arg in args) or "nothing",
                fix="Put it in a model and call predict on arrays; or give it torch.from_numpy(...), channels first",
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls):
            raise ArgumentError(
                f"The layer {cls.__name__} defines call, which nothing calls",
                fix="Name it forward(self, x); feature maps are tensors (N, C, H, W), and self.training is the mode",
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """As a module's; a list of layers becomes one that torch, and so training and copies, knows of."""
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, nn.Module) for item in value):
            value = nn.ModuleList(value)
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes from tensors; every layer gives its own."""
        raise SightlineError(
            f"{type(self).__name__} does not say what it computes",
            fix="Give it forward(self, x); feature maps are tensors (N, C, H, W)",
        )

    @property
    def input(self) -> Any:
        """The symbolic value, or values, of the first call. Raises SightlineError before that."""
        return first_call(self)[0]

    @property
    def output(self) -> Any:
        """What the first symbolic call returned: `Model(model.input, layer.output)` is a model of a part."""
        return first_call(self)[1]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != FIRST_CALL}

    # --- weights -----------------------------------------------------------------------------------------------

    def variables(self) -> Iterator[Variable]:
        """The weights in Keras's order, then those of a person's own layer that `weight_kinds` does not name."""
        seen: set[int] = set()
        for kind in self.weight_kinds:
            if (tensor := getattr(self, kind.attribute, None)) is not None:
                seen.add(id(tensor))
                yield Variable(kind.keras, tensor)
        for variable in parts_of(self):
            if id(variable.tensor) not in seen:
                yield variable

    @property
    def is_regularized(self) -> bool:
        """Whether any weight has a regularizer."""
        return any(getattr(self, f"{kind.prefix}_regularizer", None) is not None for kind in self.weight_kinds)

    def penalties(self) -> Iterator[torch.Tensor]:
        """What the regularizers of trained weights add to the loss."""
        for kind in self.weight_kinds:
            regularizer = getattr(self, f"{kind.prefix}_regularizer", None)
            weight = getattr(self, kind.attribute, None)
            if regularizer is not None and weight is not None and weight.requires_grad:
                yield regularizer(weight)

    def new_weight(self, kind: Weight, shape: Shape) -> None:
        """Make a parameter of this kind, filled by its initializer."""
        setattr(self, kind.attribute, self.weight_of(shape, getattr(self, f"{kind.prefix}_initializer")))

    def new_state(self, kind: Weight, shape: Shape) -> None:
        """As `new_weight`, for a weight that is never trained: a buffer."""
        self.register_buffer(kind.attribute, self.weight_of(shape, getattr(self, f"{kind.prefix}_initializer")).data)

    def weight_of(self, shape: Shape, initializer: Given) -> nn.Parameter:
        """A new parameter, initialised; a convolution's kernel lies in channels_last memory."""
        ask_for_huge_pages()  # the first tensor of most processes: torch asks once, and then only
        tensor = torch.empty(shape)
        if len(shape) == 4:
            tensor = tensor.to(memory_format=torch.channels_last)
        initialize(tensor, checked(initializer))
        return nn.Parameter(tensor)

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def is_ours(layer: nn.Module) -> bool:
    """Whether a layer's forward is this package's own: it may be asked for shapes as often as one likes."""
    return type(layer).__module__.startswith(f"{__package__.split('.')[0]}.") and not getattr(layer, "foreign", False)


def checked_shape(shape: Any, where: str) -> tuple[int, ...]:
    """A person's shape without the batch as a tuple of positive ints; raises ArgumentError otherwise."""
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = (shape,)
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        sizes = tuple(shape)
        if sizes and all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sizes):
            return sizes
        if any(size is None for size in sizes):
            raise ArgumentError(
                f"{where}: a size that is not known is not supported",
                received=shape,
                fix="Give each size a number; sl.rewrite.to_fully_convolutional makes a network for any size of it",
            )
    raise ArgumentError(
        f"{where}: this is not a shape", expected="positive whole numbers such as (28, 28, 1)", received=repr(shape)
    )


def pair(value: Any, what: str, *, least: int = 1) -> tuple[int, int]:
    """`3` or `(3, 3)` as a pair of whole numbers, as Keras takes sizes and strides."""
    both = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    both = both * 2 if len(both) == 1 else both
    if len(both) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in both):
        raise ArgumentError(f"{what} is a whole number of at least {least}, or two of them", received=repr(value))
    return both[0], both[1]

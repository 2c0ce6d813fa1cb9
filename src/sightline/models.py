"""Sequential and Model as people hold them: every method is a call into a room below."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from . import optimizers
from .allocator import freed_memory_kept
from .callbacks import Callback, History, as_callbacks, in_order, watching
from .configurable import refuse_beyond
from .console import is_terminal, say, silent
from .errors import ArgumentError, ModelFileError, SightlineError, whole_number
from .graph import io
from .graph.build import linear_chain
from .graph.network import Network
from .graph.recomputed import Recomputed
from .graph.symbolic import Value
from .keras_only import missing, own
from .layers import FILE_LAYERS, Input, InputLayer, Layer
from .layers.base import checked_shape
from .layout import person_shape, to_channels_last
from .measure.full_summary import full_summary
from .measure.summary import summarize
from .training import loop
from .training.batches import as_batches, as_triple, split_off
from .training.compiled import Compiled
from .training.numerics import AUTO, WORTH_MEASURING, Choice, Numerics, measuring, repeatable
from .training.ports import ports_of
from .training.progress import EpochProgress, as_text
from .training.ranks import is_first
from .training.recovery import recovering
from .training.step import Step
from .training.training import Take, Training
from .version import __version__

SUFFIX = ".sightline"
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")


class Model(Network):
    """A network that is trained, measured and saved Keras's way.

    `Model(inputs, outputs)` takes symbolic values. NumPy arrays are NHWC, torch tensors NCHW. It is a torch module:
    `model(tensor)`, `state_dict`, `to`, autograd and export work as on any.
    """

    optimizer: optimizers.Optimizer
    stop_training = False
    _compiled: Compiled | None = None

    # --- seeing it ---------------------------------------------------------------------------------------------

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("call", "train_step", "test_step", "predict_step", "compute_loss", "make_train_function"):
            if name in vars(cls):
                raise ArgumentError(
                    f"The model {cls.__name__} defines {name}, which nothing calls",
                    fix="Write a layer with forward, a loss, a metric or a callback; or train in a loop of your own",
                )

    def summary(self, as_text: bool = False, full: bool = False, **unknown: Any) -> str | None:
        """Print the table of layers, shapes and parameters, or return it as text.

        `full` adds for each call of a layer its multiply-adds, the bytes that it gives, its receptive field, and what it reads.
        """
        refuse_beyond(Model.summary, unknown)
        self._require_built("summary")
        table = full_summary(self) if full else summarize(self)
        if as_text:
            return str(table)
        say(table)
        return None

    # --- training ----------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        precision: str = "auto",
        **unknown: Any,
    ) -> None:
        """Say how to train: an optimizer, a loss and metrics, each by name, class, instance or (not the optimizer) function.

        A model with several outputs takes a loss, `loss_weights` and metrics for each: a list in their order, or a dict
        by the names of their layers; one loss alone serves all. `weighted_metrics` see the sample weights.
        `precision` is what `fit` computes in: "float32", "bfloat16", "float16", or "auto": a training of 100 steps and
        more tries the 16-bit one that the device has on its first batch, and takes it where it is faster and gives the
        same loss. Weights stay float32, and so do `evaluate` and `predict`.
        """
        refuse_beyond(Model.compile, unknown)
        parts = {"loss_weights": loss_weights, "weighted_metrics": weighted_metrics, "precision": precision}
        compiled = Compiled(optimizer, loss, metrics, **parts)
        if self.built:
            compiled.goals(ports_of(self).outputs)
        self._compiled, self.optimizer = compiled, compiled.optimizer

    def compile_as(self, other: Model) -> None:
        """Be compiled as another model is, where it is: with its very optimizer, loss and metrics."""
        if other._compiled is not None:
            self._compiled, self.optimizer = other._compiled, other.optimizer

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        **unknown: Any,
    ) -> History:
        """Train on arrays (NHWC), tensors (NCHW) or an iterable of batches (x, y) or (x, y, weights); returns the `History`.

        With several inputs or outputs `x` and `y` are lists, or dicts by the names of their layers. `batch_size` is 32
        for arrays. `verbose`: 0 silent, 1 a bar in a terminal, 2 a line an epoch. `validation_split` takes that share
        from the end of the arrays. `class_weight` maps class numbers to weights, `sample_weight` has one for each
        sample (or place); they weigh the loss and the `weighted_metrics`. `steps_per_epoch` bounds an epoch of an
        endless generator. `validation_freq`: after every so many epochs, or after those listed (from 1). Where
        torch.distributed's process group is there, its processes train together: each takes its rows of every batch.
        """
        refuse_beyond(Model.fit, unknown)
        epochs = whole_number(epochs, "epochs")
        if verbose not in ("auto", 0, 1, 2):
            raise ArgumentError('verbose is "auto", 0, 1 or 2', received=repr(verbose))
        data: tuple[Any, Any, Any] = (x, y, sample_weight)
        self._build_for(x)
        self._require_built("fit")
        ports = ports_of(self)
        held_back = None if validation_data is None else as_triple(validation_data, ports)
        if validation_split:
            if held_back is not None:
                raise ArgumentError("Give validation_split or validation_data, not both")
            data, held_back = split_off(data, validation_split)
        step = self._step("fit", update=True)
        if step.ranks is not None:
            step.ranks.begin_alike(self)
            verbose = verbose if step.ranks.is_first else 0
        batches = as_batches(
            data, ports, batch_size=batch_size, shuffle=shuffle, steps=steps_per_epoch, class_weight=class_weight
        )
        size = validation_batch_size or (batch_size if held_back is not None and held_back[1] is not None else None)
        validate = None if held_back is None else self._measuring("fit", held_back, size, validation_steps)
        history = History()
        bar = EpochProgress(
            epochs, batches.steps, bar=verbose in ("auto", 1) and is_terminal(), tell=say if verbose else silent
        )
        everyone = in_order([*as_callbacks(callbacks), history, bar])
        take = self._deciding(step, batches.steps, epochs, say if verbose else silent)
        take = recovering(take, step, self, say if is_first() else silent)
        if verbose:
            from .measure.shortage import foreseeing

            take = foreseeing(take, self, step.numerics.known, say, step.most_rows)
        training = Training(self, step, batches, everyone, take)
        for callback in everyone:
            callback.set_model(self)
            callback.set_training(training)
            callback.set_params(
                {"epochs": epochs, "steps": batches.steps, "verbose": verbose, "validates": held_back is not None}
            )
        self.stop_training = False
        with bar, freed_memory_kept(), repeatable(), watching(everyone) as saved:
            loop.fit(
                training,
                epochs=epochs,
                first_epoch=initial_epoch,
                validate=_in_epochs(validation_freq, validate),
                should_stop=lambda: self.stop_training,
                saved=saved,
            )
        return history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        return_dict: bool = False,
        **unknown: Any,
    ) -> Any:
        """The loss and metrics on data as `fit` takes it: a list as Keras gives it, or a dict with `return_dict`."""
        refuse_beyond(Model.evaluate, unknown)
        self._build_for(x)
        self._require_built("evaluate")
        logs = self._measuring("evaluate", (x, y, sample_weight), batch_size, steps)()
        if verbose != 0 and is_first():
            say(as_text(logs))
        values = list(logs.values())
        return logs if return_dict else values[0] if len(values) == 1 else values

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: str | int = 0, steps: int | None = None, **unknown: Any
    ) -> Any:
        """What the network answers, as a NumPy array (NHWC where it has places). `x` as `fit` takes it.

        With several outputs, a list of arrays, or a dict where the model's outputs are one.
        """
        refuse_beyond(Model.predict, unknown)
        self._build_for(x)
        self._require_built("predict")
        batches = as_batches((x, None, None), ports_of(self), batch_size=batch_size, steps=steps)
        said = loop.predict(self, batches)
        if isinstance(said, dict):
            return {name: _as_array(part) for name, part in said.items()}
        return [_as_array(part) for part in said] if isinstance(said, list) else _as_array(said)

    def _measuring(
        self, what: str, data: tuple[Any, Any, Any], batch_size: int | None, steps: int | None
    ) -> Callable[[], dict[str, Any]]:
        """What finds the loss and metrics on data, when it is called."""
        batches = as_batches(data, ports_of(self), batch_size=batch_size, steps=steps)
        return partial(loop.evaluate, self, self._step(what), batches)

    def _build_for(self, x: Any) -> None:
        """Give a network that does not know its input yet the shape of the data; only Sequential has such."""

    def _require_built(self, what: str) -> None:
        if not self.built:
            raise SightlineError(
                f"{self.name} does not know its input's shape yet, which {what} needs",
                fix="Give the first layer input_shape=(height, width, channels), or begin with sl.Input",
            )

    def _deciding(self, step: Step, steps: int | None, epochs: int, tell: Callable[[str], None]) -> Take:
        """The step's update, in the precision that is asked for, known, or found out where that pays."""
        compiled = self._compiled
        assert compiled is not None
        short = steps is not None and steps * epochs < WORTH_MEASURING
        step.numerics = Numerics("float32" if short and compiled.precision == AUTO else compiled.precision)

        def decided(choice: Choice) -> None:
            compiled.decided(choice)
            if choice.trials:
                tell(str(choice))

        return measuring(step, self, decided)

    @property
    def numerics_choice(self) -> Choice | None:
        """Which precision `fit` has taken with `precision="auto"`, and the trials that say why; None where none was needed."""
        return None if self._compiled is None else self._compiled.choice

    def _step(self, what: str, *, update: bool = False) -> Step:
        """The step of `fit` (which updates the weights) or of `evaluate` (whose metrics have seen nothing)."""
        compiled = self._compiled
        if compiled is None or compiled.loss is None:
            state = "is not compiled" if compiled is None else "was compiled without a loss"
            raise SightlineError(f"{self.name} {state}, which {what} needs", fix="Call model.compile(optimizer, loss)")
        if update and not any(p.requires_grad for p in self.parameters()):
            raise SightlineError(f"{self.name} has no weights to train", fix="Set trainable = True on some layer")
        outputs = ports_of(self).outputs
        if not update:
            return Step(self, compiled.goals(outputs, fresh=True))
        if not self.optimizer.is_bound_to(self.parameters()):
            self.optimizer.bind(self.parameters())
        return Step(self, compiled.goals(outputs), self.optimizer)

    # --- files -------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, **unknown: Any) -> Path:
        """Write the model to a path that ends in .sightline, .keras, .h5 or .hdf5; returns it.

        A .sightline file holds the graph, the weights, how the model was compiled, and `metadata`. The others are files
        of Keras's, which Keras opens: they hold the optimizer's state too, and no metadata. Raises ModelFileError,
        naming it, for a layer that the file cannot hold.
        """
        refuse_beyond(Model.save, unknown)
        self._require_built("save")
        path = Path(path)
        compiled = self._compiled
        if path.suffix not in (SUFFIX, *KERAS_SUFFIXES) or path.is_dir():
            kinds = f"a file that ends in {SUFFIX}, {' or '.join(KERAS_SUFFIXES)}"
            raise ArgumentError("A model cannot be saved under this path", expected=kinds, received=str(path))
        if path.suffix in KERAS_SUFFIXES:
            from . import keras_files

            return keras_files.write_model(self, path, None if compiled is None else compiled.parts())
        training = compiled.describe() if compiled is not None else None
        if compiled is not None and training is None:
            warnings.warn(
                f"{path} does not hold how {self.name} was compiled: its loss or a metric is your own code",
                stacklevel=2,
            )
        extra = {"sightline": __version__, "training": training, "metadata": self.metadata}
        io.write(self, path, extra, FILE_LAYERS)
        return path

    def save_weights(self, filepath: str | Path) -> Path:
        """Write the weights alone as Keras does, to a path that ends in .weights.h5; returns it."""
        from . import keras_files

        self._require_built("save_weights")
        return keras_files.write_weights(self, filepath)

    def load_weights(self, filepath: str | Path, **unknown: Any) -> None:
        """Take over the weights in a file of a network of the same layers: .weights.h5, .h5, .keras or .sightline.

        All are checked before any is changed. Raises ModelFileError or ShapeError that names what does not fit.
        """
        from . import keras_files

        refuse_beyond(Model.load_weights, unknown)
        self._require_built("load_weights")
        path = Path(filepath)
        if path.suffix.lower() in KERAS_SUFFIXES or keras_files.kind_of_file(path) is not None:
            keras_files.read_weights(self, path)
        else:
            self.set_weights(load_model(path).get_weights())

    @property
    def metadata(self) -> dict[str, Any]:
        """What travels in the model file beside the network: task, class names, preprocessing."""
        return self.__dict__.setdefault("_metadata", {})


class Sequential(Model):
    """Layers in a row: `Sequential([...])` or `.add(layer)`.

    The input's shape comes from an `Input`, from the first layer's `input_shape`, or from the first data it sees.
    """

    default_name = "sequential"

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None):
        self._begin(name)
        self._waiting: list[Any] = []  # layers that came before the input's shape
        if layers is not None and not isinstance(layers, (list, tuple)):
            raise ArgumentError("A Sequential takes a list of layers", received=repr(layers))
        self._extend(list(layers or ()))

    @classmethod
    def from_values(cls, inputs: Any, outputs: Any, name: str | None = None) -> Any:
        """A Sequential where the values are a row of layers, a Model otherwise."""
        given = [inputs] if isinstance(inputs, Value) else list(inputs)
        row = linear_chain(given, outputs)
        return Model(inputs, outputs, name) if row is None else cls([given[0], *row], name)

    def add(self, layer: Any) -> None:
        """Put a layer, or a model, behind the others."""
        self._extend([layer])

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape, `(None, height, width, channels)`."""
        if not self.built:
            self._extend([Input(checked_shape(tuple(input_shape)[1:], "Sequential.build"))])

    def _extend(self, items: list[Any]) -> None:
        source, value = (self.inputs[0], self.outputs[0]) if self.built else (None, None)
        waiting = list(self._waiting)
        for item in items:
            if isinstance(item, (InputLayer, Value)):
                if value is not None:
                    raise ArgumentError(f"{self.name} has its input already", received=repr(item))
                source = value = item.value() if isinstance(item, InputLayer) else item
            elif not isinstance(item, (Layer, Network)):
                fix = "Wrap a torch module: layers.Torch(module)" if isinstance(item, nn.Module) else None
                raise ArgumentError("A Sequential holds layers", received=repr(item), fix=fix)
            else:
                if value is None and not waiting and (shape := _shape_given_by(item)) is not None:
                    source = value = Input(shape)
                waiting.append(item)
            while value is not None and waiting:
                value = waiting.pop(0)(value)
        if value is not None:
            self._set_graph([source], value, with_input_layers=False)
        self._waiting = waiting

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.built and args:
            self._build_for(args[0])
        return super().__call__(*args, **kwargs)

    def _build_for(self, x: Any) -> None:
        if isinstance(x, Value):
            self.build(x.shape)
        elif isinstance(x, torch.Tensor):
            self.build((None, *person_shape(x.shape[1:])))
        elif isinstance(x, np.ndarray):
            self.build((None, *x.shape[1:]))


def _shape_given_by(layer: Any) -> tuple[int, ...] | None:
    if isinstance(layer, Network):
        return layer.input_shape[1:] if layer.built else None
    return layer.input_shape


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    """NHWC; NumPy has no bfloat16."""
    return to_channels_last(tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _in_epochs(
    frequency: int | Sequence[int], validate: Callable[[], Any] | None
) -> Callable[[int], Callable[[], Any] | None]:
    """What validates after an epoch (counted from 0) that `validation_freq` names; None after another."""
    every = isinstance(frequency, int) and not isinstance(frequency, bool)
    if (not every and not isinstance(frequency, Sequence)) or (every and frequency < 1):  # type: ignore[operator]
        raise ArgumentError("validation_freq is a positive whole number, or a list of epochs", received=repr(frequency))

    def asked_for(epoch: int) -> bool:
        return (epoch + 1) % frequency == 0 if every else epoch + 1 in frequency  # type: ignore[operator]

    return lambda epoch: validate if validate is not None and asked_for(epoch) else None


def load_model(
    filepath: str | Path, compile: bool = True, input_shape: Sequence[Any] | None = None, **unknown: Any
) -> Model:
    """The model in a file: ready to predict, to evaluate and to train on. Runs no code from the file.

    A file of `save`, or of Keras: .keras, or .h5 of Keras 3 and 2. With `compile` the model is compiled as it was when
    it was saved, where the file says how. `input_shape` is (height, width, channels) for a
    Keras model whose input has no fixed size. Raises ModelFileError for a file that is missing, damaged, or holds what
    Sightline has not.
    """
    refuse_beyond(load_model, unknown)
    path = Path(filepath)
    networks: dict[str, type[Network]] = {"Model": Model, "Sequential": Sequential, "Recomputed": Recomputed}
    if path.suffix.lower() != SUFFIX:
        from . import keras_files

        if path.suffix.lower() in KERAS_SUFFIXES or keras_files.kind_of_file(path) is not None:
            network, compiled = keras_files.read_model(path, networks, input_shape)
            assert isinstance(network, Model)
            if compiled is not None and compile:
                network.compile(**compiled)
            return network
    if input_shape is not None:
        raise ArgumentError(f"{path} holds its input's shape", received=f"input_shape={input_shape}")
    network, description = io.read(path, FILE_LAYERS, networks, {"timm": _made_by_timm})
    assert isinstance(network, Model)
    try:
        network.metadata.update(description["metadata"])
        if description["training"] is not None and compile:
            network.compile(**Compiled.arguments(description["training"]))
    except (KeyError, TypeError, ValueError, SightlineError) as error:
        raise ModelFileError(f"{path} is damaged: what stands beside its network cannot be used ({error})") from error
    network.eval()
    return network


def _made_by_timm(arguments: Any) -> Network:
    """A backbone of timm's that a model file describes."""
    from .architectures.timm_models import backbone_from

    return backbone_from(arguments)


load = load_model


def save_model(model: Model, filepath: str | Path) -> Path:
    """`model.save(filepath)`."""
    return model.save(filepath)


def __getattr__(name: str) -> Any:
    raise missing("models", name, own(globals()))

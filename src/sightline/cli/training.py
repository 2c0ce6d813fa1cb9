"""The commands that train: demo, train, tune, lr. The options are, by their names, the keywords of the function that does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..console import say
from ..errors import ArgumentError
from .options import (
    Allow,
    AllRuns,
    Augment,
    BackboneLr,
    BatchSize,
    BoxLoss,
    Cache,
    Classes,
    ClassWeights,
    ColorMode,
    Config,
    Data,
    Device,
    DropoutRate,
    FitMemory,
    Format,
    Freeze,
    GroupPattern,
    Head,
    ImageSize,
    Json,
    LabelSmoothing,
    Network,
    NetworkArguments,
    OptimizerName,
    PixelLoss,
    Precision,
    Recipe,
    Resize,
    Seed,
    TaskName,
    TrainingTile,
    Unfreeze,
    WeightDecay,
    Weights,
    Workers,
)
from .output import is_first, print_json


def demo(
    task: Annotated[str, typer.Option(help="classify, localize, detect or segment.")] = "classify",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images [20, 14, 6 and 3].")] = None,
    runs: Annotated[str, typer.Option(help="The folder of all runs.")] = "runs",
) -> None:
    """Train on real handwritten digits and write a report.

    The whole path in a minute (up to five on scenes), on the 1,797 digits that scikit-learn ships: each alone, or on textured grounds.
    """
    settings = dict(locals())  # what was given, before anything else has a name here
    from ..runs.demo import demo as run_demo

    _until_interrupted(run_demo, **settings)


def train(
    data: Data = None,
    config: Config = None,
    task: TaskName = None,
    model: Network = None,
    network: NetworkArguments = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images [10].")] = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    color_mode: ColorMode = None,
    resize: Resize = None,
    augment: Augment = None,
    format: Format = None,
    group_pattern: GroupPattern = None,
    classes: Classes = None,
    allow: Allow = None,
    cache: Cache = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, the largest of the schedule [0.001].")] = None,
    optimizer: OptimizerName = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="cosine, linear, step, exponential, one-cycle, constant or plateau [cosine].", metavar="NAME"
        ),
    ] = None,
    warmup: Annotated[float | None, typer.Option(help="Epochs in which the rate first rises from 0 [0].")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Measure and keep moving averages of the weights, with this momentum [none].")
    ] = None,
    clip: Annotated[float | None, typer.Option(help="The most that the gradients' norm may be [any].")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better validation [never].")
    ] = None,
    time_budget: Annotated[float | None, typer.Option(help="Minutes after which the training stops [none].")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="Write TensorBoard's logs too.")] = None,
    weights: Weights = None,
    freeze: Freeze = None,
    unfreeze: Unfreeze = None,
    backbone_lr: BackboneLr = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    dropout: DropoutRate = None,
    box_loss: BoxLoss = None,
    head: Head = None,
    pixel_loss: PixelLoss = None,
    class_weights: ClassWeights = None,
    tile: TrainingTile = None,
    recipe: Recipe = None,
    precision: Precision = None,
    fit_memory: FitMemory = None,
    device: Device = None,
    workers: Workers = None,
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder [DATA-MODEL].")] = None,
    runs: AllRuns = None,
    exist_ok: Annotated[bool | None, typer.Option("--exist-ok", help="Replace a run of this name.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder; --epochs may be raised.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validate: so many trainings, each measured on another part of the images [none]."),
    ] = None,
) -> None:
    """Train a network on a folder of images.

    It is measured on images that it never saw, and the run is written with a report. Ctrl-C saves it, and --resume goes on.
    """
    settings = dict(locals())  # what was given, before anything else has a name here
    from ..runs import cross_validate
    from ..runs import train as run_train
    from ..runs.cross_validation import is_cross_validation

    if folds is None:
        del settings["folds"]
    validates = folds is not None or (resume is not None and is_cross_validation(resume))
    _until_interrupted(cross_validate if validates else run_train, **settings)


def tune(
    data: Data = None,
    config: Config = None,
    trials: Annotated[int | None, typer.Option(help="Trials after which the search ends [by time].")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which it ends [10, without --trials].")] = None,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.")] = 3,
    space: Annotated[
        str | None, typer.Option(help="FILE.py:FUNCTION of an Optuna trial that returns settings [the task's].")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="URL of a database server, for several machines [SQLite in the folder].")
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes that share this machine's cores.")] = 1,
    task: TaskName = None,
    model: Network = None,
    network: NetworkArguments = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images of a trial [10].")] = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    color_mode: ColorMode = None,
    resize: Resize = None,
    augment: Augment = None,
    format: Format = None,
    group_pattern: GroupPattern = None,
    classes: Classes = None,
    allow: Allow = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, which is then not searched.")] = None,
    optimizer: OptimizerName = None,
    weights: Weights = None,
    freeze: Freeze = None,
    unfreeze: Unfreeze = None,
    backbone_lr: BackboneLr = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    dropout: DropoutRate = None,
    box_loss: BoxLoss = None,
    recipe: Recipe = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without a better validation [no end].")] = None,
    precision: Precision = None,
    device: Device = None,
    workers: Workers = None,
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the search's folder [DATA-MODEL-tuned].")] = None,
    runs: AllRuns = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the search in this folder, or help another process with it.")
    ] = None,
) -> None:
    """Search for the settings that are best in cross-validation.

    What is given is not searched. The best settings and the default ones are measured on images that no trial saw.
    """
    settings = dict(locals())  # what was given, before anything else has a name here
    from ..tuning import tune as run_tune

    _until_interrupted(run_tune, **settings)


def lr(
    data: Data = None,
    config: Config = None,
    task: TaskName = None,
    model: Network = None,
    network: NetworkArguments = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    color_mode: ColorMode = None,
    resize: Resize = None,
    augment: Augment = None,
    format: Format = None,
    group_pattern: GroupPattern = None,
    classes: Classes = None,
    allow: Allow = None,
    cache: Cache = None,
    precision: Precision = None,
    device: Device = None,
    workers: Workers = None,
    seed: Seed = None,
    weights: Weights = None,
    freeze: Freeze = None,
    unfreeze: Unfreeze = None,
    backbone_lr: BackboneLr = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    dropout: DropoutRate = None,
    box_loss: BoxLoss = None,
    head: Head = None,
    pixel_loss: PixelLoss = None,
    class_weights: ClassWeights = None,
    tile: TrainingTile = None,
    recipe: Recipe = None,
    optimizer: OptimizerName = None,
    start: Annotated[float, typer.Option(help="The first rate of the sweep.")] = 1e-7,
    end: Annotated[float, typer.Option(help="The last rate, if the loss does not diverge before.")] = 10.0,
    steps: Annotated[
        int | None, typer.Option(min=10, help="Rates tried, one a batch [200, of at most 50 passes over the data].")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw loss against rate into this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Find a learning rate: train for a moment at rates that grow, and see where the loss falls.

    Takes what `train` takes for data, network and batches; what it finds is for --lr there.
    """
    settings = dict(locals())  # what was given, before anything else has a name here
    del settings["plot"], settings["as_json"]
    from ..console import silent
    from ..runs.finding_rate import find_learning_rate

    if plot is not None and (plot.suffix.lower() != ".png" or not plot.parent.is_dir()):
        raise ArgumentError(
            f"The plot cannot be written to {plot}", expected="a file that ends in .png, in a folder that exists"
        )
    found = find_learning_rate(**settings, tell=silent if as_json else say)
    if not is_first():
        return
    if as_json:
        print_json(found.as_dict())
    else:
        say(str(found))
        say(f"Train with it: --lr {found.suggestion:.2g}")
    if plot is not None:
        found.draw(plot)
        if not as_json:
            say(f"Plot {plot}")


def _until_interrupted(work: Callable[..., Any], **settings: Any) -> None:
    """Work that a signal may end after it was saved: the exit code is then the signal's."""
    from ..training.interruption import Interrupted

    try:
        work(**settings)
    except Interrupted as interrupted:
        raise typer.Exit(interrupted.exit_code) from None

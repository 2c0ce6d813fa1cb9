"""The command line: each command reads its words, calls one public function, and shows what it returns.

torch is loaded inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import complain, printable, say
from .errors import ArgumentError, SightlineError
from .version import __version__

if TYPE_CHECKING:
    from .structures import Problem

app = typer.Typer(
    name="sightline", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Train, measure and explain convolutional networks on folders of images.",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
Format = Annotated[
    str | None, typer.Option(help="class-folders, csv, coco, voc, yolo or masks [recognised].", show_default=False)
]
GroupPattern = Annotated[
    str | None, typer.Option(help="A regular expression: what it matches in a path is a group, which no split parts.")
]
Augment = Annotated[
    list[str] | None,
    typer.Option(help="none, light or strong; again as name=value for what differs, such as rotate=20 [none]."),
]
Cache = Annotated[
    bool | None,
    typer.Option("--cache/--no-cache", help="Keep decoded images for later epochs and runs [yes].", show_default=False),
]

Data = Annotated[Path | None, typer.Argument(help="A folder of labelled images, or a CSV file.")]
Config = Annotated[Path | None, typer.Option(help="A YAML file of these settings; flags win.")]
TaskName = Annotated[str | None, typer.Option(help="classify, localize, detect or segment [classify].")]
Network = Annotated[str | None, typer.Option(help="A name (see `sightline models`) or file.py:function.")]
NetworkArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--network", help="name=value: an argument of the network, such as filters=16; repeat for more [its own]."
    ),
]
BatchSize = Annotated[int | None, typer.Option(help="Images in one step [32].")]
ImageSize = Annotated[int | None, typer.Option(help="Pixels a side [the model's].")]
ColorMode = Annotated[str | None, typer.Option(help="rgb or grayscale [the model's].")]
Resize = Annotated[str | None, typer.Option(help="squash, crop (the middle) or letterbox [squash].")]
Classes = Annotated[
    list[str] | None, typer.Option("--classes", help="Only boxes of this class; repeat for more [all].")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="A kind of error to go on with, as `sightline check` names it; repeat for more."),
]
Precision = Annotated[
    str | None, typer.Option(help="float32, bfloat16, float16, or auto: the fastest that agrees [auto].")
]
FitMemory = Annotated[
    str | None,
    typer.Option(
        help="Where memory will not suffice on a CPU: refuse, auto (batches in parts, 16 bits, parts of the network computed "
        "again: the cheapest that fits), or off [refuse]."
    ),
]
Weights = Annotated[
    str | None, typer.Option(help="imagenet, or a file: .safetensors, .pth, .sightline, .keras or .h5 [new ones].")
]
Freeze = Annotated[
    str | None, typer.Option(help="backbone: train the head alone, on features that are computed once [nothing].")
]
Unfreeze = Annotated[
    str | None, typer.Option(help="last-stage or all: what of the backbone trains on after the head, slowly [nothing].")
]
BackboneLr = Annotated[
    float | None, typer.Option(help="The share of the learning rate for an unfrozen backbone [0.1].")
]
OptimizerName = Annotated[str | None, typer.Option("--optimizer", help="adam, sgd (with momentum) or rmsprop [adam].")]
WeightDecay = Annotated[
    float | None, typer.Option(help="What a kernel loses in a step, times the learning rate [none].")
]
LabelSmoothing = Annotated[float | None, typer.Option(help="The share of each label spread over all classes [0].")]
DropoutRate = Annotated[float | None, typer.Option(help="Dropout before the last layer [the network's own].")]
Recipe = Annotated[
    str | None,
    typer.Option(help="plain, or small-data: what keeps a few hundred images from being learnt by heart [plain]."),
]
Head = Annotated[
    str | None,
    typer.Option(
        help="What makes a segmentation of a backbone: unet, fcn32s, fcn16s, fcn8s or deeplabv3 [unet].", metavar="NAME"
    ),
]
PixelLoss = Annotated[
    str | None,
    typer.Option(
        help="How far pixels are off: cross-entropy, dice, focal or cross-entropy+dice [cross-entropy].", metavar="NAME"
    ),
]
ClassWeights = Annotated[
    str | None, typer.Option(help="What makes rare classes of pixels count more: none, inverse or median [none].")
]
TrainingTile = Annotated[
    int | None,
    typer.Option(
        "--tile",
        help="Learn from, and later look at, squares of so many pixels of larger pictures too, for small objects; for detect [none].",
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=16, help="Look at squares of so many pixels too, for small objects [those of the training, or none]."
    ),
]
BoxLoss = Annotated[
    str | None, typer.Option(help="How far a located box is off: mse, huber or giou [mse].", metavar="NAME")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda ... [auto].")]
Workers = Annotated[int | None, typer.Option(help="Threads that decode images [all cores].")]
Seed = Annotated[int | None, typer.Option(help="Seed of splits, weights and order [0].")]


@app.callback(invoke_without_command=True)
def _common(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(__version__)
        raise typer.Exit


@app.command()
def demo(
    task: Annotated[str, typer.Option(help="classify, localize, detect or segment.")] = "classify",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images [20, 14, 6 and 4].")] = None,
    runs: Annotated[str, typer.Option(help="The folder of all runs.")] = "runs",
) -> None:
    """Train on real handwritten digits and write a report.

    The whole path in a minute (up to five on scenes), on the 1,797 digits that scikit-learn ships: each alone, or on textured grounds.
    """
    from .runs.demo import demo as run_demo

    _until_interrupted(run_demo, task=task, epochs=epochs, runs=runs)


@app.command()
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
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's logs too.")] = False,
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
    runs: Annotated[str | None, typer.Option(help="The folder of all runs [runs].")] = None,
    exist_ok: Annotated[bool, typer.Option("--exist-ok", help="Replace a run of this name.")] = False,
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
    from .runs import cross_validate
    from .runs import train as run_train
    from .runs.cross_validation import is_cross_validation

    validates = folds is not None or (resume is not None and is_cross_validation(resume))
    _until_interrupted(
        cross_validate if validates else run_train,
        data, **({} if folds is None else {"folds": folds}), resume=resume, config=config, task=task, model=model, network=network, epochs=epochs, batch_size=batch_size, image_size=image_size,
        color_mode=color_mode, resize=resize, augment=augment, format=format, group_pattern=group_pattern, classes=classes, allow=allow,
        cache=cache, lr=lr, optimizer=optimizer, schedule=schedule, warmup=warmup, ema=ema, clip=clip, patience=patience,
        time_budget=time_budget, tensorboard=tensorboard or None, precision=precision, fit_memory=fit_memory,
        device=device, workers=workers, seed=seed, name=name, runs=runs, exist_ok=exist_ok or None, weights=weights, freeze=freeze, unfreeze=unfreeze,
        backbone_lr=backbone_lr, weight_decay=weight_decay, label_smoothing=label_smoothing, dropout=dropout, box_loss=box_loss, head=head,
        pixel_loss=pixel_loss, class_weights=class_weights, tile=tile, recipe=recipe,
    )  # fmt: skip


@app.command()
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
    runs: Annotated[str | None, typer.Option(help="The folder of all runs [runs].")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the search in this folder, or help another process with it.")
    ] = None,
) -> None:
    """Search for the settings that are best in cross-validation.

    What is given is not searched. The best settings and the default ones are measured on images that no trial saw.
    """
    from .tuning import tune as run_tune

    _until_interrupted(
        run_tune,
        data, config=config, trials=trials, minutes=minutes, folds=folds, space=space, storage=storage, processes=processes,
        task=task, model=model, network=network, epochs=epochs, batch_size=batch_size, image_size=image_size, color_mode=color_mode,
        resize=resize, augment=augment, format=format, group_pattern=group_pattern, classes=classes, allow=allow, lr=lr,
        optimizer=optimizer, weights=weights, freeze=freeze, unfreeze=unfreeze, backbone_lr=backbone_lr,
        weight_decay=weight_decay, label_smoothing=label_smoothing, dropout=dropout, box_loss=box_loss, recipe=recipe,
        patience=patience, precision=precision, device=device, workers=workers, seed=seed, name=name, runs=runs, resume=resume,
    )  # fmt: skip


@app.command()
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
    steps: Annotated[int, typer.Option(min=10, help="Rates tried, one a batch.")] = 200,
    plot: Annotated[Path | None, typer.Option(help="Draw loss against rate into this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Find a learning rate: train for a moment at rates that grow, and see where the loss falls.

    Takes what `train` takes for data, network and batches; what it finds is for --lr there.
    """
    from .console import silent
    from .runs.finding_rate import find_learning_rate

    if plot is not None and (plot.suffix.lower() != ".png" or not plot.parent.is_dir()):
        raise ArgumentError(
            f"The plot cannot be written to {plot}", expected="a file that ends in .png, in a folder that exists"
        )
    found = find_learning_rate(
        data, config=config, start=start, end=end, steps=steps, tell=silent if as_json else say, task=task, model=model, network=network,
        batch_size=batch_size, image_size=image_size, color_mode=color_mode, resize=resize, augment=augment,
        format=format, group_pattern=group_pattern, classes=classes, allow=allow, cache=cache, precision=precision, device=device,
        workers=workers, seed=seed, weights=weights, freeze=freeze, unfreeze=unfreeze, backbone_lr=backbone_lr,
        weight_decay=weight_decay, label_smoothing=label_smoothing, dropout=dropout, box_loss=box_loss, head=head,
        pixel_loss=pixel_loss, class_weights=class_weights, tile=tile, recipe=recipe, optimizer=optimizer,
    )  # fmt: skip
    if not _is_first():
        return
    if as_json:
        _print_json(found.as_dict())
    else:
        say(str(found))
        say(f"Train with it: --lr {found.suggestion:.2g}")
    if plot is not None:
        found.draw(plot)
        if not as_json:
            say(f"Plot {plot}")


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="A folder of labelled images, or a CSV, COCO or data.yaml file.")],
    task: Annotated[str | None, typer.Option(help="classify, localize, detect or segment [the format's].")] = None,
    format: Format = None,
    classes: Classes = None,
    group_pattern: GroupPattern = None,
    preview: Annotated[
        Path | None, typer.Option(help="Draw samples, as they are and augmented, into this PNG file.")
    ] = None,
    augment: Augment = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read images [all cores].")] = None,
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Look at every file of a data set and say what is wrong with it, before it is trusted.

    Exit code 2 when there are errors: a training would stop at them.
    """
    from .data.recipes import from_words, recipe
    from .data.survey import check as run_check
    from .data.tables import as_table, in_one_line

    checked = run_check(
        data, task, format, classes=classes, group_pattern=group_pattern, workers=workers, use_cache=cache is not False
    )
    changes = recipe(checked.dataset.task, from_words(augment or ["light"]))
    if preview is not None:
        from .data.contact_sheet import preview as draw

        draw(checked.dataset, preview, changes)
    if as_json:
        _print_json(checked.as_dict())
    else:
        say(in_one_line(checked))
        if checked.findings:
            say(as_table(checked))
        if preview is not None:
            say(f"Preview {preview}")
    if checked.errors:
        raise typer.Exit(2)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or its model file.")],
    data: Annotated[
        Path | None, typer.Argument(help="Labelled images [what the run held back], or a second run.")
    ] = None,
    on: Annotated[Path | None, typer.Argument(help="Labelled images for two runs [what both held back].")] = None,
    format: Format = None,
    tile: Tile = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a run on a folder of images, or compare two runs: evaluate RUN [DATA], evaluate RUN RUN [DATA].

    On its test split, or all of it where it has no splits; without a folder, on what the training held back. Of two runs
    it says by how much one is better on the same images, and whether that may be chance.
    """
    from .runs import Run

    if data is not None and (is_run(data) or on is not None):
        comparison = Run(run, device or "auto").compare(Run(data, device or "auto"), on, format=format, tile=tile)
        _print_json(comparison.as_dict()) if as_json else say(str(comparison))
        _tell(list(comparison.problems))
        return
    reader = Run(run, device or "auto")
    measures, problems = reader.evaluate(data, format=format, tile=tile)
    if as_json:
        _print_json(measures.as_dict() | {"unreadable": _as_rows(problems)})
        return
    for headline in measures.headlines:
        say(f"{measures.split.capitalize()} {headline}, n = {measures.n}")
    for remark in reader.task.remarks(measures):
        say(remark)
    _tell(problems)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or its model file.")],
    files: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    device: Device = None,
    as_json: Json = False,
    top: Annotated[int, typer.Option(min=1, help="How many classes, or objects, to show for each image.")] = 3,
    save: Annotated[Path | None, typer.Option(help="A folder for the pictures with what is found drawn in.")] = None,
    conf: Annotated[
        float | None, typer.Option(min=0, max=1, help="The least score of a detected object [0.25].")
    ] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="The overlap from which two boxes of a class are one [0.6].")
    ] = None,
    max_det: Annotated[int | None, typer.Option(min=1, help="The most objects in an image [100].")] = None,
    nms: Annotated[
        str | None,
        typer.Option(help="hard, or soft: lower the score of a box like a better one [hard].", metavar="NAME"),
    ] = None,
    tile: Tile = None,
) -> None:
    """Say what is on each image, with probabilities, and where.

    Exit code 2 when a file could not be read; the others are answered all the same.
    """
    from .runs import Run
    from .structures import Problem

    problems: list[Problem] = []
    videos = _Videos()

    def answered() -> Iterator[Any]:
        reader = Run(run, device or "auto")
        for said in reader.predictions(files, save=save, tile=tile, conf=conf, iou=iou, max_det=max_det, nms=nms):
            if isinstance(said, Problem):
                problems.append(said)
            elif as_json or not videos.count(said):
                yield said

    if as_json:
        _print_json_list("predictions", (p.as_dict() for p in answered()), lambda: {"unreadable": _as_rows(problems)})
    else:
        table = _prediction_table(answered(), top)
        if table.row_count:
            say(table)
        for line in videos.lines():
            say(line)
    _tell(problems)
    if problems:
        raise typer.Exit(2)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or its model file.")],
    files: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="grad-cam, occlusion, feature-maps, filters, patches, maximization or nearest; repeat for more "
            "[grad-cam, feature-maps and filters]."
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="A layer, as `sightline summary` names it [the last map].")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="The class to explain [what it says].")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the pictures [RUN/explained].")] = None,
    device: Device = None,
) -> None:
    """Draw what a run's network learned, and what it looks at in images.

    Exit code 2 when a file could not be read; the others are explained all the same.
    """
    from .runs import Run
    from .runs.explaining import explain_run

    folder, problems = explain_run(Run(run, device or "auto"), files, what or (), layer, class_name, out)
    _tell(problems)
    say(f"Pictures {folder}")
    if problems:
        raise typer.Exit(2)


@app.command()
def summary(
    model: Annotated[str, typer.Argument(help="A name, file.py:function, a run's folder, or a model file.")],
    classes: Annotated[int | None, typer.Option(help="Classes [the model's].")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side [the model's].")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Multiplications, memory and receptive field of each layer too.")
    ] = False,
) -> None:
    """Print a network's layers, shapes and parameters."""
    from .measure import full_summary
    from .runs.networks import network_for_summary

    network = network_for_summary(model, classes, image_size)
    if full:
        say(full_summary(network))
    else:
        network.summary()


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="A name, file.py:function, a run's folder, or a model file.")],
    batch_size: Annotated[int, typer.Option(help="Images in one step.")] = 32,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side [the model's].")] = None,
    classes: Annotated[int | None, typer.Option(help="Classes [the model's].")] = None,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str | None, typer.Option(help="cpu or cuda [cpu].")] = None,
    limit: Annotated[
        str | None, typer.Option(help='The most that may be taken, such as "8 GiB": what fits, and what helps.')
    ] = None,
    inference: Annotated[bool, typer.Option("--inference", help="Of predictions instead of training.")] = False,
    as_json: Json = False,
) -> None:
    """Say what memory a network will need, before any of it is taken.

    Exit code 2 where it does not fit into --limit.
    """
    import torch

    from .measure.fitting import plan_within
    from .runs.networks import network_for_summary

    is_file = Path(model).exists()
    with nullcontext() if is_file else torch.device("meta"):  # a network that is only made up needs no weights
        network = network_for_summary(model, classes, image_size)
    found = plan_within(network, batch_size, limit, precision=precision, device=device or "cpu", training=not inference)
    if as_json:
        _print_json(found.as_dict())
    else:
        say(found)
    if not found.fits:
        raise typer.Exit(2)


@app.command()
def models() -> None:
    """List the networks that have names."""
    from rich.table import Table

    from .architectures.registry import ARCHITECTURES

    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Image", "Classes", "Parameters", "Weights", "Source"):
        table.add_column(heading, justify="right" if heading in ("Classes", "Parameters") else "left")
    for name, known in sorted(ARCHITECTURES.items()):
        height, width, channels = known.input_shape
        size, count = f"{height}x{width}x{channels}", f"{known.parameters:,}" if known.parameters else ""
        table.add_row(name, size, str(known.classes), count, "imagenet" if known.hub else "", known.source)
    say(table)
    say("And timm:NAME for any network of timm, such as timm:convnext_tiny.")


@app.command()
def convert(
    model: Annotated[Path, typer.Argument(help="The folder of a run, or a model file.")],
    to: Annotated[Path, typer.Argument(help="The model file to write: NAME.sightline, .keras or .h5.")],
    fully_convolutional: Annotated[
        bool, typer.Option("--fully-convolutional", help="Images of any size in, a map of scores out.")
    ] = False,
    stride: Annotated[int, typer.Option(min=1, help="Every so many places of the map alone.")] = 1,
) -> None:
    """Write a network as another one: fully convolutional, or in another file format.

    A fully convolutional network says at each place of its map what the classifier says of the window there.
    """
    from .rewrite import score_map, to_fully_convolutional
    from .runs.networks import network_for_summary

    if not model.exists():
        raise ArgumentError(f"There is no run or model file {model}", fix="Check the path")
    if to.exists():
        raise ArgumentError(f"{to} exists already", fix="Give the name of a new file")
    network = network_for_summary(str(model))
    if fully_convolutional:
        network = to_fully_convolutional(network, stride)
        where = score_map(network)
        say(f"Windows of {where.window[0]}x{where.window[1]} pixels, {where.stride[0]} and {where.stride[1]} apart")
    elif stride != 1:
        raise ArgumentError("--stride thins the map of a fully convolutional network", fix="Add --fully-convolutional")
    say(f"Model {network.save(to)}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write a run's report.html, and its model card card.md, anew."""
    from .runs import Run

    say(f"Report {Run(run, 'cpu').report(say)}")


def is_run(path: Path) -> bool:
    """Whether a path is a run's folder or a model file, not labelled images."""
    return path.suffix.lower() == ".sightline" or (path / "config.yaml").is_file()


class _Videos:
    """How many frames of each video were answered, how fast, and with how many objects."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[str, list[float]] = {}  # frames, objects, seconds

    def count(self, said: Any) -> bool:
        """Whether it is a frame's answer, which is counted."""
        if getattr(said, "frame", None) is None:
            return False
        seen = self._seen.setdefault(str(said.path), [0, 0, 0.0])
        now = time.monotonic()
        seen[0], seen[1], seen[2] = seen[0] + 1, seen[1] + len(said.detections), seen[2] + now - self._began
        self._began = now
        return True

    def lines(self) -> Iterator[str]:
        for path, (frames, objects, seconds) in self._seen.items():
            rate = frames / seconds if seconds else 0
            yield f"{printable(path)}: {frames:.0f} frames, {rate:.1f} a second, {objects:.0f} objects"


def _prediction_table(predictions: Iterable[Any], top: int) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("Image", overflow="fold")
    table.add_column("Class")
    table.add_column("Probability", justify="right")
    table.add_column("Then")
    for prediction in predictions:
        table.add_row(printable(str(prediction.path)), *prediction.row(top))
    return table


def _until_interrupted(work: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Work that a signal may end after it was saved: the exit code is then the signal's."""
    from .training.interruption import Interrupted

    try:
        work(*arguments, **named)
    except Interrupted as interrupted:
        raise typer.Exit(interrupted.exit_code) from None


def _is_first() -> bool:
    """Whether this is the only process, or the first that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def _print_json_list(name: str, items: Iterable[Any], others: Callable[[], dict[str, Any]]) -> None:
    """One object with a list, printed item by item as they come, and what is known only then."""
    items = iter(items)
    first = list(islice(items, 1))  # what goes wrong at once is told alone
    print(f'{{"{name}": [', end="")
    for number, item in enumerate(chain(first, items)):
        print("," if number else "", json.dumps(item, indent=1), sep="\n", end="")
    print("\n]", end="")
    for key, value in others().items():
        print(f",\n{json.dumps(key)}: {json.dumps(value, indent=1)}", end="")
    print("}")


def _as_rows(problems: list[Problem]) -> list[dict[str, str]]:
    return [{"path": str(problem.path), "reason": problem.reason} for problem in problems]


def _tell(problems: list[Problem]) -> None:
    for problem in problems:
        complain(f"left out: {problem}")


def main() -> None:
    """Run the command line: errors of the user's are one sentence and exit code 2."""
    try:
        app()
    except SightlineError as error:
        if not error.is_told:
            complain(f"error: {error}" if _is_first() else f"error in process {os.environ['RANK']}: {error}")
        sys.exit(2)
    except OSError as error:
        complain(f"error: {error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(2)

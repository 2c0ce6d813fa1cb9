"""The options and arguments that several commands take, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
RunOrModel = Annotated[Path, typer.Argument(help="The folder of a run, or its model file.")]
Files = Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")]
AnyNetwork = Annotated[str, typer.Argument(help="A name, file.py:function, a run's folder, or a model file.")]
ClassCount = Annotated[int | None, typer.Option(help="Classes [the model's].")]
ForTask = Annotated[
    str | None,
    typer.Option(help="What train --task makes of it: classify, localize, detect or segment [the bare classifier]."),
]
AllRuns = Annotated[str | None, typer.Option(help="The folder of all runs [runs].")]

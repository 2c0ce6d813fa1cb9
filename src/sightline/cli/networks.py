"""The commands about networks: summary, plan, models, convert."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..console import say
from ..errors import ArgumentError
from .options import AnyNetwork, ClassCount, ForTask, Head, ImageSize, Json
from .output import print_json


def summary(
    model: AnyNetwork,
    classes: ClassCount = None,
    image_size: ImageSize = None,
    task: ForTask = None,
    head: Head = None,
    full: Annotated[
        bool, typer.Option("--full", help="Multiplications, memory and receptive field of each layer too.")
    ] = False,
) -> None:
    """Print a network's layers, shapes and parameters."""
    from ..measure import full_summary
    from ..runs.networks import network_for_summary

    network = network_for_summary(model, classes, image_size, task, head)
    if full:
        say(full_summary(network))
    else:
        network.summary()


def plan(
    model: AnyNetwork,
    batch_size: Annotated[int, typer.Option(help="Images in one step.")] = 32,
    image_size: ImageSize = None,
    classes: ClassCount = None,
    task: ForTask = None,
    head: Head = None,
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

    from ..measure.fitting import plan_within
    from ..runs.networks import network_for_summary

    is_file = Path(model).exists()
    with nullcontext() if is_file else torch.device("meta"):  # a network that is only made up needs no weights
        network = network_for_summary(model, classes, image_size, task, head)
    found = plan_within(network, batch_size, limit, precision=precision, device=device or "cpu", training=not inference)
    if as_json:
        print_json(found.as_dict())
    else:
        say(found)
    if not found.fits:
        raise typer.Exit(2)


def models() -> None:
    """List the networks that have names."""
    from rich.table import Table

    from ..architectures.registry import ARCHITECTURES

    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Image", "Classes", "Parameters", "Weights", "Source"):
        table.add_column(heading, justify="right" if heading in ("Classes", "Parameters") else "left")
    for name, known in sorted(ARCHITECTURES.items()):
        height, width, channels = known.input_shape
        size, count = f"{height}x{width}x{channels}", f"{known.parameters:,}" if known.parameters else ""
        table.add_row(name, size, str(known.classes), count, "imagenet" if known.hub else "", known.source)
    say(table)
    say("And timm:NAME for any network of timm, such as timm:convnext_tiny.")


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
    from ..rewrite import score_map, to_fully_convolutional
    from ..runs.networks import network_for_summary

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

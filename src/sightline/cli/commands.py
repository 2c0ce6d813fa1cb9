"""All commands, in the order in which `sightline --help` lists them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ..console import complain, say
from ..errors import SightlineError
from ..version import __version__
from .data import check
from .networks import convert, models, plan, summary
from .output import is_first
from .runs import evaluate, explain, predict, report
from .training import demo, lr, train, tune

app = typer.Typer(
    name="sightline", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Train, measure and explain convolutional networks on folders of images.",
)  # fmt: skip
for command in (demo, train, tune, lr, check, evaluate, predict, explain, summary, plan, models, convert, report):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _common(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line: errors of the user's are one sentence and exit code 2."""
    try:
        app()
    except SightlineError as error:
        if not error.is_told:
            complain(f"error: {error}" if is_first() else f"error in process {os.environ['RANK']}: {error}")
        sys.exit(2)
    except OSError as error:
        complain(f"error: {error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(2)

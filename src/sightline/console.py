"""What a person sees in the terminal: beautiful there, plain in a pipe. Rich is loaded when something is shown."""

from __future__ import annotations

import functools
import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@functools.cache
def console(*, stderr: bool = False) -> Console:
    """The one console of the standard output (or the standard error): what is printed on it goes above a bar shown there."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def say(text: Any = "") -> None:
    """Print a line (text is taken literally) or a Rich table."""
    if isinstance(text, str) or is_terminal():
        console().print(printable(text), markup=False)
    else:
        print(as_plain_text(text))


def as_plain_text(table: Any) -> str:
    """A Rich table as text, as wide as what it holds, without spaces at the ends of lines."""
    from rich.console import Console

    page = Console(file=io.StringIO(), width=4096, color_system=None, highlight=False, emoji=False)
    with page.capture() as captured:
        page.print(table, markup=False)
    return "\n".join(line.rstrip() for line in captured.get().split("\n")).rstrip()


def complain(text: str) -> None:
    """Print a line to the standard error."""
    console(stderr=True).print(printable(text), markup=False)


def printable(text: Any) -> Any:
    """Text without the half characters that stand for a file name's bytes where they are not UTF-8."""
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


def silent(text: Any = "") -> None:
    """`say` for who does not want to hear."""


def progress_bar(what: str, unit: str = "images") -> Progress:
    """A Rich progress bar that vanishes when it is done, and shows nothing where the output is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    return Progress(
        TextColumn(f"{what} {{task.description}}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=console(),
        transient=True,
        expand=True,  # to the width of the terminal, in which the note alone is cut
        disable=not is_terminal(),
    )


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(3.21), duration(75), duration(3700)
    ('3.2 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"

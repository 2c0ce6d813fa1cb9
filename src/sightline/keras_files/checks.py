"""What a file from elsewhere must be checked for: parts of the right kind, and errors that are sentences."""

from __future__ import annotations

import reprlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ModelFileError, SightlineError

LONGEST = 600  # of what a message quotes: a hostile file may hold a name of megabytes

# What the libraries below may raise on bytes that are not what they seem
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong within becomes a ModelFileError that names the file."""
    try:
        yield
    except ModelFileError as error:
        if error.what.startswith(str(path)):
            raise
        raise ModelFileError(
            f"{path}: {shortened(error.what)}", expected=error.expected, received=error.received, fix=error.fix
        ) from error
    except SightlineError as error:
        raise ModelFileError(f"{path} describes a network that cannot be made: {shortened(str(error))}") from error
    except DAMAGE as error:
        reason = shortened(str(error).split("\n")[0]) or "nothing more is known"
        raise ModelFileError(f"{path} is damaged, or not a file of Keras ({type(error).__name__}: {reason})") from error


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def quoted(value: object) -> str:
    """A value of a file as a message shows it: never long."""
    return reprlib.repr(value)


def mapping(value: Any, what: str) -> dict[str, Any]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    raise ModelFileError(f"{what} is damaged", expected="an object with names", received=quoted(value))


def sequence(value: Any, what: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ModelFileError(f"{what} is damaged", expected="a list", received=quoted(value))


def text(value: Any, what: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise ModelFileError(f"{what} is damaged", expected="a text", received=quoted(value))


def index(value: Any, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ModelFileError(f"{what} is damaged", expected="a whole number of at least 0", received=quoted(value))

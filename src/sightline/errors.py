"""What can go wrong, said so that a person can mend it.

Every error that Sightline raises on purpose is a `SightlineError`: one sentence of what failed and where, then what
was expected, what was received, and how to mend it. The command line prints that and exits with code 2.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping

from .keras_only import ARGUMENTS, HONOURED


class SightlineError(Exception):
    """The base of all errors that are the input's and not the program's. `is_told`: another process tells the person."""

    is_told = False

    def __init__(self, what: str, *, expected: object = None, received: object = None, fix: str | None = None):
        self.what, self.expected, self.received, self.fix = what, expected, received, fix
        parts = [what if what.endswith((".", "?", "!")) else what + "."]
        if expected is not None:
            parts.append(f"Expected: {expected}.")
        if received is not None:
            parts.append(f"Received: {received}.")
        if fix is not None:
            parts.append(fix if fix.endswith((".", "?", "!")) else fix + ".")
        super().__init__(" ".join(parts))

    def __reduce__(self):  # keeps the keywords when an error crosses a process boundary
        return _rebuild, (type(self), self.what, self.expected, self.received, self.fix)


def _rebuild(kind, what, expected, received, fix):
    return kind(what, expected=expected, received=received, fix=fix)


class ArgumentError(SightlineError, ValueError):
    """An argument, option or name that is unknown or out of range."""


class ShapeError(SightlineError, ValueError):
    """A tensor, array or layer whose shape does not fit where it is used."""


class DataError(SightlineError):
    """A folder, file or label that cannot be used."""

    def reason(self, path: object) -> str:
        """What it says of the file at `path`, as a sentence's end: "is truncated"."""
        return self.what.removeprefix(str(path)).strip()


class ModelFileError(SightlineError):
    """A model file that cannot be written or read."""


class RunError(SightlineError):
    """A run folder that is missing, incomplete or in the way."""


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """A hint such as `Did you mean "mnist_cnn"?`, or the list of what there is when nothing is near."""
    known = sorted(known)
    lower = {k.lower(): k for k in reversed(known)}
    names = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=most, cutoff=0.5)]
    if names:
        return "Did you mean " + " or ".join(f'"{n}"' for n in names) + "?"
    return "There is: " + ", ".join(known) + "." if known else "There is none."


def check_name(name: object, what: str) -> None:
    """Raise ArgumentError unless `name` is None or a text that files can hold as a part of a path."""
    if name is not None and (not isinstance(name, str) or not name.isprintable() or not name or "/" in name):
        raise ArgumentError(f"{what}'s name is a printable text without /", received=repr(name))


def whole_number(value: object, what: str, *, least: int = 1) -> int:
    """A whole number of at least `least`, NumPy's too; raises ArgumentError otherwise."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise ArgumentError(f"{what} is a whole number of at least {least}", received=repr(value))
    return number


def choose(what: str, name: object, known: Mapping[str, object] | Iterable[str]) -> str:
    """Return `name` if it is one of `known`, else raise an `ArgumentError` that offers the nearest names."""
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    raise ArgumentError(f"Unknown {what} {name!r}", fix=did_you_mean(str(name), names))


def refuse_unknown(where: str, unknown: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise if `unknown` holds any keyword: nothing that a person asks for is silently ignored.

    What asks for nothing else than Sightline does anyway passes: data_format="channels_last".
    """
    unknown = {
        name: value
        for name, value in unknown.items()
        if not any(type(value) is type(v) and value == v for v in HONOURED.get(name, ()))
    }
    if not unknown:
        return
    known = [k for k in known if k not in ("self", "unknown", "common")]
    name = next(iter(unknown))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f'Did you mean "{near[0]}"?' if near else ""
    if name in ARGUMENTS:
        hint = f"{ARGUMENTS[name]}."
    raise ArgumentError(
        f"{where} does not support the argument {name!r}", fix=f"{hint} It takes: {', '.join(known) or 'none'}.".strip()
    )

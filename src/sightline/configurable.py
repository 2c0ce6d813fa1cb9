"""One convention for everything that a person configures: an attribute for each constructor argument, of its name.

From it follow `get_config` (what a model file stores), equality of what is loaded with what was saved, and the
refusal of arguments that do not exist. Layers, initializers, regularizers, losses, metrics, optimizers, schedules and
callbacks all keep to it, and one may hold another: `as_plain` and `from_plain` are their way into JSON and back.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ArgumentError, choose, refuse_unknown
from .keras_only import hint_for


@functools.cache
def argument_names(kind: type) -> tuple[str, ...]:
    """The named arguments of a class's constructor, its base's `**common` ones included."""
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in names]
        if not any(p.kind is p.VAR_KEYWORD and p.name == "common" for p in parameters):
            break
    return tuple(names)


def refuse_beyond(function: Callable[..., Any], unknown: Mapping[str, object]) -> None:
    """Refuse the keywords that a function took as `**unknown`, by its own name and with the ones that it knows."""
    if unknown:
        refuse_unknown(function.__qualname__, unknown, inspect.signature(function).parameters)


class Configurable:
    """Mixin: constructor arguments are attributes of the same name."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as they are now; `type(self)(**config)` makes an equal object."""
        return {name: getattr(self, name) for name in argument_names(type(self))}  # type: ignore[arg-type]

    def _refuse(self, unknown: Mapping[str, object]) -> None:
        refuse_unknown(type(self).__name__, unknown, argument_names(type(self)))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


def as_plain(value: Any) -> Any:
    """A configuration as JSON has it: a Configurable becomes {"class": its name, "config": its arguments}.

    Raises ArgumentError for a function or class, which no file can hold.
    """
    if isinstance(value, Configurable):
        return {"class": type(value).__name__, "config": as_plain(value.get_config())}
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        raise ArgumentError(f"The function {name} cannot be kept in a file", fix="Give the name of a known one instead")
    if isinstance(value, Mapping):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value  # NumPy's numbers and arrays


def from_plain(value: Any, kinds: Mapping[str, type[Configurable]]) -> Any:
    """The inverse of `as_plain`; makes only what `kinds` holds. Raises ArgumentError with the nearest names otherwise."""
    if isinstance(value, dict) and value.keys() == {"class", "config"}:
        kind = kinds[choose("class", value["class"], kinds)]
        return kind(**from_plain(value["config"], kinds))
    if isinstance(value, dict):
        return {key: from_plain(item, kinds) for key, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item, kinds) for item in value]
    return value


def from_name(what: str, given: Any, known: Mapping[str, type], base: type) -> Any:
    """Turn `"adam"`, `Adam` or `Adam()` into an instance; anything else is refused with the nearest names."""
    if isinstance(given, base):
        return given
    if isinstance(given, type) and issubclass(given, base):
        return given()
    if isinstance(given, str):
        hint = None if given in known else hint_for({"loss": "losses"}.get(what, f"{what}s"), given)
        if hint is not None:
            raise ArgumentError(f"Keras's {what} {given!r} is not here", fix=hint)
        return known[choose(what, given, known)]()
    raise ArgumentError(
        f"Cannot use this as {what}",
        expected=f"a name or a {base.__name__}",
        received=f"{type(given).__name__} {given!r}",
    )

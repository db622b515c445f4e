"""Overrides: ``KEY=VALUE`` texts that replace values of a sweep file, comments kept.

Imports the standard library, `fastbp.sweep.locate`, `random`, `parameters` and, only inside functions, tomlkit.
"""

import tomllib
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastbp.sweep.locate import Outline, Path
from fastbp.sweep.parameters import PARAMETERS, TOP, layer_of, parameter
from fastbp.sweep.random import OPTIONS
from fastbp.sweep.sections import SECTIONS, WEIGHT_KEY
from fastbp.sweep.values import (
    RefusedError,
    nearest,
)

LONG_TEXT = 20_000
LONG_VALUE = 1_000
_SAME_AXIS = {"repeats": "seed", "seed": "repeats"}  # one of the two is enough of seeds


@dataclass(frozen=True)
class Override:
    """One ``KEY=VALUE``.

    Parameters
    ----------
    source : str
        As it was given.
    keys : tuple of str
        The path of the key; ``("grid", NAME)`` stands for an axis in every grid.
    value : object
        As TOML gives it.
    written : str or None
        The value as TOML text, or None for a bare text.
    """

    source: str
    keys: tuple[str, ...]
    value: Any
    written: str | None

    def places(self, raw: Mapping[str, Any]) -> Iterator[Path]:
        """Yield where the value stands in a document that has the override applied."""
        if self.keys[0] != "grid":
            yield self.keys
        elif isinstance(raw.get("grid"), list):
            yield from (("grid", index, self.keys[1]) for index in range(len(raw["grid"])))

    def apply(self, document: MutableMapping[str, Any], value: Any) -> None:
        """Set the key in a parsed document to `value`; a parameter that becomes fixed is no axis any more."""
        grids = document.get("grid", [])
        if self.keys[0] == "grid":
            _unsweep(document, "random", document.get("random"), self.keys[1])
            if not grids:
                document["grid"] = grids = [{}]
                grids = document["grid"]
            for grid in _tables(grids):
                grid.pop(_SAME_AXIS.get(self.keys[1], ""), None)
                grid[self.keys[1]] = value
            return
        if self.keys[0] != "random":
            _unsweep(document, "random", document.get("random"), self.keys[-1])
        if self.keys[0] != "random" or self.keys[1] not in OPTIONS:
            for grid in _tables(grids):
                _unsweep(document, "grid", grid, self.keys[-1])
        table = document
        for key in self.keys[:-1]:
            if key not in table:
                table[key] = {}
            table = table[key]
            if not isinstance(table, MutableMapping):  # the file is wrong there, and says so itself
                return
        table[self.keys[-1]] = value


def _unsweep(document: MutableMapping[str, Any], table: str, axes: Any, fixed: str) -> None:
    """Remove a parameter that becomes fixed from a grid or from [random]; with it what is left without meaning."""
    if not isinstance(axes, MutableMapping):
        return
    for axis in [name for name in axes if table == "grid" or name not in OPTIONS]:
        of_layer = layer_of(axis)
        if fixed in (axis, of_layer and of_layer[0]):
            del axes[axis]
            _unzip(axes, axis)
            if table == "random" and set(axes) <= set(OPTIONS):
                del document["random"]


def _unzip(grid: MutableMapping[str, Any], axis: str) -> None:
    """Remove an axis from the groups of a grid that advance together."""
    groups = grid.get("zip")
    if not isinstance(groups, list):
        return
    nested = groups if any(isinstance(group, list) for group in groups) else [groups]
    kept = [[str(name) for name in group if name != axis] for group in nested if isinstance(group, list)]
    if kept := [group for group in kept if len(group) > 1]:
        grid["zip"] = kept
    else:
        del grid["zip"]


def _tables(grids: Any) -> list[MutableMapping[str, Any]]:
    return [grid for grid in grids if isinstance(grid, MutableMapping)] if isinstance(grids, list) else []


def read_override(source: str) -> Override:
    """Return the override that a ``KEY=VALUE`` text stands for, or raise `RefusedError`."""
    key, equals, written = source.partition("=")
    if not equals:
        raise RefusedError("is no override; write KEY=VALUE, such as learning_rate=0.1")
    keys = _keys(key.strip())
    try:
        document = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        document = {}
    if list(document) == ["value"]:
        return Override(source, keys, document["value"], written.strip())
    return Override(source, keys, written.strip(), None)


def _keys(key: str) -> tuple[str, ...]:
    """Return the path of a key, which is a unique name or dotted."""
    parts = tuple(part.strip() for part in key.split("."))
    places = {name: (section, name) for section, model in SECTIONS.items() for name in model.model_fields}
    if key in TOP:
        return (key,)
    if key in places:
        return places[key]
    if len(parts) == 2 and places.get(parts[1], ("",))[0] == parts[0]:
        return parts
    if len(parts) == 2 and parts[0] == "grid" and parameter(parts[1]) is not None:
        return parts
    if len(parts) == 2 and (parts[0], parts[1]) == ("grid", "repeats"):
        return parts
    if len(parts) == 2 and parts[0] == "random" and (parts[1] in OPTIONS or parameter(parts[1]) is not None):
        return parts
    if len(parts) == 3 and parts[0] == "init" and WEIGHT_KEY.fullmatch(parts[2]):
        return parts
    if parameter(key) is not None:
        raise RefusedError(f"{key} can only be an axis; write grid.{key}=[...]")
    dotted = [".".join(place) for place in places.values()]
    known = [*TOP, *places, *dotted, *(f"grid.{name}" for name in (*PARAMETERS, "repeats"))]
    known += [f"random.{name}" for name in (*OPTIONS, *PARAMETERS)]
    raise RefusedError(f"unknown key{nearest(key, known)}")


def _shortened(text: str) -> tuple[str, dict[str, str]]:
    """Return the text with placeholders for long values, and these: tomlkit is slow on large data."""
    encoded, kept, cut, end = text.encode(), [], {}, 0
    for start, stop in Outline(text).values(longer_than=LONG_VALUE):
        placeholder = f'"{uuid.uuid4()}"'
        cut[placeholder] = encoded[start:stop].decode()
        kept += [encoded[end:start].decode(), placeholder]
        end = stop
    return "".join([*kept, encoded[end:].decode()]), cut


def apply(overrides: list[Override], raw: dict[str, Any], text: str) -> str | None:
    """Apply overrides to the parsed document `raw`, in place, and to its text.

    Returns
    -------
    str or None
        The edited text; None where tomlkit could not edit it to the same effect.
    """
    for override in overrides:
        override.apply(raw, override.value)
    try:
        edited = _edited(overrides, text)
        return edited if tomllib.loads(edited) == raw else None
    except (ValueError, TypeError, RecursionError):  # tomlkit knows less of TOML than tomllib
        return None


def _edited(overrides: list[Override], text: str) -> str:
    """Return the text with the overrides written into it, comments kept."""
    import tomlkit

    shortened, cut = _shortened(text) if len(text) > LONG_TEXT else (text, {})
    document = tomlkit.parse(shortened)
    for override in overrides:
        item = tomlkit.item(override.value) if override.written is None else tomlkit.value(override.written)
        override.apply(document, item)
    edited = tomlkit.dumps(document)
    for placeholder, value in cut.items():
        edited = edited.replace(placeholder, value)
    return edited

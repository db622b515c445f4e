"""The sweep file: TOML to a frozen, validated `Sweep`; every error with its file, line and key.

This page is the public face and imports the others: `draft` (reads the tables), `conflicts` and `fit` (what does
not fit together, `fit` for the data), `problems` (what a person is told), `parameters` and `values` (what each key
accepts), `needs` (conditional parameters), `extent` (how much data there are), `grid` (the axes), `random` (the
points), `json_schema`, `overrides` and `locate`. Beside these the package may import pydantic, NumPy, tomlkit,
tree-sitter and the lists of names in ``fastbp.kernels`` and ``fastbp.datasets``.
"""

import hashlib
import importlib.resources
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import Field, PlainValidator, PrivateAttr, WithJsonSchema
from pydantic.fields import FieldInfo

from fastbp.sweep.conflicts import Draft, Finding, weight_shapes
from fastbp.sweep.draft import base, draft, read
from fastbp.sweep.extent import Extent, Shape
from fastbp.sweep.fit import data_conflicts, losses
from fastbp.sweep.grid import Axis, Grid
from fastbp.sweep.json_schema import grid_schema, random_schema, table_schema
from fastbp.sweep.locate import Outline, Path
from fastbp.sweep.overrides import Override, apply, read_override
from fastbp.sweep.parameters import DATA_PARAMETERS, PARAMETERS, TOP, Parameter, field_schema, parameter
from fastbp.sweep.problems import Origin, Problem, SweepError, key_text, place
from fastbp.sweep.random import OF_SCIPY
from fastbp.sweep.sections import ROW, ROWS, SECTIONS, Data, Network, Record, Section, Training
from fastbp.sweep.values import RefusedError

__all__ = [
    "DATA_PARAMETERS",
    "PARAMETERS",
    "Axis",
    "Data",
    "Extent",
    "Grid",
    "Network",
    "Parameter",
    "Problem",
    "Record",
    "Shape",
    "Sweep",
    "SweepError",
    "Training",
    "dumps",
    "load",
    "loads",
    "parameter",
    "schema",
    "starter",
    "weight_shapes",
]


MOST_PROBLEMS = 100  # told of one file; finding the line of each takes its time

_TEXT = WithJsonSchema({"type": "string"})


class Sweep(Section):
    """A validated sweep file, as `load` and `loads` return it.

    Equal sweeps hold the same values; their texts may differ.
    """

    name: Annotated[str, PlainValidator(TOP["name"]), _TEXT] = Field(
        description="The sweep's name: a plain file name, and the name of its result folder."
    )
    description: Annotated[str, PlainValidator(TOP["description"]), _TEXT] = Field(
        "", description="What the sweep is for."
    )
    network: Network
    init: dict[str, dict[str, Any]]
    data: Data
    training: Training
    record: Record
    grid: tuple[Grid, ...]
    text: str = Field("", repr=False)
    # Where it came from takes no part in what it means: no field.
    _origin: Origin = PrivateAttr(Origin("<string>", "", {}))
    _drawn: dict[str, list[Any]] = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sweep) and all(
            getattr(self, name) == getattr(other, name) for name in type(self).model_fields if name != "text"
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def base(self) -> dict[str, Any]:
        """Return the fixed value of every parameter; None where the file sets none.

        A single ``[init.NAME]`` needs no mention in the file: it is the value of ``init`` here.
        """
        return base({name: getattr(self, name) for name in SECTIONS}, self.init)

    def canonical(self) -> dict[str, Any]:
        """Return what the sweep means as JSON-ready values: how it is written makes no difference."""
        fixed = self.base()
        grids = self.grid or (Grid(axes={}),)
        swept = set.intersection(*(set(grid.axes) for grid in grids))
        inits = {value for grid in grids for value in _taken(grid, "init", fixed)}
        return {
            "name": self.name,
            # A value that every grid replaces is the value of no run.
            "parameters": {name: None if name in swept else value for name, value in fixed.items()},
            "init": {name: self.init[name] for name in sorted(inits & self.init.keys())},
            "data": {"x": self.data.x, "y": self.data.y} | self._named(),
            "record": self.record.model_dump(),
            "grid": [
                {"axes": [[name, axis.values] for name, axis in grid.axes.items()], "together": grid.together}
                for grid in grids
            ],
        }

    def _named(self) -> dict[str, Any]:
        """Return where the data come from, as far as the file says so; never the contents of other files."""
        values = {name: getattr(self.data, name) for name in ("file", "inputs", "targets", "coefficients")}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def path(self) -> str:
        """The file it was loaded from, as it was named, or what stood for it; data files lie relative to it."""
        return self._origin.path

    def problem(self, keys: Path, message: str) -> Problem:
        """Return a problem with the line, or the override, that `keys` lead to, such as ``("data", "file")``."""
        return place([Finding(keys, message)], self._origin)[0]

    def source(self, index: int, name: str, value: Any) -> Path:
        """Return where the grid `index`, or else a section, gives a parameter this value."""
        drafted = self._draft(None)
        found = (item.path for item in drafted.candidates(index, name) if item.value == value)
        return next(found, (PARAMETERS[name].section, name))

    def losses(self) -> frozenset[str]:
        """Return the losses of all runs."""
        return losses(self._draft(None))

    def datasets(self) -> list[tuple[str, Path]]:
        """Return the built-in data sets of all runs, and where each is named."""
        drafted = self._draft(None)
        named = (drafted.candidates(index, "dataset") for index in range(len(drafted.grids)))
        return [(item.value, item.path) for items in named for item in items]

    def check_data(self, extent: Extent) -> None:
        """Hold what [data] and the networks ask for against the data of a file; raise `SweepError`."""
        findings = data_conflicts(self._draft(extent))
        if findings:
            raise SweepError(place(findings[:MOST_PROBLEMS], self._origin))

    def _draft(self, extent: Extent | None) -> Draft:
        sections = {name: getattr(self, name) for name in SECTIONS}
        return draft(sections, self.init, self.grid, self._drawn, extent=extent)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical JSON as hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.canonical(), sort_keys=True).encode()).hexdigest()


def _taken(grid: Grid, name: str, fixed: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values that a parameter takes in a grid."""
    return grid.axes[name].values if name in grid.axes else (fixed[name],)


def load(path: str | FilePath, overrides: Sequence[str] = ()) -> Sweep:
    """Return the sweep of a file.

    Parameters
    ----------
    path : str or Path
        A TOML file in UTF-8.
    overrides : sequence of str
        ``KEY=VALUE`` texts that replace values of the file.

    Raises
    ------
    SweepError
        With every problem of the file and of the overrides.
    """
    try:
        # A byte order mark, as some editors write it, is no part of the TOML.
        text = FilePath(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SweepError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SweepError([Problem(str(path), line, "", "is not UTF-8; save it as UTF-8")]) from error
    return loads(text, str(path), overrides)


def loads(text: str, path: str = "<string>", overrides: Sequence[str] = ()) -> Sweep:
    """Return the sweep of a TOML text; `path` stands for it in messages. See `load`."""
    raw = _parse(text, path)
    changes, problems = _read_overrides(overrides)
    edited = apply(changes, raw, text) if changes else text
    parts = read(raw, FilePath(path).parent)
    origin = Origin(path, text, {keys: change.source for change in changes for keys in change.places(raw)})
    problems += place(parts.findings[:MOST_PROBLEMS], origin)
    if (rest := len(parts.findings) - MOST_PROBLEMS) > 0:
        problems.append(Problem(path, None, "", f"and {rest} more problems; mend these first"))
    if problems:
        raise SweepError(sorted(problems, key=_place_in_the_list))
    sweep = Sweep(**parts.top, **parts.sections, init=parts.init, grid=tuple(parts.grids), text=edited or "")
    sweep._origin, sweep._drawn = origin, parts.drawn
    if edited is None or raw.get("random", {}).get("method") in OF_SCIPY:
        return sweep.model_copy(update={"text": dumps(sweep)})
    return sweep


def _place_in_the_list(problem: Problem) -> float:
    """By line; what has none first, what counts the rest last."""
    return math.inf if problem.message.endswith("mend these first") else problem.line or 0


def _read_overrides(sources: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    overrides, problems = [], []
    for source in sources:
        try:
            source.encode()
            overrides.append(read_override(source))
        except UnicodeEncodeError:
            problems.append(Problem(f"--set {source!r}", None, "", "is not UTF-8; write it as UTF-8"))
        except RefusedError as refusal:
            problems.append(Problem(f"--set {source}", None, "", str(refusal)))
    return overrides, problems


def _parse(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = Problem(path, None, "", "is not TOML that can be read: it is nested too deeply")
    except ValueError as error:
        problem = _syntax_problem(text, path, str(error))
    raise SweepError([problem])


def _syntax_problem(text: str, path: str, message: str) -> Problem:
    """Return what tomllib says, with the line taken out of its message; a key named twice in plain words."""
    again = Outline(text).repeated() if re.search("overwrite|twice", message) else None
    if again is not None:
        return Problem(path, again.line, key_text(again.path), "is named twice; remove one of the two")
    match = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", message)
    line = None if match is None else int(match[1] or text.rstrip().count("\n") + 1)
    return Problem(path, line, "", f"is not TOML: {message[: match.start()] if match else message}")


def dumps(sweep: Sweep) -> str:
    """Return a TOML text that loads to an equal sweep; axes and random points are written out value by value."""
    lines = [f"name = {_toml(sweep.name)}"]
    if sweep.description:
        lines.append(f"description = {_toml(sweep.description)}")
    for name in SECTIONS:
        lines += _table(f"[{name}]", dict(getattr(sweep, name)))
    for name, weights in sweep.init.items():
        lines += _table(f"[init.{_toml(name)}]", weights)
    for grid in sweep.grid:
        groups = {"zip": grid.together or None}
        lines += _table("[[grid]]", groups | {name: axis.values for name, axis in grid.axes.items()})
    return "\n".join(lines) + "\n"


def _table(header: str, entries: Mapping[str, Any]) -> list[str]:
    return [
        "",
        header,
        *(f"{key} = {_toml(value)}" for key, value in entries.items() if value not in (None, ())),
    ]


def _toml(value: Any) -> str:
    if isinstance(value, tuple) and set(map(type, value)) <= {int, float}:
        return f"[{', '.join(map(repr, value))}]"  # an axis may have a million values
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but TOML wants DEL escaped as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def starter() -> str:
    """Return the text of a commented sweep file that runs as it is."""
    return importlib.resources.files("fastbp.sweep").joinpath("starter.toml").read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """Return the JSON schema of the sweep file, with a description for every key."""
    top = {name: _described(field) for name, field in Sweep.model_fields.items() if name in TOP}
    sections = {name: _section_schema(model) for name, model in SECTIONS.items()}
    inline, file = {"required": ["x", "y"]}, {"required": ["file"]}
    # Without either the data are a built-in set, which may be an axis.
    sections["data"]["oneOf"] = [
        inline,
        file,
        {"not": {"anyOf": [{"required": [k]} for k in ("x", "y", "file")]}},
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fastbp sweep file",
        "type": "object",
        "properties": {
            **top,
            **sections,
            "init": _init_schema(),
            "random": random_schema(),
            "grid": grid_schema(),
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def _described(field: FieldInfo) -> dict[str, Any]:
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    default = {} if field.is_required() or value in (None, [], "") else {"default": value}
    return {"description": field.description, **field_schema(field), **default}


def _section_schema(model: type[Section]) -> dict[str, Any]:
    properties = {name: _described(field) for name, field in model.model_fields.items()}
    return table_schema(str(model.__doc__), properties)


def _init_schema() -> dict[str, Any]:
    weights = {"description": "Weights of a layer, a row an input unit, a column an output unit."} | ROWS
    biases = {"description": "Biases of a layer, one an output unit."} | ROW
    patterns = {"^W[1-9][0-9]*$": weights, "^b[1-9][0-9]*$": biases}
    file = {"description": "An .npz file with W1, b1 ... in place of them.", "type": "string"}
    named = table_schema("The weights and biases of a network.", {"file": file}, patterns)
    return {
        "description": "Given initial weights, a table [init.NAME] each.",
        "type": "object",
        # A file holds all weights.
        "additionalProperties": named | {"if": {"required": ["file"]}, "then": {"maxProperties": 1}},
    }

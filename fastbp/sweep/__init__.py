"""The sweep file: TOML to a frozen, validated `Sweep`; every error with its file, line and key.

This page is the public face and imports the others: `draft` (reads the tables), `conflicts` (what does not fit
together), `parameters` and `values` (what each key accepts), `needs` (conditional parameters), `grid` (the axes),
`random` (the points), `json_schema`, `overrides` and `locate`. Beside
these the package may import pydantic, NumPy, tomlkit, tree-sitter and the lists of names in ``fastbp.kernels``.
"""

import hashlib
import importlib.resources
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic.fields import FieldInfo

from fastbp.sweep.conflicts import Finding, weight_shapes
from fastbp.sweep.draft import base, read
from fastbp.sweep.grid import Axis, Grid
from fastbp.sweep.json_schema import grid_schema, random_schema, table_schema
from fastbp.sweep.locate import Outline, Path
from fastbp.sweep.overrides import Override, apply, read_override
from fastbp.sweep.parameters import (
    PARAMETERS,
    ROW,
    ROWS,
    SECTIONS,
    TOP,
    Data,
    Network,
    Parameter,
    Record,
    Section,
    Training,
    field_schema,
    parameter,
)
from fastbp.sweep.random import OF_SCIPY
from fastbp.sweep.values import (
    RefusedError,
    quoted,
)

__all__ = [
    "PARAMETERS",
    "Axis",
    "Data",
    "Grid",
    "Network",
    "Parameter",
    "Problem",
    "Record",
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
            "init": {name: self.init[name] for name in sorted(inits)},
            "data": {"x": self.data.x, "y": self.data.y},
            "record": self.record.model_dump(),
            "grid": [
                {"axes": [[name, axis.values] for name, axis in grid.axes.items()], "together": grid.together}
                for grid in grids
            ],
        }

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical JSON as hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.canonical(), sort_keys=True).encode()).hexdigest()


def _taken(grid: Grid, name: str, fixed: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values that a parameter takes in a grid."""
    return grid.axes[name].values if name in grid.axes else (fixed[name],)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a sweep file or an override.

    Parameters
    ----------
    path : str
        The file, or ``--set KEY=VALUE`` where an override is the cause.
    line : int or None
        1-based; None where there is no line to name.
    key : str
        Such as ``training.steps`` or ``grid[1].learning_rate[3]``, counting from 0; empty for the whole file.
    message : str
        What is wrong; what to do.
    """

    path: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class SweepError(ValueError):
    """Everything that is wrong with a sweep file, a line a problem.

    Parameters
    ----------
    problems : sequence of Problem
        In the order of their lines.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


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
    parts = read(raw)
    sources = {place: change.source for change in changes for place in change.places(raw)}
    problems += _place(parts.findings[:MOST_PROBLEMS], sources, text, path)
    if (rest := len(parts.findings) - MOST_PROBLEMS) > 0:
        problems.append(Problem(path, None, "", f"and {rest} more problems; mend these first"))
    if problems:
        raise SweepError(sorted(problems, key=_place_in_the_list))
    sweep = Sweep(**parts.top, **parts.sections, init=parts.init, grid=tuple(parts.grids), text=edited or "")
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
        return Problem(path, again.line, _key(again.path), "is named twice; remove one of the two")
    match = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", message)
    line = None if match is None else int(match[1] or text.rstrip().count("\n") + 1)
    return Problem(path, line, "", f"is not TOML: {message[: match.start()] if match else message}")


def _key(path: Path) -> str:
    """Return a path as a person writes it: ``grid[1].learning_rate[3]``."""
    key = ""
    for part in path:
        name = part if isinstance(part, str) and re.fullmatch("[A-Za-z0-9_-]+", part) else quoted(str(part))
        key += f"[{part}]" if isinstance(part, int) else f".{name}" if key else name
    return key


def _place(findings: Sequence[Finding], sources: Mapping[Path, str], text: str, path: str) -> list[Problem]:
    """Give each finding its line, or the override that is its cause."""
    problems = []
    outline: Outline | None = None
    for finding in findings:
        places = [place[:n] for place in (finding.path, *finding.causes) for n in range(len(place) + 1)]
        source = next((sources[place] for place in places if place in sources), None)
        if source is not None:
            problems.append(Problem(f"--set {source}", None, _key(finding.path), finding.message))
        else:
            outline = outline or Outline(text)
            problems.append(Problem(path, outline.line(finding.path), _key(finding.path), finding.message))
    return problems


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
    return ["", header, *(f"{key} = {_toml(value)}" for key, value in entries.items() if value is not None)]


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
    sections["data"]["required"] = ["x", "y"]
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
        "required": ["name", "data"],
        "additionalProperties": False,
    }


def _described(field: FieldInfo) -> dict[str, Any]:
    default = {} if field.is_required() or field.default in (None, (), "") else {"default": field.default}
    return {"description": field.description, **field_schema(field), **default}


def _section_schema(model: type[Section]) -> dict[str, Any]:
    properties = {name: _described(field) for name, field in model.model_fields.items()}
    return table_schema(str(model.__doc__), properties)


def _init_schema() -> dict[str, Any]:
    weights = {"description": "Weights of a layer, a row an input unit, a column an output unit."} | ROWS
    biases = {"description": "Biases of a layer, one an output unit."} | ROW
    patterns = {"^W[1-9][0-9]*$": weights, "^b[1-9][0-9]*$": biases}
    return {
        "description": "Given initial weights, a table [init.NAME] each.",
        "type": "object",
        "additionalProperties": table_schema("The weights and biases of a network.", {}, patterns),
    }

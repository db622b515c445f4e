"""A sweep file between TOML and `fastbp.sweep.Sweep`: each value checked by itself, then all of them together.

Nothing here raises for a wrong file: what is wrong becomes a `Finding`. Imports the standard library, pydantic,
`fastbp.sweep.fit`, `conflicts` and what lies below them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import ValidationError

from fastbp.sweep.conflicts import Draft, Finding, conflicts, is_rate
from fastbp.sweep.extent import Extent, inline_extent
from fastbp.sweep.fit import data_conflicts
from fastbp.sweep.grid import (
    Axis,
    Grid,
    grouped,
    read_axis,
    read_count,
    read_groups,
    refuse_unequal,
)
from fastbp.sweep.locate import Path
from fastbp.sweep.parameters import LAYER_PARAMETERS, PARAMETERS, TOP, layer_of, parameter
from fastbp.sweep.random import Points, read_random
from fastbp.sweep.rules import training_conflicts
from fastbp.sweep.sections import SECTIONS, WEIGHT_KEY, Section
from fastbp.sweep.values import (
    RefusedError,
    at,
    matrix,
    nearest,
    shown,
    vector,
)
from fastbp.sweep.weights import read_weights

DEFAULT_INIT = "glorot_uniform"  # Keras' choice


def base(sections: Mapping[str, Any], init: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fixed value of every parameter.

    A single ``[init.NAME]`` needs no mention in the file; where there is none, weights are drawn.
    """
    fixed = {name: getattr(sections[item.section], name) for name, item in PARAMETERS.items()}
    if fixed["init"] is None and len(init) < 2:
        fixed["init"] = next(iter(init), DEFAULT_INIT)
    return fixed


class Parts(NamedTuple):
    """The checked tables of a sweep file, and everything that is wrong with it."""

    top: dict[str, str]
    sections: dict[str, Any]
    init: dict[str, dict[str, Any]]
    grids: list[Grid]
    drawn: dict[str, list[Any]]
    findings: list[Finding]


def read(raw: Mapping[str, Any], folder: FilePath) -> Parts:
    """Check parsed TOML: each value by itself, then all of them against each other.

    `folder` is where files of weights are looked for.
    Every table is read whatever the others hold, so that all problems of a file are found at once.
    """
    findings = list(_unknown_tables(raw))
    top = _read_top(raw, findings)
    sections: dict[str, Any] = {name: _read_section(name, raw.get(name, {}), findings) for name in SECTIONS}
    init = _read_init(raw.get("init", {}), folder, findings)
    points, seed = _read_points(raw, findings), sections["network"].seed or 0
    grids = _read_grids(raw.get("grid", []), points, seed, findings)
    findings += _missing(raw)
    random = raw.get("random", {})
    # Where there are no points, what would have been drawn is unknown: nothing can be said about what it meets.
    unknown = [] if points.axes or not isinstance(random, dict) else [("random", name) for name in random]
    refused = [*(finding.path for finding in findings), *unknown]
    drawn = {name: points.choices.get(name, []) for name in points.axes}
    laid_out = draft(sections, init, grids, drawn, refused)
    findings += conflicts(laid_out) + data_conflicts(laid_out)
    findings += training_conflicts(laid_out, sections["record"])
    return Parts(top, sections, init, grids, drawn, findings)


def _read_top(raw: Mapping[str, Any], findings: list[Finding]) -> dict[str, str]:
    top = {}
    for key, check in TOP.items():
        try:
            top[key] = check(raw[key]) if key in raw else ""
        except RefusedError as refusal:
            findings.append(Finding((key,), str(refusal)))
    return top


def _unknown_tables(raw: Mapping[str, Any]) -> Iterator[Finding]:
    known = [*TOP, *SECTIONS, "init", "random", "grid"]
    for key in raw:
        if key not in known:
            yield Finding((key,), f"unknown key{_belongs(key) or nearest(key, known)}")


def _missing(raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what a run cannot do without and neither a section nor every grid gives."""
    if "name" not in raw:
        yield Finding(("name",), 'is missing; add name = "..." on the first line')
    for key, other in (("layers", None), ("learning_rate", None), ("steps", "epochs")):
        section, keys = PARAMETERS[key].section, (key, *([other] if other else []))
        grids = raw.get("grid") or [{}]
        is_swept = isinstance(grids, list) and all(_sweeps(grid, *keys) for grid in grids)
        is_swept |= _sweeps(raw.get("random"), *keys)
        if not is_swept and all(_lacks(raw, section, name) for name in keys):
            where = f"it or {other} in [{section}]," if other else f"it in [{section}]"
            message = f"is missing; set {where} or make it an axis of every [[grid]]"
            yield Finding((section, key), message)
    yield from _missing_data(raw)


def _missing_data(raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is missing of x and y where neither a file nor, for every run, a data set gives them."""
    grids = raw.get("grid") or [{}]
    is_swept = isinstance(grids, list) and all(_sweeps(grid, "dataset") for grid in grids)
    if is_swept or not all(_lacks(raw, "data", key) for key in ("file", "dataset")):
        return
    for key in ("x", "y"):
        if _lacks(raw, "data", key):
            message = "is missing; add it to [data] as a list of rows, or name a file or a dataset there"
            yield Finding(("data", key), message)


def _sweeps(grid: Any, *keys: str) -> bool:
    """Whether a grid has an axis, or [random] draws it; the rates of single layers may stand for that of all."""
    if not isinstance(grid, dict):
        return False
    rates = "learning_rate" in keys and any(is_rate(layer_of(name)) for name in grid)
    return rates or any(key in grid for key in keys)


def _lacks(raw: Mapping[str, Any], section: str, key: str) -> bool:
    """Whether a section says nothing of a key; one that is misspelt gets a message of its own."""
    table = raw.get(section, {})
    if not isinstance(table, dict):
        return False
    fields = SECTIONS[section].model_fields
    misspelt = [word for word in table if word not in fields]
    return key not in table and not any(nearest(word, fields) == nearest(key, fields) for word in misspelt)


def _belongs(key: str) -> str:
    """Return where a key belongs that another table has; an empty text for one that none has."""
    if key in ("repeats", "zip"):
        return "; it belongs in a [[grid]]"
    section = next((name for name, model in SECTIONS.items() if key in model.model_fields), None)
    return f"; it belongs in [{section}]" if section else ""


def _read_section(name: str, raw: Any, findings: list[Finding]) -> Section:
    """Return a section without the keys that are refused; these are appended to `findings`."""
    model = SECTIONS[name]
    if not isinstance(raw, dict):
        findings.append(Finding((name,), f"must be a table [{name}], not {shown(raw)}"))
        return model()
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        refused = set()
        for item in error.errors(include_url=False, include_input=False):
            key = str(item["loc"][0])
            refused.add(key)
            refusal = item.get("ctx", {}).get("error")
            if isinstance(refusal, RefusedError):
                findings += [Finding((name, key, *part.path), str(part)) for part in refusal.all]
            else:
                hint = _belongs(key) or nearest(key, model.model_fields)
                findings.append(Finding((name, key), f"unknown key{hint}"))
        return model.model_validate({key: value for key, value in raw.items() if key not in refused})


def _read_init(raw: Any, folder: FilePath, findings: list[Finding]) -> dict[str, dict[str, Any]]:
    """Return the given weights; None in place of what is refused."""
    if not isinstance(raw, dict):
        findings.append(Finding(("init",), f"must be tables [init.NAME], not {shown(raw)}"))
        return {}
    tables: dict[str, dict[str, Any]] = {name: {} for name in raw}
    for name, table in raw.items():
        if not isinstance(table, dict):
            message = f"must be a table [init.NAME] with W1, b1 ..., not {shown(table)}"
            findings.append(Finding(("init", name), message))
            continue
        if "file" in table:
            try:
                tables[name] = at("file", lambda given: read_weights(folder, _alone(given)), table)
            except RefusedError as refusal:
                findings += [Finding(("init", name, *part.path), str(part)) for part in refusal.all]
            continue
        for key, value in table.items():
            try:
                tables[name][key] = _weights(key, value)
            except RefusedError as refusal:
                findings += [Finding(("init", name, key, *part.path), str(part)) for part in refusal.all]
                tables[name][key] = None
    return tables


def _alone(table: Mapping[str, Any]) -> Any:
    """Return the name of the file of a table that holds nothing else."""
    if len(table) > 1:
        other = next(key for key in table if key != "file")
        raise RefusedError(f"holds all weights; remove {other}, or the file")
    return table["file"]


def _weights(key: str, value: Any) -> Any:
    if not WEIGHT_KEY.fullmatch(key):
        raise RefusedError(f"unknown key{nearest(key, ('W1', 'b1', 'W2', 'b2'))}; known: W1, b1, W2, b2 ...")
    return matrix(value) if key.startswith("W") else vector(value)


def _read_points(raw: Mapping[str, Any], findings: list[Finding]) -> Points:
    """Return the points of [random]; none where it is missing or refused."""
    if "random" not in raw:
        return Points({}, {})
    points, refusals = read_random(raw["random"])
    findings += [Finding(("random", *refusal.path), str(refusal)) for refusal in refusals]
    return points or Points({}, {})


def _read_grids(raw: Any, points: Points, seed: int, findings: list[Finding]) -> list[Grid]:
    """Return the grids, each crossed with the points; axes that are refused are left out."""
    if not isinstance(raw, list):
        findings.append(Finding(("grid",), f"must be tables [[grid]], with two brackets, not {shown(raw)}"))
        return []
    grids = [_read_grid(index, table, seed, findings) for index, table in enumerate(raw)]
    if not points.axes:
        return grids
    for index, grid in enumerate(grids):
        for name in points.axes.keys() & grid.axes.keys():
            message = "is drawn in [random] as well; remove one of the two"
            findings.append(Finding(("grid", index, name), message, (("random", name),)))
    return [_crossed(points, grid) for grid in grids or [Grid(axes={})]]


def _crossed(points: Points, grid: Grid) -> Grid:
    """Return the product of the points, which vary slowest, and a grid."""
    axes = grid.axes | points.axes
    ordered = {name: axes[name] for name in (*points.axes, *grid.axes)}
    groups = (points.axes, *(set(group) - points.axes.keys() for group in grid.together))
    return Grid(axes=ordered, together=grouped(ordered, groups))


def _read_grid(index: int, table: Any, seed: int, findings: list[Finding]) -> Grid:
    axes: dict[str, Axis] = {}
    if not isinstance(table, dict):
        findings.append(Finding(("grid", index), f"must be a table [[grid]], not {shown(table)}"))
        table = {}
    groups, refused = read_groups(table["zip"], _axis_names(table)) if "zip" in table else ([], [])
    findings += [Finding(("grid", index, "zip", *refusal.path), str(refusal)) for refusal in refused]
    for name, value in table.items():
        if name == "zip":
            continue
        if name == "repeats":
            axis, refusals = _read_repeats(table, seed)
        elif (item := parameter(name)) is None:
            hint = nearest(name, (*PARAMETERS, *(f"{name}_1" for name in LAYER_PARAMETERS), "zip", "repeats"))
            findings.append(Finding(("grid", index, name), f"unknown parameter{hint}"))
            continue
        else:
            repeatable = bool(refused) or any(name in group for group in groups)
            axis, refusals = read_axis(item, value, repeatable)
        findings += [Finding(("grid", index, name, *refusal.path), str(refusal)) for refusal in refusals]
        if axis is not None:
            axes["seed" if name == "repeats" else name] = axis
    together = grouped(axes, groups)
    for group in together:
        try:
            refuse_unequal(axes, group)
        except RefusedError as refusal:
            findings.append(Finding(("grid", index, "zip"), str(refusal)))
    return Grid(axes=axes, together=together)


def _axis_names(table: Mapping[str, Any]) -> list[str]:
    return ["seed" if name == "repeats" else name for name in table if name != "zip"]


def _read_repeats(table: Mapping[str, Any], seed: int) -> tuple[Axis | None, list[RefusedError]]:
    """Return the axis of seeds that ``repeats = n`` stands for."""
    try:
        if "seed" in table:
            raise RefusedError("stands for an axis of seeds, and seed is one; remove one of the two")
        count = read_count(table["repeats"])
        PARAMETERS["seed"].check(seed + count - 1)
    except RefusedError as refusal:
        return None, refusal.all
    return Axis(values=tuple(range(seed, seed + count))), []


def draft(
    sections: Mapping[str, Any],
    init: Mapping[str, Mapping[str, Any]],
    grids: Sequence[Grid],
    drawn: Mapping[str, Sequence[Any]],
    refused: Sequence[Path] = (),
    extent: Extent | None = None,
) -> Draft:
    """Lay out what was accepted, so that the parts can be held against each other.

    `drawn` are the parameters of [random] with the values that each is chosen from; `extent` is that of a file
    of data; data in the sweep file itself are counted here.
    """
    data = sections["data"]
    places = (path[: 3 if path[0] in ("grid", "init") else 2] for path in refused)
    return Draft(
        fixed=base(sections, init),
        init=init,
        data=data,
        extent=inline_extent(data) if data.x or data.y else extent,
        grids=grids or [Grid(axes={})],
        drawn=drawn,
        refused=frozenset(places),
    )

"""A sweep file between TOML and `fastbp.sweep.Sweep`: each value checked by itself, then against the others.

Nothing here raises for a wrong file: what is wrong becomes a `Finding`. Imports the standard library, NumPy,
pydantic, `fastbp.sweep.grid`, `fastbp.sweep.parameters` and the type of a path from `fastbp.sweep.locate`.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from fastbp.sweep.grid import Axis, Grid, read_axis
from fastbp.sweep.locate import Path
from fastbp.sweep.parameters import (
    LAYER_PARAMETERS,
    PARAMETERS,
    SECTIONS,
    TOP,
    WEIGHT_KEY,
    RefusedError,
    Section,
    layer_of,
    matrix,
    nearest,
    parameter,
    quoted,
    shown,
    vector,
)

MAXIMUM_RUNS = 2**53  # so that sums of ids stay far from the end of int64


class Finding(NamedTuple):
    """Something wrong: where it stands, what it is, and which other values have a part in it."""

    path: Path
    message: str
    causes: tuple[Path, ...] = ()


class Candidate(NamedTuple):
    """A value that a parameter takes in a grid, and where that value stands."""

    value: Any
    path: Path


@dataclass(frozen=True)
class Draft:
    """A sweep file whose values are checked one by one, but not yet against each other.

    Parameters
    ----------
    fixed : dict
        The value of every parameter that the sections fix; None where unset.
    init : dict
        The given weights, table by table; None in place of those that were refused.
    x_shape, y_shape : tuple of int
        Rows and columns of the data; 0 where it is missing or was refused.
    grids : list of Grid
        At least one; axes that were refused are left out.
    refused : set of paths
        The tables, parameters and axes that hold a refused value: nothing can be said about what they meet.
    """

    fixed: Mapping[str, Any]
    init: Mapping[str, Mapping[str, Any]]
    x_shape: tuple[int, int]
    y_shape: tuple[int, int]
    grids: Sequence[Grid]
    refused: frozenset[Path]

    def candidates(self, index: int, name: str) -> list[Candidate]:
        """Return the values of a parameter in the grid `index`; none where it is unset or refused."""
        axis = self.grids[index].axes.get(name)
        if not self.knows(index, name):
            return []
        if axis is not None:
            return [Candidate(value, ("grid", index, name, k)) for k, value in enumerate(axis.values)]
        value = self.fixed.get(name)
        return [] if value is None else [Candidate(value, (PARAMETERS[name].section, name))]

    def knows(self, index: int, name: str) -> bool:
        """Return whether nothing was refused of what a parameter is in the grid `index`."""
        section = PARAMETERS[name].section
        sources = {("grid", index), ("grid", index, name)}
        if name not in self.grids[index].axes:
            sources |= {("grid",), (section,), (section, name)}
        return not self.refused & sources


def weight_shapes(layers: Sequence[int], bias: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape of each ``W1``, ``b1``, ``W2`` ... of a network, in the order of the layers.

    Parameters
    ----------
    layers : sequence of int
        Units of each layer, the inputs first.
    bias : bool
        Whether there are biases at all.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(layers), start=1):
        shapes[f"W{layer}"] = (n_in, n_out)
        if bias:
            shapes[f"b{layer}"] = (n_out,)
    return shapes


def conflicts(draft: Draft) -> list[Finding]:
    """Return what does not fit together in any grid, each problem once.

    Only the distinct values of the parameters that can conflict are met with each other, never all runs.
    """
    found: dict[Path, Finding] = {}
    checks_of_weights = (_undecided, _unfit_weights, _unneeded_weights)
    checks_of_data = (_unpaired_rows, _unfit_data, _absent_samples)
    for check in (*checks_of_weights, *checks_of_data, _unfit_layers, _absent_rates, _too_many_runs):
        for finding in check(draft):
            found.setdefault(finding.path, finding)
    return list(found.values())


def _undecided(draft: Draft) -> Iterator[Finding]:
    known = ", ".join(draft.init)
    for index in range(len(draft.grids)):
        candidates = draft.candidates(index, "init")
        if not draft.init:
            if ("init",) not in draft.refused:
                yield Finding(
                    ("init",), "is missing; add a table [init.NAME] with the weights W1, b1, W2 ..."
                )
        elif not candidates and draft.knows(index, "init"):
            message = f"is undecided among {known}; set it in [network] or make it an axis of every [[grid]]"
            yield Finding(("network", "init"), message)
        for value, path in candidates:
            if draft.init and value not in draft.init:
                yield Finding(
                    path, f"unknown init {quoted(value)}{nearest(value, draft.init)}; known: {known}"
                )


def _meetings(draft: Draft) -> Iterator[tuple[str, Candidate, Candidate]]:
    """Yield each given init with the layers and the bias that it meets."""
    for index in range(len(draft.grids)):
        axes = (draft.candidates(index, name) for name in ("init", "layers", "bias"))
        for init, layers, bias in itertools.product(*axes):
            if init.value in draft.init and ("init", init.value) not in draft.refused:
                yield init.value, layers, bias


def _unfit_weights(draft: Draft) -> Iterator[Finding]:
    for init, layers, bias in _meetings(draft):
        yield from _unfit_table(draft, init, weight_shapes(layers.value, bias.value), layers, bias)


def _unneeded_weights(draft: Draft) -> Iterator[Finding]:
    indices = range(len(draft.grids))
    if not all(draft.knows(index, name) for index in indices for name in ("init", "layers", "bias")):
        return  # what was refused may have needed them
    needed: dict[str, dict[str, Any]] = {}
    for init, layers, bias in _meetings(draft):
        needed.setdefault(init, {}).update(weight_shapes(layers.value, bias.value))
    for name, keys in needed.items():
        for key, value in draft.init[name].items():
            if key not in keys and value is not None:
                causes = (("network", "layers"), ("network", "bias"))
                yield Finding(
                    ("init", name, key), "no run needs it; remove it, or change layers or bias", causes
                )


def _unfit_table(
    draft: Draft, name: str, shapes: Mapping[str, tuple[int, ...]], layers: Candidate, bias: Candidate
) -> Iterator[Finding]:
    """Yield what one table of weights lacks or has in another shape than one network needs."""
    table = draft.init[name]
    for key, shape in shapes.items():
        path, causes = ("init", name, key), (layers.path, bias.path)
        wanted = f"layers {list(layers.value)} need {_shape_text(shape)}"
        if key not in table:
            yield Finding(path, f"is missing; {wanted}", causes)
        elif table[key] is not None and (found := np.shape(table[key])) != shape:
            yield Finding(path, f"has {_shape_text(found)}; {wanted}", causes)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"{'length' if len(shape) == 1 else 'shape'} {' x '.join(map(str, shape))}"


def _unpaired_rows(draft: Draft) -> Iterator[Finding]:
    n_x, n_y = draft.x_shape[0], draft.y_shape[0]
    if n_x and n_y and n_x != n_y:
        message = f"has {n_y} rows but data.x has {n_x}; each sample needs one row of both"
        yield Finding(("data", "y"), message, (("data", "x"),))


def _unfit_data(draft: Draft) -> Iterator[Finding]:
    for index in range(len(draft.grids)):
        for layers, path in draft.candidates(index, "layers"):
            for key, units, columns, verb in (
                ("x", layers[0], draft.x_shape[1], "begin"),
                ("y", layers[-1], draft.y_shape[1], "end"),
            ):
                if columns and units != columns:
                    message = f"layers {list(layers)} {verb} with {units} but data.{key} has {columns}"
                    # Among many layers the odd one is named; where there is one, the data.
                    where = path if path[0] == "grid" else ("data", key)
                    yield Finding(where, f"{message} columns; make them equal", (path, ("data", key)))


def _absent_samples(draft: Draft) -> Iterator[Finding]:
    for index in range(len(draft.grids)):
        for sample, path in draft.candidates(index, "sample"):
            if (count := max(draft.x_shape[0], draft.y_shape[0])) and sample >= count:
                message = f"sample {sample} does not exist; there are {count} samples, counting from 0"
                yield Finding(path, message, (("data", "x"),))


def _unfit_layers(draft: Draft) -> Iterator[Finding]:
    """Yield lists with a number a layer that do not fit the layers, and axes of a layer that is not there."""
    for index, grid in enumerate(draft.grids):
        depths = {len(item.value) - 1: item for item in draft.candidates(index, "layers")}
        given = [(name, item) for name in LAYER_PARAMETERS for item in draft.candidates(index, name)]
        for (name, (values, path)), (depth, layers) in itertools.product(given, depths.items()):
            if isinstance(values, tuple) and len(values) != depth:
                noun = f"{name.replace('_', ' ')}s"
                message = f"has {len(values)} {noun} but layers {list(layers.value)} have {depth}"
                yield Finding(path, f"{message} layers of weights; give one for each", (layers.path,))
        for name, (depth, layers) in itertools.product(grid.axes, depths.items()):
            if (of_layer := layer_of(name)) and of_layer[1] > depth:
                message = f"there is no layer {of_layer[1]}; layers {list(layers.value)} have {depth}"
                yield Finding(("grid", index, name), f"{message} layers of weights", (layers.path,))


def _absent_rates(draft: Draft) -> Iterator[Finding]:
    """Yield the layers without a rate where a grid sweeps the rates of single layers alone."""
    for index, grid in enumerate(draft.grids):
        own = {of_layer[1] for name in grid.axes if (of_layer := layer_of(name)) and _is_rate(of_layer)}
        if own and draft.knows(index, "learning_rate") and not draft.candidates(index, "learning_rate"):
            for layers, _ in draft.candidates(index, "layers"):
                for layer in sorted(set(range(1, len(layers))) - own):
                    message = f"layer {layer} has no learning rate; add an axis learning_rate_{layer}"
                    yield Finding(("grid", index), f"{message}, or set learning_rate in [training]")


def _is_rate(of_layer: tuple[str, int] | None) -> bool:
    return of_layer is not None and of_layer[0] == "learning_rate"


def _too_many_runs(draft: Draft) -> Iterator[Finding]:
    for index, grid in enumerate(draft.grids):
        if (count := math.prod(len(axis.values) for axis in grid.axes.values())) > MAXIMUM_RUNS:
            yield Finding(("grid", index), f"has {count} runs; a grid may have {MAXIMUM_RUNS}")


def base(sections: Mapping[str, Any], init: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fixed value of every parameter; a single ``[init.NAME]`` needs no mention in the file."""
    fixed = {name: getattr(sections[item.section], name) for name, item in PARAMETERS.items()}
    if fixed["init"] is None and len(init) == 1:
        fixed["init"] = next(iter(init))
    return fixed


class Parts(NamedTuple):
    """The checked tables of a sweep file, and everything that is wrong with it."""

    top: dict[str, str]
    sections: dict[str, Any]
    init: dict[str, dict[str, Any]]
    grids: list[Grid]
    findings: list[Finding]


def read(raw: Mapping[str, Any]) -> Parts:
    """Check parsed TOML: each value by itself, then all of them against each other.

    Every table is read whatever the others hold, so that all problems of a file are found at once.
    """
    findings = list(_unknown_tables(raw))
    top = _read_top(raw, findings)
    sections = {name: _read_section(name, raw.get(name, {}), findings) for name in SECTIONS}
    init = _read_init(raw.get("init", {}), findings)
    grids = _read_grids(raw.get("grid", []), findings)
    findings += _missing(raw)
    findings += conflicts(_draft(sections, init, grids, findings))
    return Parts(top, sections, init, grids, findings)


def _read_top(raw: Mapping[str, Any], findings: list[Finding]) -> dict[str, str]:
    top = {}
    for key, check in TOP.items():
        try:
            top[key] = check(raw[key]) if key in raw else ""
        except RefusedError as refusal:
            findings.append(Finding((key,), str(refusal)))
    return top


def _unknown_tables(raw: Mapping[str, Any]) -> Iterator[Finding]:
    known = [*TOP, *SECTIONS, "init", "grid"]
    for key in raw:
        if key not in known:
            section = next((name for name, model in SECTIONS.items() if key in model.model_fields), None)
            hint = f"; it belongs in [{section}]" if section else nearest(key, known)
            yield Finding((key,), f"unknown key{hint}")


def _missing(raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what a run cannot do without and neither a section nor every grid gives."""
    if "name" not in raw:
        yield Finding(("name",), 'is missing; add name = "..." on the first line')
    for key in ("layers", "learning_rate", "steps"):
        section = PARAMETERS[key].section
        grids = raw.get("grid") or [{}]
        is_swept = isinstance(grids, list) and all(_sweeps(grid, key) for grid in grids)
        if not is_swept and _lacks(raw, section, key):
            message = f"is missing; set it in [{section}] or make it an axis of every [[grid]]"
            yield Finding((section, key), message)
    for key in ("x", "y"):
        if _lacks(raw, "data", key):
            yield Finding(("data", key), "is missing; add it to [data] as a list of rows")


def _sweeps(grid: Any, key: str) -> bool:
    """Whether a grid has the axis; the rates of single layers may stand for that of all."""
    if not isinstance(grid, dict):
        return False
    return key in grid or (key == "learning_rate" and any(_is_rate(layer_of(name)) for name in grid))


def _lacks(raw: Mapping[str, Any], section: str, key: str) -> bool:
    """Whether a section says nothing of a key; one that is misspelt gets a message of its own."""
    table = raw.get(section, {})
    if not isinstance(table, dict):
        return False
    fields = SECTIONS[section].model_fields
    misspelt = [word for word in table if word not in fields]
    return key not in table and not any(nearest(word, fields) == nearest(key, fields) for word in misspelt)


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
                findings.append(Finding((name, key, *refusal.path), str(refusal)))
            else:
                findings.append(Finding((name, key), f"unknown key{nearest(key, model.model_fields)}"))
        return model.model_validate({key: value for key, value in raw.items() if key not in refused})


def _read_init(raw: Any, findings: list[Finding]) -> dict[str, dict[str, Any]]:
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
        for key, value in table.items():
            try:
                tables[name][key] = _weights(key, value)
            except RefusedError as refusal:
                findings.append(Finding(("init", name, key, *refusal.path), str(refusal)))
                tables[name][key] = None
    return tables


def _weights(key: str, value: Any) -> Any:
    if not WEIGHT_KEY.fullmatch(key):
        raise RefusedError(f"unknown key{nearest(key, ('W1', 'b1', 'W2', 'b2'))}; known: W1, b1, W2, b2 ...")
    return matrix(value) if key.startswith("W") else vector(value)


def _read_grids(raw: Any, findings: list[Finding]) -> list[Grid]:
    """Return the grids; axes that are refused are left out."""
    if not isinstance(raw, list):
        findings.append(Finding(("grid",), f"must be tables [[grid]], with two brackets, not {shown(raw)}"))
        return []
    return [_read_grid(index, table, findings) for index, table in enumerate(raw)]


def _read_grid(index: int, table: Any, findings: list[Finding]) -> Grid:
    axes: dict[str, Axis] = {}
    if not isinstance(table, dict):
        findings.append(Finding(("grid", index), f"must be a table [[grid]], not {shown(table)}"))
        table = {}
    for name, value in table.items():
        if (item := parameter(name)) is None:
            hint = nearest(name, (*PARAMETERS, *(f"{name}_1" for name in LAYER_PARAMETERS)))
            findings.append(Finding(("grid", index, name), f"unknown parameter{hint}"))
            continue
        axis, refusals = read_axis(item, value)
        findings += [Finding(("grid", index, name, *refusal.path), str(refusal)) for refusal in refusals]
        if axis is not None:
            axes[name] = axis
    return Grid(axes=axes)


def _draft(
    sections: Mapping[str, Any],
    init: Mapping[str, Mapping[str, Any]],
    grids: Sequence[Grid],
    findings: Sequence[Finding],
) -> Draft:
    """Lay out what was accepted, so that `conflicts` can hold the parts against each other."""
    data = sections["data"]
    places = (finding.path[: 3 if finding.path[0] in ("grid", "init") else 2] for finding in findings)
    return Draft(
        fixed=base(sections, init),
        init=init,
        x_shape=(len(data.x), len(data.x[0])) if data.x else (0, 0),
        y_shape=(len(data.y), len(data.y[0])) if data.y else (0, 0),
        grids=grids or [Grid(axes={})],
        refused=frozenset(places),
    )

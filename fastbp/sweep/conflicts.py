"""What the values of a sweep file, each right by itself, get wrong together.

Nothing here raises for a wrong file: what is wrong becomes a `Finding`. Imports the standard library, NumPy,
`fastbp.sweep.grid`, `extent`, `parameters`, `values` and the type of a path from `locate`. What concerns the data
is `fit`'s.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.initializers import INITIALIZERS
from fastbp.sweep.extent import Extent
from fastbp.sweep.grid import Grid
from fastbp.sweep.locate import Path
from fastbp.sweep.needs import deciders, decisive, exists, needs_of
from fastbp.sweep.parameters import LAYER_PARAMETERS, PARAMETERS, layer_of
from fastbp.sweep.sections import Data
from fastbp.sweep.values import (
    nearest,
    quoted,
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
    data : Data
        The section [data], without what was refused.
    extent : Extent or None
        What the sweep file itself or a file of data holds; None where that is not known, and for built-in sets.
    grids : list of Grid
        At least one, crossed with the points of [random]; axes that were refused are left out.
    drawn : dict
        The parameters of [random], each with the values that it is chosen from; none where it is a number.
    refused : set of paths
        The tables, parameters and axes that hold a refused value: nothing can be said about what they meet.
    """

    fixed: Mapping[str, Any]
    init: Mapping[str, Mapping[str, Any]]
    data: Data
    extent: Extent | None
    grids: Sequence[Grid]
    drawn: Mapping[str, Sequence[Any]]
    refused: frozenset[Path]

    def candidates(self, index: int, name: str) -> list[Candidate]:
        """Return the values of a parameter in the grid `index`, each once; none where it is unset or refused."""
        axis = self.grids[index].axes.get(name)
        if not self.knows(index, name):
            return []
        if axis is not None:
            first: dict[Any, int] = {}
            for place, value in enumerate(axis.values):
                first.setdefault(value, place)
            return [Candidate(value, self._path(index, name, place)) for value, place in first.items()]
        value = self.fixed.get(name)
        return [] if value is None else [Candidate(value, (PARAMETERS[name].section, name))]

    def gives(self, index: int, name: str) -> bool:
        """Return whether a parameter has a value in the grid `index`."""
        return name in self.grids[index].axes or self.fixed.get(name) is not None

    def _path(self, index: int, name: str, place: int) -> Path:
        """Return where a value of an axis stands."""
        if name not in self.drawn:
            return ("grid", index, name, place)
        choices, value = self.drawn[name], self.grids[index].axes[name].values[place]
        return ("random", name, "choice", choices.index(value)) if choices else ("random", name)

    def meetings(self, index: int, *names: str, unset: bool = False) -> Iterator[tuple[Candidate, ...]]:
        """Yield the combinations of values that parameters take together in the grid `index`, each once.

        There are none where a parameter is unset or refused; with `unset` None stands for its value.
        """
        groups = {name: group for group in self.grids[index].together for name in group}
        together = dict.fromkeys(groups.get(name, (name,)) for name in names)
        parts = [[name for name in names if name in group] for group in together]
        for choice in itertools.product(*(self._met(index, part, unset) for part in parts)):
            met = dict(zip(itertools.chain(*parts), itertools.chain(*choice), strict=True))
            yield tuple(met[name] for name in names)

    def _met(self, index: int, names: Sequence[str], unset: bool) -> list[tuple[Candidate, ...]]:
        """Return the combinations of values of parameters that advance together, each once."""
        none = [Candidate(None, ())] if unset else []
        candidates = [{item.value: item for item in self.candidates(index, name) or none} for name in names]
        if len(names) == 1 or not all(candidates):
            return list(itertools.product(*(items.values() for items in candidates)))
        axes = self.grids[index].axes
        points = dict.fromkeys(zip(*(axes[name].values for name in names), strict=False))
        return [tuple(map(dict.__getitem__, candidates, point)) for point in points]

    def knows(self, index: int, name: str) -> bool:
        """Return whether nothing was refused of what a parameter is in the grid `index`."""
        section = PARAMETERS[name].section
        sources = {
            ("grid", index),
            ("grid", index, name),
            ("grid", index, "zip"),
            ("random",),
            ("random", name),
        }
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
    checks_of_axes = (_unfit_layers, _absent_rates, _absent_parameters, _too_many_runs)
    for check in (*checks_of_weights, *checks_of_axes):
        for finding in check(draft):
            found.setdefault(finding.path, finding)
    return list(found.values())


def _undecided(draft: Draft) -> Iterator[Finding]:
    known = [*draft.init, *INITIALIZERS]
    for name in draft.init:
        if name in INITIALIZERS:
            message = f"{name} is the name of a rule that draws weights; choose another"
            yield Finding(("init", name), message)
    for index in range(len(draft.grids)):
        candidates = draft.candidates(index, "init")
        if not candidates and draft.knows(index, "init"):
            advice = "set it in [network] or make it an axis of every [[grid]]"
            message = f"is undecided among {', '.join(draft.init)}; {advice}"
            yield Finding(("network", "init"), message)
        for value, path in candidates:
            if value not in known and ("init",) not in draft.refused:
                message = f"unknown init {quoted(value)}{nearest(value, known)}; known: {', '.join(known)}"
                yield Finding(path, message)


def _meetings(draft: Draft) -> Iterator[tuple[str, Candidate, Candidate]]:
    """Yield each given init with the layers and the bias that it meets."""
    for index in range(len(draft.grids)):
        for init, layers, bias in draft.meetings(index, "init", "layers", "bias"):
            refused = draft.refused & {("init", init.value), ("init", init.value, "file")}
            if init.value in draft.init and not refused:
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


def _unfit_layers(draft: Draft) -> Iterator[Finding]:
    """Yield lists with a number a layer that do not fit the layers, and axes of a layer that is not there."""
    for index, grid in enumerate(draft.grids):
        for name in LAYER_PARAMETERS:
            if name in grid.axes and tuple not in set(map(type, grid.axes[name].values)):
                continue  # a long axis of numbers need not meet anything
            for (values, path), layers in draft.meetings(index, name, "layers"):
                if isinstance(values, tuple) and len(values) != (depth := len(layers.value) - 1):
                    noun = f"{name.replace('_', ' ')}s"
                    message = f"has {len(values)} {noun} but layers {list(layers.value)} have {depth}"
                    yield Finding(path, f"{message} layers of weights; give one for each", (layers.path,))
        depths = {len(item.value) - 1: item for item in draft.candidates(index, "layers")}
        for name, (depth, layers) in itertools.product(grid.axes, depths.items()):
            if (of_layer := layer_of(name)) and of_layer[1] > depth:
                message = f"there is no layer {of_layer[1]}; layers {list(layers.value)} have {depth}"
                where = ("random", name) if name in draft.drawn else ("grid", index, name)
                yield Finding(where, f"{message} layers of weights", (layers.path,))


def _absent_rates(draft: Draft) -> Iterator[Finding]:
    """Yield the layers without a rate where a grid sweeps the rates of single layers alone."""
    for index, grid in enumerate(draft.grids):
        own = {of_layer[1] for name in grid.axes if (of_layer := layer_of(name)) and is_rate(of_layer)}
        if own and draft.knows(index, "learning_rate") and not draft.gives(index, "learning_rate"):
            for layers, _ in draft.candidates(index, "layers"):
                for layer in sorted(set(range(1, len(layers))) - own):
                    message = f"layer {layer} has no learning rate; add an axis learning_rate_{layer}"
                    yield Finding(("grid", index), f"{message}, or set learning_rate in [training]")


def is_rate(of_layer: tuple[str, int] | None) -> bool:
    """Whether what `layer_of` gave is the learning rate of a layer."""
    return of_layer is not None and of_layer[0] == "learning_rate"


def _absent_parameters(draft: Draft) -> Iterator[Finding]:
    """Yield the conditional parameters that are set or swept though no combination has them."""
    grids = range(len(draft.grids))
    for name, value in draft.fixed.items():
        if value is not None:
            yield from _unneeded(draft, name, grids, (PARAMETERS[name].section, name))
    for name in draft.drawn:
        yield from _unneeded(draft, name, grids, ("random", name))
    for index, grid in enumerate(draft.grids):
        for name in grid.axes:
            if name not in draft.drawn:
                yield from _unneeded(draft, name, [index], ("grid", index, name))


def _unneeded(draft: Draft, name: str, grids: Sequence[int], path: Path) -> Iterator[Finding]:
    """Yield that a parameter stands at `path` though no combination of these grids has it."""
    if (needs := needs_of(name)) is None:
        return
    deciding = deciders(name)
    if not all(draft.knows(index, other) for index in grids for other in deciding):
        return
    met = [items for index in grids for items in draft.meetings(index, *deciding, unset=True)]
    combinations = [dict(zip(deciding, (item.value for item in items), strict=True)) for items in met]
    if any(values.get("layers", ()) is None or exists(name, values) for values in combinations):
        return  # without layers nobody knows the activations
    found = ", ".join(
        dict.fromkeys(quoted(str(v)) for values in combinations for v in decisive(name, values))
    )
    message = f"{needs.parameter} {found} has no {name}; those that have it: {', '.join(needs.names)}"
    causes = tuple(dict.fromkeys(item.path for items in met for item in items))
    yield Finding(path, f"{message}; remove it or choose one of these", causes)


def _too_many_runs(draft: Draft) -> Iterator[Finding]:
    for index, grid in enumerate(draft.grids):
        if (count := math.prod(grid.shape)) > MAXIMUM_RUNS:
            yield Finding(("grid", index), f"has {count} runs; a grid may have {MAXIMUM_RUNS}")

"""The plan: the lazy map between run ids and parameter values, and the cut into groups and shards.

A run's id is its index in the sweep: grid after grid, the last axis of a grid varying fastest. A combination that
an earlier grid holds keeps its id there, and its later id is not used. Nothing here is as long as the number of
runs, only as the axes. May import ``data``, ``sweep``, ``kernels``, NumPy and the standard library.
"""

import bisect
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fastbp.data import DataSource, load_data
from fastbp.sweep import DATA_PARAMETERS, PARAMETERS, Problem, Sweep, SweepError, parameter

SHARD_BYTES = 128 * 2**20  # of arrays and tables; keeps the memory of a sweep of any size within bounds
SHARD_RUNS = 2**17
BLOCK_BYTES = 2 * 2**30  # by `bytes_a_run`; while it is written a shard takes some four times as much
BLOCK = 32  # runs: a shard is whole blocks on every machine


class Structure(NamedTuple):
    """What the runs of a group share: all that decides the control flow of a run."""

    layers: tuple[int, ...]
    bias: bool
    activations: tuple[str, ...]
    loss: str
    optimizer: str
    steps: int
    dtype: str
    n_samples: int
    n_validation: int = 0

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum((n_in + self.bias) * n_out for n_in, n_out in itertools.pairwise(self.layers))

    @property
    def n_units(self) -> int:
        """Number of units of all layers with weights."""
        return sum(self.layers[1:])


@dataclass(frozen=True)
class Box:
    """Some of the combinations of one grid: the product of some of each axis' indices."""

    grid: int
    indices: tuple[np.ndarray, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of indices of each axis."""
        return tuple(len(chosen) for chosen in self.indices)

    @property
    def n_runs(self) -> int:
        """Number of combinations."""
        return math.prod(self.shape)

    def digits(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """Give the index on each axis of the combinations `start` to `stop`."""
        if not self.indices:
            return ()
        places = np.unravel_index(np.arange(start, stop), self.shape)
        return tuple(chosen[place] for chosen, place in zip(self.indices, places, strict=True))

    def without(self, other: tuple[np.ndarray, ...]) -> Iterator["Box"]:
        """Give disjoint boxes of what lies outside the product of the indices `other`."""
        inside = [np.intersect1d(mine, its) for mine, its in zip(self.indices, other, strict=True)]
        if not all(map(len, inside)):
            yield self
            return
        rest = list(self.indices)
        for axis, its in enumerate(other):
            outside = np.setdiff1d(rest[axis], its)
            if len(outside):
                yield Box(self.grid, (*rest[:axis], outside, *rest[axis + 1 :]))
            rest[axis] = inside[axis]


@dataclass(frozen=True)
class Group:
    """Runs that can share a block, in the order in which they are stored."""

    structure: Structure
    boxes: tuple[Box, ...]

    @cached_property
    def ends(self) -> list[int]:
        """Position after the last run of each box."""
        return list(itertools.accumulate(box.n_runs for box in self.boxes))

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return self.ends[-1]


class Shard(NamedTuple):
    """Runs of one group that are trained and stored together."""

    number: int
    group: Group
    start: int
    stop: int

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return self.stop - self.start


class Runs(NamedTuple):
    """The runs of a shard: their ids, and for each swept parameter the code of its value in `Plan.domains`."""

    ids: np.ndarray
    codes: dict[str, np.ndarray]


class Plan:
    """Which runs a sweep has, and how they are cut up.

    Parameters
    ----------
    sweep : Sweep
    data : DataSource, optional
        Where the runs get their data from; loaded where none is given.

    Attributes
    ----------
    fingerprint : str
        Of the sweep and of what its file of data holds.
    base : dict
        Value of each parameter where no axis gives one.
    domains : dict of tuple
        All values of each parameter that some grid sweeps.
    groups : list of Group

    Raises
    ------
    SweepError
        If the data cannot be loaded, or do not fit the sweep.
    """

    def __init__(self, sweep: Sweep, data: DataSource | None = None):
        self.sweep = sweep
        self.data = load_data(sweep) if data is None else data
        self.fingerprint = sweep.fingerprint()
        if digest := self.data.digest():
            self.fingerprint = hashlib.sha256(f"{self.fingerprint} {digest}".encode()).hexdigest()
        self.base = sweep.base()
        self.grids = [{name: axis.values for name, axis in grid.axes.items()} for grid in sweep.grid] or [{}]
        sizes = [math.prod(map(len, grid.values())) for grid in self.grids]
        self.starts = [0, *itertools.accumulate(sizes)]
        names = dict.fromkeys(name for grid in self.grids for name in grid)
        self.domains = {name: self._domain(name) for name in names}
        places = {name: {v: n for n, v in enumerate(values)} for name, values in self.domains.items()}
        self.grid_codes = [
            {
                name: np.array([places[name][v] for v in grid.get(name, [self.base.get(name)])])
                for name in names
            }
            for grid in self.grids
        ]
        self.groups = self._groups()

    def _domain(self, name: str) -> tuple[Any, ...]:
        values = (grid.get(name, (self.base.get(name),)) for grid in self.grids)
        return tuple(dict.fromkeys(itertools.chain.from_iterable(values)))

    def _groups(self) -> list[Group]:
        boxes: dict[Structure, list[Box]] = {}
        for number, grid in enumerate(self.grids):
            structural = [name for name in grid if (known := parameter(name)) and known.structural]
            for choice in itertools.product(*(range(len(grid[name])) for name in structural)):
                fixed = dict(zip(structural, choice, strict=True))
                values = {name: grid[name][index] for name, index in fixed.items()}
                structure = self._structure(self.base | values, "sample" in grid)
                whole = Box(
                    number,
                    tuple(
                        np.array([fixed[name]]) if name in fixed else np.arange(len(grid[name]))
                        for name in grid
                    ),
                )
                boxes.setdefault(structure, []).extend(self._not_in_earlier_grids(whole))
        return [Group(structure, tuple(parts)) for structure, parts in boxes.items() if parts]

    def _structure(self, values: Mapping[str, Any], sample_swept: bool) -> Structure:
        hidden = values["hidden_activation"] or values["activation"]
        output = values["output_activation"] or values["activation"]
        one = {"sample": 0} if sample_swept else {}
        shape = self.data.shape({name: values[name] for name in DATA_PARAMETERS} | one)
        return Structure(
            layers=values["layers"],
            bias=values["bias"],
            activations=(hidden,) * (len(values["layers"]) - 2) + (output,),
            loss=values["loss"],
            optimizer=values["optimizer"],
            steps=values["steps"],
            dtype=values["dtype"],
            n_samples=shape.n_samples,
            n_validation=shape.n_validation,
        )

    def _not_in_earlier_grids(self, box: Box) -> list[Box]:
        boxes = [box]
        mine = self.grid_codes[box.grid]
        axes = list(self.grids[box.grid])
        for theirs in self.grid_codes[: box.grid]:
            shared = {name: np.flatnonzero(np.isin(mine[name], theirs[name])) for name in mine}
            if all(map(len, shared.values())):
                inside = tuple(shared[name] for name in axes)
                boxes = [part for whole in boxes for part in whole.without(inside)]
        return boxes

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return sum(group.n_runs for group in self.groups)

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return sum(-(-group.n_runs // self.shard_runs(group)) for group in self.groups)

    def shards(self) -> Iterator[Shard]:
        """Give the shards in order."""
        numbers = itertools.count()
        for group in self.groups:
            size = self.shard_runs(group)
            for start in range(0, group.n_runs, size):
                yield Shard(next(numbers), group, start, min(start + size, group.n_runs))

    def shard_runs(self, group: Group) -> int:
        """Give the most runs of a shard: whole blocks, within the bounds of memory."""
        held = self.bytes_a_run(group.structure) + self.data_bytes_a_run(group.structure)
        wanted = min(SHARD_BYTES // held, SHARD_RUNS)
        return max(BLOCK, wanted // BLOCK * BLOCK)

    def bytes_a_run(self, structure: Structure) -> int:
        """Give the bytes of a run's rows in all tables, before compression; about those of its arrays as well."""
        record, steps = self.sweep.record, structure.steps
        runs = 8 * (structure.n_parameters + 16 + len(self.domains))
        history = 24 * (steps + 1) * record.history
        a_step = 52 * structure.n_parameters + 56 * structure.n_samples * (
            structure.layers[0] + structure.n_units
        )
        return runs + history + a_step * (steps + 1) * record.trace

    def data_bytes_a_run(self, structure: Structure) -> int:
        """Give the bytes of the data that a run has for itself; 0 where the runs of a group share them."""
        if not any(name in self.domains and not PARAMETERS[name].structural for name in DATA_PARAMETERS):
            return 0
        samples = structure.n_samples + structure.n_validation
        return 8 * samples * (structure.layers[0] + structure.layers[-1])

    def refuse_too_large(self) -> None:
        """Raise `SweepError` where a single block of runs is more than memory should hold."""
        for group in self.groups:
            needed = BLOCK * self.data_bytes_a_run(group.structure)
            if needed > BLOCK_BYTES:
                message = (
                    f"the data of {BLOCK} runs, which differ from run to run, take {needed / 1e9:.1f} GB at "
                    "once; take fewer samples, or make no axis of what changes the data"
                )
                raise SweepError([Problem(self.sweep.name, None, "data", message)])
            needed = BLOCK * self.bytes_a_run(group.structure)
            if needed > BLOCK_BYTES:
                message = (
                    f"the record of {BLOCK} runs of layers {list(group.structure.layers)} for "
                    f"{group.structure.steps} steps takes {needed / 1e9:.1f} GB at once; take fewer steps, or "
                    "switch record.trace and record.history off"
                )
                raise SweepError([Problem(self.sweep.name, None, "record", message)])

    def runs(self, shard: Shard) -> Runs:
        """Give the ids and the parameter values of the runs of a shard."""
        parts = list(self._parts(shard))
        return Runs(
            np.concatenate([part.ids for part in parts]),
            {name: np.concatenate([part.codes[name] for part in parts]) for name in self.domains},
        )

    def _parts(self, shard: Shard) -> Iterator[Runs]:
        ends = shard.group.ends
        number, position = bisect.bisect_right(ends, shard.start), shard.start
        while position < shard.stop:
            box, stop = shard.group.boxes[number], min(ends[number], shard.stop)
            before = ends[number] - box.n_runs
            yield self._decode(box, position - before, stop - before)
            number, position = number + 1, stop

    def _decode(self, box: Box, start: int, stop: int) -> Runs:
        axes = list(self.grids[box.grid])
        digits = box.digits(start, stop)
        indices = np.full(stop - start, self.starts[box.grid], np.int64)
        if axes:
            shape = tuple(len(self.grids[box.grid][name]) for name in axes)
            indices += np.ravel_multi_index(digits, shape)
        by_axis = dict(zip(axes, digits, strict=True))
        codes = {
            name: codes[by_axis[name]] if name in by_axis else np.repeat(codes, stop - start)
            for name, codes in self.grid_codes[box.grid].items()
        }
        return Runs(indices, codes)

    def parameters(self, run: int) -> dict[str, Any]:
        """Give the value of every parameter of a run, or of the repeated combination that has this id.

        Raises
        ------
        IndexError
            If the sweep has no run of that id.
        """
        if not 0 <= run < self.starts[-1]:
            raise IndexError(f"there is no run {run}; ids are 0 to {self.starts[-1] - 1}")
        number = bisect.bisect_right(self.starts, run) - 1
        grid = self.grids[number]
        values = dict(self.base)
        index = run - self.starts[number]
        for name in reversed(grid):
            index, digit = divmod(index, len(grid[name]))
            values[name] = grid[name][digit]
        return values

    def find(self, values: Mapping[str, Any]) -> int:
        """Give the id of the run with these parameter values, those not named as in `base`.

        Raises
        ------
        KeyError
            If no grid holds that combination.
        """
        wanted = dict.fromkeys(PARAMETERS) | self.base | dict(values)
        for start, grid in zip(self.starts, self.grids, strict=False):
            if any(name not in grid and wanted[name] != self.base.get(name) for name in wanted):
                continue
            if all(wanted.get(name) in grid[name] for name in grid):
                index = 0
                for name, axis in grid.items():
                    index = index * len(axis) + axis.index(wanted[name])
                return start + index
        raise KeyError(f"no run has {values}")

"""The plan: the lazy map between run ids and parameter values, and the cut into groups and shards.

A run's id is its index in the sweep: grid after grid, the last dimension of a grid varying fastest (a dimension is
an axis, or axes that advance together). Of equal combinations, in two grids or where a conditional parameter does
not exist, the first keeps its id and the other ids are not used. Nothing here is as long as the number of runs,
only as the dimensions. May import ``boxes``, ``structures``, ``data``, ``sweep``, ``kernels``, NumPy and the
standard library.
"""

import bisect
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np

from fastbp.boxes import Box, distinct, split
from fastbp.data import DataSource, load_data
from fastbp.kernels.structure import Structure
from fastbp.structures import n_steps_kept, structure_of
from fastbp.sweep import DATA_PARAMETERS, PARAMETERS, Grid, Problem, Sweep, SweepError, parameter
from fastbp.sweep.needs import absent, deciders, decides_alike, needs_of

SHARD_BYTES = 128 * 2**20  # of arrays and tables; keeps the memory of a sweep of any size within bounds
SHARD_RUNS = 2**17
BLOCK_BYTES = 2 * 2**30  # by `bytes_a_run`; while it is written a shard takes some four times as much
BLOCK = 32  # runs: a shard is whole blocks on every machine


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
        self.grids = sweep.grid or (Grid(axes={}),)
        self.starts = [0, *itertools.accumulate(math.prod(grid.shape) for grid in self.grids)]
        names = dict.fromkeys(name for grid in self.grids for name in grid.axes)
        self.conditional = [name for name in dict.fromkeys((*PARAMETERS, *names)) if needs_of(name)]
        self.domains = {name: self._domain(name) for name in names}
        self._looked_up: dict[str, dict[Any, int]] = {}
        self._numbers: dict[str, tuple[np.ndarray | None, np.ndarray]] = {}
        self.groups = self._groups()
        boxes = [box for group in self.groups for box in group.boxes]
        for name in self.domains.keys() & set(self.conditional):
            code = self._places(name)[None]
            if all(box.fixed.get(name) != code for box in boxes):  # every run has it
                self.domains[name] = self.domains[name][:-1]

    def _domain(self, name: str) -> tuple[Any, ...]:
        values = [
            grid.axes[name].values if name in grid.axes else (self.base.get(name),) for grid in self.grids
        ]
        present = dict.fromkeys(itertools.chain(*values))
        if name in self.conditional:  # last, so that it can be left out where it is the value of no run
            present.pop(None, None)
            present[None] = None
        return tuple(present)

    @cached_property
    def scores(self) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        """What the scores of the runs are called, and those of the runs that have a validation part."""
        structures = [group.structure for group in self.groups]
        validated = (structure.score_name for structure in structures if structure.n_validation)
        return tuple(dict.fromkeys(s.score_name for s in structures)), tuple(dict.fromkeys(validated))

    def numbers(self, name: str) -> tuple[np.ndarray | None, np.ndarray]:
        """Give a domain as an array and where it has no value; None where not all values are numbers."""
        if name not in self._numbers:
            domain = self.domains[name]
            is_unset = np.array([value is None for value in domain])
            known = [0 if value is None else value for value in domain]
            plain = set(map(type, known)) <= {int, float}
            self._numbers[name] = np.array(known) if plain else None, is_unset
        return self._numbers[name]

    def _places(self, name: str) -> dict[Any, int]:
        """Give the place of each value of a domain; made when first asked for, a domain may be long."""
        if name not in self._looked_up:
            self._looked_up[name] = {value: place for place, value in enumerate(self.domains[name])}
        return self._looked_up[name]

    def _groups(self) -> list[Group]:
        whole: dict[Structure, list[Box]] = {}
        kept: dict[Structure, list[Box]] = {}
        for number in range(len(self.grids)):
            for structure, box in self._boxes(number):
                pieces = [box]
                for earlier in whole.setdefault(structure, []):
                    # The boxes of one grid have no run in common.
                    if earlier.grid != number:
                        pieces = [part for piece in pieces for part in piece.without(earlier)]
                whole[structure].append(box)
                kept.setdefault(structure, []).extend(pieces)
        return [Group(structure, tuple(parts)) for structure, parts in kept.items() if parts]

    def _boxes(self, number: int) -> Iterator[tuple[Structure, Box]]:
        """Give the boxes of a grid whose runs have one structure and the same parameters; equal runs once."""
        grid, codes = self.grids[number], self._codes(number)
        names = [name for name in self.conditional if name in self.domains or self.base.get(name) is not None]
        first = [
            split(self._deciding(dimension, codes, names), np.arange(n))
            for dimension, n in zip(grid.dimensions, grid.shape, strict=True)
        ]
        for decided in itertools.product(*first):
            missing = absent(names, self._values(grid, decided))
            swept = tuple(
                tuple(name for name in dimension if name not in missing) for dimension in grid.dimensions
            )
            second = [
                split([codes[name] for name in has if name in names and _structural(name)], indices)
                for has, indices in zip(swept, decided, strict=True)
            ]
            fixed = {
                name: self._places(name)[None if name in missing else self.base.get(name)]
                for name in self.domains
                if name in missing or name not in grid.axes
            }
            for chosen in itertools.product(*second):
                structure = self._structure(self._values(grid, chosen) | dict.fromkeys(missing), number)
                indices = tuple(
                    # Without a parameter that it does not have, a point may equal an earlier one.
                    distinct([codes[name] for name in has], points) if missing & set(dimension) else points
                    for dimension, has, points in zip(grid.dimensions, swept, chosen, strict=True)
                )
                yield structure, Box(number, indices, swept, codes, fixed)

    def _codes(self, number: int) -> dict[str, np.ndarray]:
        """Give the place in its domain of each value of each axis of a grid."""
        codes = {}
        for name, axis in self.grids[number].axes.items():
            n, domain = len(axis.values), self.domains[name]
            if axis.values == domain[:n]:  # the usual case, and no need to look up a million values
                codes[name] = np.arange(n)
            else:
                codes[name] = np.fromiter(map(self._places(name).__getitem__, axis.values), np.int64, n)
        return codes

    def _deciding(
        self, dimension: tuple[str, ...], codes: Mapping[str, np.ndarray], conditional: Sequence[str]
    ) -> list[np.ndarray]:
        """Give the columns of a dimension that decide the structure, or whether conditional parameters exist."""
        columns = [codes[name] for name in dimension if name not in conditional and _structural(name)]
        for name in conditional:
            for decider in set(deciders(name)) & set(dimension):
                if _structural(decider):
                    continue
                alike = [decides_alike(name, decider, value) for value in self.domains[decider]]
                _, among = np.unique(np.array(alike), axis=0, return_inverse=True)
                columns.append(among.ravel()[codes[decider]])
        return columns

    def _values(self, grid: Grid, indices: Sequence[np.ndarray]) -> dict[str, Any]:
        """Give the value of every parameter at the first of the points of each dimension."""
        digits = [int(points[0]) for points in indices]
        return self.base | _at(grid, digits)

    def _structure(self, values: Mapping[str, Any], number: int) -> Structure:
        """Give the structure of a run of the grid `number`; raise `SweepError` where there can be none."""
        found = structure_of(values, self.data)
        if isinstance(found, Structure):
            return found
        source = self.sweep.source(number, found.parameter, values[found.parameter])
        raise SweepError([self.sweep.problem(source, found.message)])

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
        runs = 8 * (structure.n_parameters + 24 + len(self.domains))
        history = (16 + 8 * len(record.measures)) * n_steps_kept(record, steps)
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
        grid, points = self.grids[box.grid], box.points(start, stop)
        ids = np.full(stop - start, self.starts[box.grid], np.int64)
        stride = 1
        for n, point in zip(reversed(grid.shape), reversed(points), strict=True):
            ids += point * stride
            stride *= n
        codes = {
            name: np.full(stop - start, box.fixed[name])
            if name in box.fixed
            else box.codes[name][points[box.homes[name]]]
            for name in self.domains
        }
        return Runs(ids, codes)

    def parameters(self, run: int) -> dict[str, Any]:
        """Give the value of every parameter of a run, or of the repeated combination that has this id.

        A conditional parameter that the run does not have is None.

        Raises
        ------
        IndexError
            If the sweep has no run of that id.
        """
        if not 0 <= run < self.starts[-1]:
            raise IndexError(f"there is no run {run}; ids are 0 to {self.starts[-1] - 1}")
        number = bisect.bisect_right(self.starts, run) - 1
        grid, index, digits = self.grids[number], run - self.starts[number], []
        for n in reversed(grid.shape):
            index, digit = divmod(index, n)
            digits.append(digit)
        values = self.base | _at(grid, digits[::-1])
        return values | dict.fromkeys(absent(self.conditional, values))

    def find(self, values: Mapping[str, Any]) -> int:
        """Give the id of the run with these parameter values, those not named as in `base`.

        Raises
        ------
        KeyError
            If no grid holds that combination.
        """
        wanted = dict.fromkeys(PARAMETERS) | self.base | dict(values)
        missing = absent(self.conditional, wanted)
        if all(values.get(name) is None for name in missing):
            wanted |= dict.fromkeys(missing)
            for start, grid in zip(self.starts, self.grids, strict=False):
                fixed = self.base | dict.fromkeys(missing)
                outside = wanted.keys() - grid.axes.keys()
                if all(wanted[name] == fixed.get(name) for name in outside):
                    digits = [_find(grid, names, missing, wanted) for names in grid.dimensions]
                    if -1 not in digits:
                        return start + _number(digits, grid.shape)
        raise KeyError(f"no run has {values}")


def _structural(name: str) -> bool:
    known = parameter(name)
    return known is not None and known.structural


def _at(grid: Grid, digits: Sequence[int]) -> dict[str, Any]:
    """Give the value of each axis at one point of each dimension."""
    dimensions = zip(grid.dimensions, digits, strict=True)
    return {name: grid.axes[name].values[digit] for names, digit in dimensions for name in names}


def _find(grid: Grid, names: Sequence[str], missing: AbstractSet[str], wanted: Mapping[str, Any]) -> int:
    """Give the first point of a dimension with the wanted values, whatever those of `missing`; -1 if none has."""
    has = [name for name in names if name not in missing]
    if not has:
        return 0
    point = tuple(wanted.get(name) for name in has)
    points = zip(*(grid.axes[name].values for name in has), strict=True)
    return next((digit for digit, values in enumerate(points) if values == point), -1)


def _number(digits: Sequence[int], shape: Sequence[int]) -> int:
    """Give the number that has these digits in row-major order."""
    return reduce(lambda number, place: number * place[1] + place[0], zip(digits, shape, strict=True), 0)

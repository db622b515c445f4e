"""Boxes: sets of combinations of values that are products along the dimensions of a grid, or nearly so.

Values are codes here, whole numbers that all grids share. Nothing is as long as the number of combinations, only
as the dimensions. May import NumPy and the standard library.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np

NONE = np.empty(0, np.int64)


def labels(columns: Iterable[np.ndarray]) -> np.ndarray:
    """Give a number to each row of a table of codes: the same number to equal rows."""

    def refined(label: np.ndarray, column: np.ndarray) -> np.ndarray:
        return np.unique(label * (column.max(initial=0) + 1) + column, return_inverse=True)[1]

    return reduce(refined, columns)


def split(columns: Sequence[np.ndarray], indices: np.ndarray) -> list[np.ndarray]:
    """Cut indices into those of equal rows, in the order in which these rows first stand."""
    if not columns:
        return [indices]
    label = labels([column[indices] for column in columns])
    _, first, counts = np.unique(label, return_index=True, return_counts=True)
    parts = np.split(indices[np.argsort(label, kind="stable")], np.cumsum(counts)[:-1])
    return [parts[place] for place in np.argsort(first)]


def distinct(columns: Sequence[np.ndarray], indices: np.ndarray) -> np.ndarray:
    """Give the indices of rows that do not stand earlier; the first index alone where there are no columns."""
    if not columns:
        return indices[:1]
    _, first = np.unique(labels([column[indices] for column in columns]), return_index=True)
    return indices[np.sort(first)]


@dataclass(frozen=True)
class Box:
    """Some of the combinations of one grid: the product of some points of each dimension, but for its holes.

    Parameters
    ----------
    grid : int
    indices : tuple of arrays
        The points of each dimension, as their indices in the grid, ascending.
    swept : tuple of tuple of str
        The parameters that each dimension sweeps.
    codes : dict of arrays
        The code of each of these parameters along its whole dimension.
    fixed : dict of int
        The code of every other parameter.
    pierced : tuple of int
        The dimensions of the holes.
    holes : array
        Which combinations of points of the pierced dimensions are left out: their places in row-major order.
    """

    grid: int
    indices: tuple[np.ndarray, ...]
    swept: tuple[tuple[str, ...], ...]
    codes: Mapping[str, np.ndarray]
    fixed: Mapping[str, int]
    pierced: tuple[int, ...] = ()
    holes: np.ndarray = field(default_factory=lambda: NONE)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of points of each dimension."""
        return tuple(map(len, self.indices))

    @cached_property
    def homes(self) -> dict[str, int]:
        """The dimension of each swept parameter."""
        return {name: place for place, names in enumerate(self.swept) for name in names}

    @property
    def whole(self) -> tuple[int, ...]:
        """The dimensions without holes."""
        return tuple(place for place in range(len(self.indices)) if place not in self.pierced)

    @property
    def n_runs(self) -> int:
        """Number of combinations."""
        pierced = math.prod(self.shape[place] for place in self.pierced) - len(self.holes)
        return pierced * math.prod(self.shape[place] for place in self.whole)

    def column(self, name: str) -> np.ndarray:
        """Give the codes of a swept parameter along the points of its dimension."""
        return self.codes[name][self.indices[self.homes[name]]]

    def points(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """Give the index in each dimension of the combinations `start` to `stop`."""
        if not self.pierced:
            return tuple(
                chosen[digits] for chosen, digits in zip(self.indices, self._count(start, stop), strict=True)
            )
        n_inner = math.prod(self.shape[place] for place in self.whole)
        outer, inner = np.divmod(np.arange(start, stop), n_inner)
        # So many combinations that are kept stand before each hole.
        outer += np.searchsorted(self.holes - np.arange(len(self.holes)), outer, side="right")
        digits = self._digits(self.pierced, outer) | self._digits(self.whole, inner)
        return tuple(chosen[digits[place]] for place, chosen in enumerate(self.indices))

    def _count(self, start: int, stop: int) -> list[np.ndarray]:
        """Give the digit in each dimension of the numbers `start` to `stop`: a faster `unravel_index`."""
        digits, stride = [], 1
        for n in reversed(self.shape):
            first, last = start // stride, max(start, stop - 1) // stride
            quotients = np.arange(first, last + 1)
            repeats = np.full(len(quotients), stride)
            repeats[0] -= start - first * stride
            repeats[-1] -= (last + 1) * stride - stop
            # NumPy divides many times as fast as it takes the remainder.
            digit = quotients - quotients // n * n
            digits.append(digit[: stop - start] if stride == 1 else np.repeat(digit, repeats))
            stride *= n
        return digits[::-1]

    def _digits(self, dimensions: Sequence[int], places: np.ndarray) -> dict[int, np.ndarray]:
        """Give the digit in each of the dimensions of places in their row-major order."""
        if not dimensions:
            return {}
        digits = np.unravel_index(places, tuple(self.shape[dimension] for dimension in dimensions))
        return dict(zip(dimensions, digits, strict=True))

    def _places(self, digits: Mapping[int, np.ndarray]) -> np.ndarray:
        """Give the places in row-major order of digits in some dimensions, ascending, each once."""
        shape = tuple(self.shape[dimension] for dimension in digits)
        return np.unique(np.ravel_multi_index(tuple(digits.values()), shape))

    def part(self, indices: tuple[np.ndarray, ...]) -> "Box":
        """Give what lies within some of the points of each dimension."""
        smaller = replace(self, indices=indices)
        if not len(self.holes):
            return smaller
        digits = self._digits(self.pierced, self.holes)
        holes = {dimension: self.indices[dimension][digit] for dimension, digit in digits.items()}
        inside = np.logical_and.reduce([np.isin(holes[k], indices[k]) for k in self.pierced])
        kept = {k: np.searchsorted(indices[k], points[inside]) for k, points in holes.items()}
        return replace(smaller, holes=smaller._places(kept))

    def pierce(self, cells: Mapping[int, np.ndarray]) -> "Box":
        """Leave out some combinations of points of some dimensions, given by their digits."""
        pierced = tuple(sorted({*self.pierced, *cells}))
        old = self._spread(self._digits(self.pierced, self.holes), pierced) if len(self.holes) else NONE
        holes = np.union1d(old, self._spread(cells, pierced))
        return replace(self, pierced=pierced, holes=holes)

    def _spread(self, cells: Mapping[int, np.ndarray], dimensions: Sequence[int]) -> np.ndarray:
        """Give the places of cells that reach through all points of the dimensions that they do not name."""
        more = [dimension for dimension in dimensions if dimension not in cells]
        n_cells, n_more = len(next(iter(cells.values()))), math.prod(self.shape[k] for k in more)
        rest = self._digits(more, np.arange(n_more))
        return self._places(
            {k: np.repeat(cells[k], n_more) if k in cells else np.tile(rest[k], n_cells) for k in dimensions}
        )

    def without(self, other: "Box") -> list["Box"]:
        """Give disjoint boxes of what lies outside of another box, which has no holes."""
        overlap = _overlap(self, other)
        if overlap is None:
            return [self]
        inside, joints = overlap
        if len(joints) > 1:  # rare, and not to be told in holes of few dimensions: point by point of one
            pieces = [self]
            for point in _single_points(other, min(joints, key=lambda joint: len(joint.rows))):
                pieces = [part for piece in pieces for part in piece.without(point)]
            return pieces
        pieces, rest = [], list(self.indices)
        for place, mask in enumerate(inside):
            if not mask.all():
                outside = rest[place][~mask]
                pieces.append(self.part((*rest[:place], outside, *rest[place + 1 :])))
                rest[place] = rest[place][mask]
        if joints:
            core = self.part(tuple(rest))
            pieces.append(core.pierce(_cells(core, joints[0])))
        return [piece for piece in pieces if piece.n_runs]


@dataclass(frozen=True)
class Joint:
    """Parameters that advance together in one box and are swept by several dimensions of another.

    Parameters
    ----------
    dimension : int
        Where they advance together.
    rows : array
        The points of that dimension that count, as digits.
    columns : dict of arrays
        The codes of the parameters at these points.
    """

    dimension: int
    rows: np.ndarray
    columns: dict[str, np.ndarray]


def _overlap(box: Box, other: Box) -> tuple[list[np.ndarray], list[Joint]] | None:
    """Give where two boxes overlap: a mask of the points of each dimension of `box`, and joints.

    None where they have no combination in common.
    """
    if any(other.fixed.get(name, code) != code for name, code in box.fixed.items()):
        return None
    inside = [np.ones(n, bool) for n in box.shape]
    for name, place in box.homes.items():
        if name in other.fixed:
            inside[place] &= box.column(name) == other.fixed[name]
    joints = []
    for dimension, names in enumerate(other.swept):
        fits = np.ones(other.shape[dimension], bool)
        for name in names:
            if name in box.fixed:
                fits &= other.column(name) == box.fixed[name]
        if not fits.any():
            return None
        columns = {name: other.column(name)[fits] for name in names if name in box.homes}
        touched = {box.homes[name] for name in columns}
        if len(touched) == 1:
            mine, theirs = _common_labels(box, columns)
            inside[touched.pop()] &= np.isin(mine, theirs)
        elif touched:
            joints.append(Joint(dimension, np.flatnonzero(fits), columns))
    return (inside, joints) if all(mask.any() for mask in inside) else None


def _common_labels(box: Box, columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Number the points of one dimension of a box, and rows of a table, by the values of some parameters."""
    both = labels([np.concatenate([box.column(name), column]) for name, column in columns.items()])
    n_rows = len(next(iter(columns.values())))
    return both[:-n_rows], both[-n_rows:]


def _single_points(other: Box, joint: Joint) -> Iterable[Box]:
    """Give the boxes that `other` is cut into along the points of a joint."""
    swept = tuple(() if k == joint.dimension else names for k, names in enumerate(other.swept))
    names = other.swept[joint.dimension]
    for row in joint.rows:
        index = other.indices[joint.dimension][row : row + 1]
        indices = (*other.indices[: joint.dimension], index, *other.indices[joint.dimension + 1 :])
        fixed = {**other.fixed, **{name: int(other.codes[name][index[0]]) for name in names}}
        yield replace(other, indices=indices, swept=swept, fixed=fixed)


def _cells(box: Box, joint: Joint) -> dict[int, np.ndarray]:
    """Give the combinations of points that meet a row of a joint, as digits in the dimensions that it touches."""
    rows = np.arange(len(joint.rows))
    cells: dict[int, np.ndarray] = {}
    for dimension in sorted({box.homes[name] for name in joint.columns}):
        columns = {name: col for name, col in joint.columns.items() if box.homes[name] == dimension}
        mine, theirs = _common_labels(box, columns)
        order = np.argsort(mine, kind="stable")
        start = np.searchsorted(mine[order], theirs[rows], side="left")
        counts = np.searchsorted(mine[order], theirs[rows], side="right") - start
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(rows, counts)
        cells = {known: np.repeat(digits, counts) for known, digits in cells.items()}
        cells[dimension] = order[np.repeat(start, counts) + within]
    return cells

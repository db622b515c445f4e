"""The grids of a sweep file: axes, as lists or as ranges, and which of them advance together.

Imports the standard library, NumPy, pydantic and `fastbp.sweep.parameters`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from fastbp.sweep.parameters import Parameter
from fastbp.sweep.values import (
    MAXIMUM_INTEGER,
    RefusedError,
    at,
    each,
    nearest,
    number,
    quoted,
    shown,
    text,
    whole,
)

MAXIMUM_AXIS = 10_000_000


class Axis(BaseModel):
    """The values that one parameter takes in a grid, expanded and in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    values: tuple[Any, ...]


class Grid(BaseModel):
    """Axes in file order, some of which may advance together: a grid is the product of its `dimensions`.

    Parameters
    ----------
    axes : dict of Axis
    together : tuple of tuple of str
        Names of axes of equal length that advance together, as `grouped` orders them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    axes: dict[str, Axis]
    together: tuple[tuple[str, ...], ...] = ()

    def __eq__(self, other: object) -> bool:
        # The order of the axes numbers the runs; a dict's equality would overlook it.
        return (
            isinstance(other, Grid)
            and self.together == other.together
            and list(self.axes.items()) == list(other.axes.items())
        )

    def __hash__(self) -> int:
        return hash((self.together, *((name, axis.values) for name, axis in self.axes.items())))

    @property
    def dimensions(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of the axes of each dimension; the last dimension varies fastest.

        Axes that advance together are one dimension, in the place of the first of them.
        """
        groups = {name: group for group in self.together for name in group}
        return tuple(dict.fromkeys(groups.get(name, (name,)) for name in self.axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the number of points of each dimension."""
        return tuple(len(self.axes[names[0]].values) for names in self.dimensions)


def grouped(axes: Iterable[str], groups: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of names that are axes, in the order of the axes; one name alone is no group."""
    places = {name: place for place, name in enumerate(axes)}
    ordered = [tuple(sorted(set(group) & set(places), key=places.__getitem__)) for group in groups]
    return tuple(sorted((group for group in ordered if len(group) > 1), key=lambda group: places[group[0]]))


def read_groups(value: Any, axes: Sequence[str]) -> tuple[list[list[str]], list[RefusedError]]:
    """Return the groups of names that ``zip = [...]`` stands for, those that are refused left out, and why."""
    if not isinstance(value, list) or not value:
        message = (
            'must be a list of names of axes, such as ["learning_rate", "steps"], or a list of such lists'
        )
        return [], [RefusedError(message)]
    nested = any(isinstance(item, list) for item in value)
    refusals: list[RefusedError] = []
    taken: set[str] = set()
    groups = []
    for index, group in enumerate(value) if nested else [(None, value)]:
        try:
            check = partial(_group, axes=axes, taken=taken)
            groups.append(check(group) if index is None else at(index, check, group))
        except RefusedError as refusal:
            refusals += refusal.all
    return groups, refusals


def _group(value: Any, axes: Sequence[str], taken: set[str]) -> list[str]:
    """Return the names of one group; these are added to `taken`."""

    def check(name: Any) -> str:
        if text(name) not in axes:
            raise RefusedError(f"{quoted(name)} is no axis of this grid{nearest(name, axes)}")
        if name in taken:
            raise RefusedError(f"names {name} twice; an axis may stand once, in one group")
        taken.add(name)
        return str(name)

    if not isinstance(value, list):
        raise RefusedError(f"must be a list of names, as the others are, not {shown(value)}")
    names = each(check, value)
    if len(names) < 2:
        raise RefusedError("needs at least two axes that advance together; add one, or remove the group")
    return names


def refuse_unequal(axes: Mapping[str, Axis], group: Sequence[str]) -> None:
    """Raise `RefusedError` where axes of a group differ in length, or advance to the same values twice."""
    first, *others = group
    for name in others:
        ours, theirs = len(axes[first].values), len(axes[name].values)
        if ours != theirs:
            message = f"{first} has {ours} values but {name} has {theirs}"
            raise RefusedError(f"{message}; axes that advance together must be equally long")
    points: dict[tuple[Any, ...], int] = {}
    for index, point in enumerate(zip(*(axes[name].values for name in group), strict=True)):
        if (earlier := points.setdefault(point, index)) != index:
            message = f"{', '.join(group)} take the same values at {earlier} and at {index} (counting from 0)"
            raise RefusedError(f"{message}; remove one of the two")


def read_axis(
    parameter: Parameter, value: Any, repeatable: bool = False
) -> tuple[Axis | None, list[RefusedError]]:
    """Return the axis that `value` stands for, or every reason why it stands for none.

    A value may stand in it twice only where `repeatable`: in an axis that advances together with others.
    """
    refusals: list[RefusedError] = []
    values: Sequence[Any] = ()
    try:
        if isinstance(value, dict):
            values = _range(parameter, value)
        elif isinstance(value, list):
            values = _listed(parameter, value, refusals)
        else:
            message = f"must be an axis, such as [{_plain(value)}]"
            raise RefusedError(f"{message}; to give all runs one value, set it in [{parameter.section}]")
        if not refusals and not repeatable:
            refuse_repeated(values)
    except RefusedError as refusal:
        refusals += refusal.all
    return (None, refusals) if refusals else (Axis(values=tuple(values)), [])


def _plain(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else shown(value)


def _listed(parameter: Parameter, items: list[Any], refusals: list[RefusedError]) -> list[Any]:
    """Return the checked items of a list; those refused are appended to `refusals`."""
    if not items:
        raise RefusedError("is an empty axis; give at least one value or remove the key")
    values = []
    for index, item in enumerate(items):
        try:
            values.append(at(index, parameter.check, item))
        except RefusedError as refusal:
            refusals += refusal.all
    return values


def refuse_repeated(values: Sequence[Any]) -> None:
    """Raise `RefusedError` for the first value that stands a second time."""
    seen: set[Any] = set()
    for index, value in enumerate(values):
        if value in seen:
            plain = list(value) if isinstance(value, tuple) else _plain(value)
            raise RefusedError(f"names {plain} twice; a value may stand once in an axis", index)
        seen.add(value)


def _range(parameter: Parameter, table: Mapping[str, Any]) -> Sequence[Any]:
    """Return the numbers that ``{ linspace | geomspace | arange = [a, b, c] }`` stands for."""
    if len(table) != 1 or (rule := next(iter(table))) not in RANGES:
        unknown = next((key for key in table if key not in RANGES), None)
        hint = f"; {unknown} is unknown{nearest(unknown, RANGES)}" if unknown else ""
        if unknown in ("uniform", "loguniform", "normal", "choice", "integers"):
            hint = f"; {unknown} draws at random: name it in a table [random]"
        raise RefusedError(
            f"must hold exactly one of {', '.join(RANGES)}{hint}", *([unknown] if unknown else [])
        )
    if parameter.kind is None:
        raise RefusedError("takes no range, only numbers do; give a list of values")
    if parameter.kind == "integer" and rule != "arange":
        raise RefusedError(f"takes whole numbers; use arange or a list instead of {rule}", rule)
    limits = table[rule]
    if not isinstance(limits, list) or len(limits) != 3:
        raise RefusedError(f"{rule} takes three numbers: {RANGES[rule].form}", rule)
    check = number if parameter.kind == "number" else whole(-MAXIMUM_INTEGER)
    checks = (check, check, check if rule == "arange" else read_count)
    numbers = at(rule, lambda items: [at(k, checks[k], item) for k, item in enumerate(items)], limits)
    values = at(rule, lambda items: RANGES[rule].values(*items), numbers)
    for value in (values[0], values[-1]):  # a range is monotone: where its ends are allowed, all is
        at(rule, parameter.check, value)
    return values


def read_count(value: Any) -> int:
    """Return a number of values that an axis may have."""
    if (count := whole(1)(value)) > MAXIMUM_AXIS:
        raise RefusedError(f"asks for {count} values; use at most {MAXIMUM_AXIS}")
    return count


def linspace(start: float, stop: float, count: int) -> list[float]:
    """Return `count` evenly spaced numbers, both end points exactly included."""
    with np.errstate(all="ignore"):
        values = np.linspace(start, stop, count)
    if not np.isfinite(values).all():
        raise RefusedError("spans more than a float64 can hold")
    return list(values.tolist())


def geomspace(start: float, stop: float, count: int) -> list[float]:
    """Return `count` numbers of constant ratio, both end points exactly included."""
    if start == 0 or stop == 0 or (start < 0) != (stop < 0):
        raise RefusedError(
            "geomspace needs two end points of the same sign, neither of them 0; or use linspace"
        )
    return list(np.geomspace(start, stop, count).tolist())


def arange(start: float, stop: float, step: float) -> list[float]:
    """Return ``start, start + step, ...`` up to but without `stop`."""
    if step == 0:
        raise RefusedError("arange needs a step other than 0", 2)
    quotient = (stop - start) / step
    if not math.isfinite(quotient):
        raise RefusedError("spans more than a float64 can hold")
    # (1.3 - 1.0) / 0.1 is a little more than 3: the end point must not slip in through rounding.
    count = round(quotient) if math.isclose(quotient, round(quotient), rel_tol=1e-9) else math.ceil(quotient)
    if count < 1:
        raise RefusedError("is an empty axis; arange must step from its first number towards its second")
    if count > MAXIMUM_AXIS:
        raise RefusedError(f"has {count} values; use at most {MAXIMUM_AXIS}")
    return [start + index * step for index in range(count)]


class Range(NamedTuple):
    """A rule that stands for the numbers of an axis, and the form of its three numbers."""

    values: Callable[..., list[float]]
    form: str


RANGES = {
    "linspace": Range(linspace, "[first, last, number of values]"),
    "geomspace": Range(geomspace, "[first, last, number of values]"),
    "arange": Range(arange, "[first, end (left out), step]"),
}

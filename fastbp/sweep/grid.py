"""The grids of a sweep file: axes, as lists or as ranges.

Imports the standard library, NumPy, pydantic and `fastbp.sweep.parameters`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from fastbp.sweep.parameters import (
    Parameter,
)
from fastbp.sweep.values import (
    MAXIMUM_INTEGER,
    RefusedError,
    at,
    nearest,
    number,
    quoted,
    shown,
    whole,
)

MAXIMUM_AXIS = 10_000_000


class Axis(BaseModel):
    """The values that one parameter takes in a grid, expanded and in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    values: tuple[Any, ...]


class Grid(BaseModel):
    """Axes in file order; a grid is the product of them, the last one varying fastest."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    axes: dict[str, Axis]

    def __eq__(self, other: object) -> bool:
        # The order of the axes numbers the runs; a dict's equality would overlook it.
        return isinstance(other, Grid) and list(self.axes.items()) == list(other.axes.items())

    def __hash__(self) -> int:
        return hash(tuple((name, axis.values) for name, axis in self.axes.items()))


def read_axis(parameter: Parameter, value: Any) -> tuple[Axis | None, list[RefusedError]]:
    """Return the axis that `value` stands for, or every reason why it stands for none."""
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
        if not refusals:
            _refuse_repeated(values)
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


def _refuse_repeated(values: Sequence[Any]) -> None:
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
    checks = (check, check, check if rule == "arange" else _count)
    numbers = at(rule, lambda items: [at(k, checks[k], item) for k, item in enumerate(items)], limits)
    values = at(rule, lambda items: RANGES[rule].values(*items), numbers)
    for value in (values[0], values[-1]):  # a range is monotone: where its ends are allowed, all is
        at(rule, parameter.check, value)
    return values


def _count(value: Any) -> int:
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

"""The table [random]: points drawn from a distribution for each parameter, as axes that advance together.

Imports the standard library, NumPy, `fastbp.sweep.grid` and what lies below it and, only where a method asks for
it, SciPy.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastbp.sweep.grid import Axis, read_count, refuse_repeated
from fastbp.sweep.parameters import LAYER_PARAMETERS, PARAMETERS, Parameter, parameter
from fastbp.sweep.values import (
    MAXIMUM_INTEGER,
    RefusedError,
    at,
    choice,
    each,
    nearest,
    number,
    shown,
    whole,
)

Draw = Callable[[np.ndarray], list[Any]]  # from numbers in [0, 1), evenly spread, to values
SPACING = 2.0**-53  # between the numbers in [0, 1)
OPTIONS = ("samples", "seed", "method")


class Points(NamedTuple):
    """The points of [random]: axes of equal length, and the values of each parameter that has a choice."""

    axes: dict[str, Axis]
    choices: dict[str, list[Any]]


class Distribution(NamedTuple):
    """A way to draw values: what it takes, the kinds of parameter it is for, and how it is read."""

    form: str
    kinds: tuple[str | None, ...]
    read: Callable[[Parameter, Any], Draw]


def read_random(table: Any) -> tuple[Points | None, list[RefusedError]]:
    """Return the points of the table [random], or every reason why there are none."""
    if not isinstance(table, dict):
        return None, [RefusedError(f"must be a table [random], not {shown(table)}")]
    refusals: list[RefusedError] = []
    options = _read_options(table, refusals)
    draws: dict[str, Draw] = {}
    for name, value in table.items():
        if name not in OPTIONS:
            try:
                draws[name] = at(name, partial(_read_distribution, name), value)
            except RefusedError as refusal:
                refusals += refusal.all
    if not draws and not refusals:
        refusals = [
            RefusedError("draws no parameter; add one, such as learning_rate = { loguniform = [0.01, 1] }")
        ]
    if refusals:
        return None, refusals
    try:
        units = METHODS[options["method"]](options["samples"], len(draws), options["seed"])
    except RefusedError as refusal:
        return None, refusal.all
    columns = {name: draw(units[:, k]) for k, (name, draw) in enumerate(draws.items())}
    refusals = _refuse_drawn(table, columns)
    choices = {name: _checked_choice(name, table[name]) for name in columns if "choice" in table[name]}
    return (None, refusals) if refusals else (Points(_axes(columns), choices), [])


def _read_options(table: Mapping[str, Any], refusals: list[RefusedError]) -> dict[str, Any]:
    """Return the checked options; what is refused of them is appended to `refusals`."""
    checks = (read_count, whole(0), choice("method", METHODS))
    options = {"seed": 0, "method": "uniform"}
    for name, check in zip(OPTIONS, checks, strict=True):
        try:
            if name in table:
                options[name] = at(name, check, table[name])
        except RefusedError as refusal:
            refusals += refusal.all
    if "samples" not in table:
        refusals.append(
            RefusedError("is missing; say how many points to draw, such as samples = 100", "samples")
        )
    return options


def _read_distribution(name: str, table: Any) -> Draw:
    if (item := parameter(name)) is None:
        hint = nearest(name, (*OPTIONS, *PARAMETERS, *(f"{of_layer}_1" for of_layer in LAYER_PARAMETERS)))
        raise RefusedError(f"unknown parameter{hint}")
    allowed = [rule for rule, distribution in DISTRIBUTIONS.items() if item.kind in distribution.kinds]
    if not isinstance(table, dict):
        form = f"{{ {allowed[0]} = {DISTRIBUTIONS[allowed[0]].form} }}"
        message = f"must be a distribution, such as {form}, not {shown(table)}"
        raise RefusedError(f"{message}; to give all runs one value, set it in [{item.section}]")
    if len(table) != 1 or (rule := next(iter(table))) not in DISTRIBUTIONS:
        unknown = next((key for key in table if key not in DISTRIBUTIONS), None)
        hint = f"; {unknown} is unknown{nearest(unknown, DISTRIBUTIONS)}" if unknown else ""
        path = [unknown] if unknown else []
        raise RefusedError(f"must hold exactly one of {', '.join(DISTRIBUTIONS)}{hint}", *path)
    if rule not in allowed:
        raise RefusedError(f"cannot be drawn by {rule}; use {' or '.join(allowed)}", rule)
    return at(rule, lambda value: DISTRIBUTIONS[rule].read(item, value), table[rule])


def _two(value: Any, form: str, check: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise RefusedError(f"takes two numbers: {form}")
    return each(check, value)


def _bounds(item: Parameter, value: Any, rule: str, check: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return the two ends of an interval; all that can be drawn from it is allowed."""
    low, high = _two(value, DISTRIBUTIONS[rule].form, check)
    if low >= high:
        raise RefusedError(f"must rise from its first number to its second, not from {low} to {high}")
    if not math.isfinite(high - low):
        raise RefusedError("spans more than a float64 can hold")
    last = high - 1 if rule == "integers" else float(np.nextafter(high, low))
    try:
        item.check(last)
    except (
        RefusedError
    ):  # a parameter allows all between two allowed values; the end reads better than `last`
        at(1, item.check, high)
    at(0, item.check, low)
    return low, high


def _uniform(item: Parameter, value: Any) -> Draw:
    low, high = _bounds(item, value, "uniform", number)
    # Rounding may reach the end that is left out.
    return lambda unit: np.minimum(low + (high - low) * unit, np.nextafter(high, low)).tolist()


def _loguniform(item: Parameter, value: Any) -> Draw:
    def positive(end: Any) -> float:
        if (result := number(end)) <= 0:
            raise RefusedError(f"must be more than 0 for loguniform, not {shown(end)}")
        return result

    low, high = _bounds(item, value, "loguniform", positive)
    start, span, last = math.log(low), math.log(high) - math.log(low), math.nextafter(high, low)

    def draw(unit: np.ndarray) -> list[float]:
        # Not np.exp: its last bit depends on the width of the processor's registers.
        return [min(max(math.exp(start + span * u), low), last) for u in unit.tolist()]

    return draw


def _normal(item: Parameter, value: Any) -> Draw:
    mean, deviation = _two(value, DISTRIBUTIONS["normal"].form, number)
    if deviation <= 0:
        raise RefusedError(f"must be more than 0, not {deviation}", 1)
    inverse = statistics.NormalDist(mean, deviation).inv_cdf
    return lambda unit: [inverse(max(u, SPACING / 2)) for u in unit.tolist()]  # at 0 it is minus infinity


def _integers(item: Parameter, value: Any) -> Draw:
    low, high = _bounds(item, value, "integers", whole(-MAXIMUM_INTEGER))
    return lambda unit: [low + min(int(u * (high - low)), high - low - 1) for u in unit.tolist()]


def _choice(item: Parameter, value: Any) -> Draw:
    if not isinstance(value, list) or not value:
        raise RefusedError("must be a list of values to choose from, with at least one")
    values = each(item.check, value)
    refuse_repeated(values)
    return lambda unit: [values[int(u * len(values))] for u in unit.tolist()]


DISTRIBUTIONS = {
    "uniform": Distribution("[least, end (left out)]", ("number",), _uniform),
    "loguniform": Distribution("[least, end (left out)]", ("number",), _loguniform),
    "normal": Distribution("[mean, standard deviation]", ("number",), _normal),
    "integers": Distribution("[least, end (left out)]", ("integer",), _integers),
    "choice": Distribution("[value, value, ...]", ("number", "integer", None), _choice),
}


def _checked_choice(name: str, table: Mapping[str, Any]) -> list[Any]:
    item = parameter(name)
    return [] if item is None else [item.check(value) for value in table["choice"]]


def _refuse_drawn(table: Mapping[str, Any], columns: Mapping[str, list[Any]]) -> list[RefusedError]:
    """Return a refusal for each parameter of which a value was drawn that it may not have."""
    refusals = []
    for name, values in columns.items():
        item, (rule,) = parameter(name), table[name]
        if item is not None and rule != "choice":
            for value in (min(values), max(values)):  # a parameter allows all between two allowed values
                try:
                    item.check(value)
                except RefusedError as refusal:
                    message = (
                        f"{refusal}, as {rule} draws it; change its numbers, or take another distribution"
                    )
                    refusals.append(RefusedError(message, name, rule))
    return refusals


def _axes(columns: Mapping[str, list[Any]]) -> dict[str, Axis]:
    """Return the points as axes; a point that was drawn twice would be the same runs, so it is kept once."""
    # Mostly some parameter tells all points apart: no need to make and compare the points themselves.
    if not any(len(set(values)) == len(values) for values in columns.values()):
        points = dict.fromkeys(zip(*columns.values(), strict=True))
        columns = dict(zip(columns, map(list, zip(*points, strict=True)), strict=True))
    return {name: Axis(values=tuple(values)) for name, values in columns.items()}


def _philox(samples: int, n_parameters: int, seed: int) -> np.ndarray:
    """Draw point by point: more samples go on where fewer end."""
    # NumPy promises the raw numbers of a bit generator for ever, but not what it makes of them.
    raw = np.random.Philox(key=seed).random_raw(samples * n_parameters)
    return ((raw >> np.uint64(11)) * SPACING).reshape(samples, n_parameters)


def _sobol(samples: int, n_parameters: int, seed: int) -> np.ndarray:
    engine = _qmc("sobol").Sobol(n_parameters, scramble=True, seed=_generator(seed))
    return engine.random_base2(math.ceil(math.log2(samples)))[:samples]


def _latin_hypercube(samples: int, n_parameters: int, seed: int) -> np.ndarray:
    return _qmc("latin_hypercube").LatinHypercube(n_parameters, seed=_generator(seed)).random(samples)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _qmc(method: str) -> Any:
    try:
        from scipy.stats import qmc
    except ImportError as error:
        message = f"{method} needs SciPy; pip install 'fastbp[random]', or take the method uniform"
        raise RefusedError(message, "method") from error
    return qmc


METHODS: dict[str, Callable[[int, int, int], np.ndarray]] = {
    "uniform": _philox,
    "sobol": _sobol,
    "latin_hypercube": _latin_hypercube,
}
# Other versions of SciPy may draw other points by these, so the points themselves are kept.
OF_SCIPY = ("sobol", "latin_hypercube")

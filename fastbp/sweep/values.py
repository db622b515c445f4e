"""Checks of single values: each takes a value as TOML gives it and returns it as the sweep keeps it, or raises.

Imports the standard library and, for names, `fastbp.kernels`.
"""

import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.parametrisations import PARAMETRISATIONS

Check = Callable[[Any], Any]
MAXIMUM_PARAMETERS = 10_000_000
MAXIMUM_INTEGER = 2**63 - 1  # samples travel as int64
DATA_FILES = (".csv", ".parquet", ".npz")
PARTS = ("inputs", "targets")  # of the data, as `standardise` names them


class RefusedError(ValueError):
    """A value that may not stand where it stands.

    Parameters
    ----------
    message : str
        What is wrong; what to do.
    *path : str or int
        Leads from the value that was checked to the part of it that is meant.

    Attributes
    ----------
    all : list of RefusedError
        This one, and those of other parts of the same value.
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path
        self.all = [self]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean X?)"`` for the known word nearest to `word`, or an empty string."""
    spellings = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), spellings, n=1, cutoff=0.5)
    return f" (did you mean {spellings[close[0]]}?)" if close else ""


def quoted(value: str) -> str:
    """Return a text in quotes, on one line and cut where it is long."""
    return json.dumps(value if len(value) <= 40 else f"{value[:40]}...", ensure_ascii=False)


def shown(value: Any) -> str:
    """Return a value as a message names it, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print the very long ones
        return "an integer of more than 64 bits"
    return str(value)


def number(value: Any) -> float:
    """Return a finite number as a float; true, false and texts are not numbers."""
    if type(value) not in (int, float):
        raise RefusedError(f"must be a number, not {shown(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise RefusedError(f"must be a finite number, not {shown(value)}")
    return result


def whole(minimum: int, maximum: int = MAXIMUM_INTEGER) -> Check:
    """Return the check of a whole number from `minimum` to `maximum`."""

    def check(value: Any) -> int:
        if type(value) is not int:
            raise RefusedError(f"must be a whole number, not {shown(value)}")
        if value < minimum:
            raise RefusedError(f"must be a whole number of at least {minimum}, not {shown(value)}")
        if value > maximum:
            raise RefusedError(f"must be a whole number of at most {maximum}, not {shown(value)}")
        return value

    return check


def flag(value: Any) -> bool:
    """Return true or false."""
    if type(value) is not bool:
        raise RefusedError(f"must be true or false, not {shown(value)}")
    return value


def text(value: Any) -> str:
    """Return a text."""
    if type(value) is not str:
        raise RefusedError(f"must be a text in quotes, not {shown(value)}")
    return value


def file_name(value: Any) -> str:
    """Return a plain file name: it names the result folder, so it must not lead out of it."""
    if len(text(value)) > 100:
        raise RefusedError(f"is {len(value)} characters long; use at most 100")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        advice = 'use letters, digits, ".", "_" and "-", and begin with a letter or a digit'
        raise RefusedError(f"{quoted(value)} is not a plain file name; {advice}")
    return value


def data_file(value: Any) -> str:
    """Return the name of a file of data, by its ending a kind that can be read."""
    if not text(value).lower().endswith(DATA_FILES):
        raise RefusedError(f"{quoted(value)} is no data file; its name must end in {', '.join(DATA_FILES)}")
    if "\0" in value:
        raise RefusedError("holds a NUL character, which no file name can")
    return value


def column_names(value: Any) -> tuple[str, ...]:
    """Return distinct names of columns."""
    if type(value) is not list or not value:
        found = "an empty list" if value == [] else shown(value)
        raise RefusedError(f"must be a list of names of columns, not {found}")
    each(text, value)
    for index, name in enumerate(value):
        if name in value[:index]:
            raise RefusedError(f"names {quoted(name)} twice", index)
    return tuple(value)


def standardised(value: Any) -> tuple[str, ...]:
    """Return the parts of the data that are standardised, in order."""
    if type(value) is bool:
        return PARTS[:1] if value else ()
    if type(value) is not list:
        raise RefusedError(f'must be true, false or a list out of "inputs" and "targets", not {shown(value)}')
    chosen = each(choice("part of the data", PARTS), value)
    return tuple(part for part in PARTS if part in chosen)


def fraction_or_count(value: Any) -> float:
    """Return a whole number of at least 0, or a fraction between 0 and 1."""
    if type(value) is int:
        return int(whole(0)(value))
    if not 0 < number(value) < 1:
        raise RefusedError(f"must be a fraction between 0 and 1 or a whole number, not {shown(value)}")
    return float(value)


def choice(noun: str, names: Iterable[str]) -> Check:
    """Return the check of a name out of `names`."""
    known = list(names)

    def check(value: Any) -> str:
        if text(value) not in known:
            known_names = ", ".join(known)
            raise RefusedError(f"unknown {noun} {quoted(value)}{nearest(value, known)}; known: {known_names}")
        return value

    return check


def units_of_a_layer(value: Any) -> int:
    """Return the number of units of a layer."""
    if type(value) is not int or value < 1:
        raise RefusedError(f"must be whole numbers of at least 1, not {shown(value)}")
    return value


def unit_counts(value: Any) -> tuple[int, ...]:
    """Return the numbers of units, the inputs first."""
    if type(value) is not list or len(value) < 2:
        raise RefusedError("must be a list of at least 2 numbers of units, such as [2, 3, 1]")
    each(units_of_a_layer, value)
    count = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(value))
    if count > MAXIMUM_PARAMETERS:
        raise RefusedError(f"has {count} weights and biases; use at most {MAXIMUM_PARAMETERS}")
    return tuple(value)


def rate(value: Any) -> float:
    """Return a finite number of at least 0."""
    if (result := number(value)) < 0:
        raise RefusedError(f"must be at least 0, not {shown(value)}")
    return result


def positive(value: Any) -> float:
    """Return a finite number above 0."""
    if (result := number(value)) <= 0:
        raise RefusedError(f"must be more than 0, not {shown(value)}")
    return result


def share(value: Any) -> float:
    """Return a number of at least 0 and below 1."""
    if not 0 <= (result := number(value)) < 1:
        raise RefusedError(f"must be at least 0 and below 1, not {shown(value)}")
    return result


def activation_names(value: Any) -> str | tuple[str, ...]:
    """Return the name of an activation, or a tuple with one for each layer of weights."""
    check = choice("activation", ACTIVATIONS)
    if type(value) is not list:
        return str(check(value))
    if not value:
        raise RefusedError("is an empty list; give a name, or one name for each layer of weights")
    return tuple(each(check, value))


def frozen_names(value: Any) -> tuple[str, ...]:
    """Return names of weights and biases, each once, in order."""
    if type(value) is not list:
        raise RefusedError(f'must be a list such as ["W1", "b"], not {shown(value)}')
    return tuple(sorted(set(each(_frozen_name, value))))


def _frozen_name(value: Any) -> str:
    if not re.fullmatch("[Wb]([1-9][0-9]{0,8})?", text(value)):
        raise RefusedError(f'unknown name {quoted(value)}; known: W1, b1, W2, b2 ..., "W" and "b" for all')
    return str(value)


def measure_names(names: Iterable[str]) -> Check:
    """Return the check of a list of measures, each once."""
    check = choice("measure", names)

    def checked(value: Any) -> tuple[str, ...]:
        if type(value) is not list or not value:
            found = "an empty list" if value == [] else shown(value)
            raise RefusedError(f'must be a list of names such as ["loss"], not {found}')
        return tuple(dict.fromkeys(each(check, value)))

    return checked


def rates(value: Any) -> float | tuple[float, ...]:
    """Return one learning rate, or a tuple with one for each layer of weights."""
    if type(value) is not list:
        return rate(value)
    if not value:
        raise RefusedError("is an empty list; give a number, or one number for each layer of weights")
    return tuple(each(rate, value))


def scales(value: Any) -> float | tuple[float, ...] | str:
    """Return one multiplier, a tuple with one for each layer of weights, or the name of a parametrisation."""
    if isinstance(value, str):
        return str(choice("scale", PARAMETRISATIONS)(value))
    if type(value) is not list:
        return number(value)
    if not value:
        raise RefusedError("is an empty list; give a number, or one number for each layer of weights")
    return tuple(each(number, value))


def vector(value: Any) -> tuple[float, ...]:
    """Return a row of finite numbers."""
    if type(value) is not list or not value:
        raise RefusedError(
            f"must be a list of numbers, not {'an empty list' if value == [] else shown(value)}"
        )
    try:
        # A table of data has many rows: the common case runs without a Python call for each number.
        if set(map(type, value)) <= {int, float} and all(map(math.isfinite, value)):
            return tuple(map(float, value))
    except OverflowError:
        pass
    return tuple(each(number, value))


def matrix(value: Any) -> tuple[tuple[float, ...], ...]:
    """Return rows of finite numbers, all of the same length."""
    if type(value) is not list or not value:
        raise RefusedError(f"must be a list of rows, not {'an empty list' if value == [] else shown(value)}")
    rows, refusals = [], []
    for index, item in enumerate(value):
        try:
            rows.append(vector(item))
        except RefusedError as refusal:
            for part in refusal.all:
                column = f", column {part.path[0]}" if part.path else ""
                message = f"row {index}{column} (counting from 0) {part}"
                refusals.append(RefusedError(message, index, *part.path))
            continue
        if len(rows[-1]) != len(rows[0]):
            found, wanted = len(rows[-1]), len(rows[0])
            message = f"row {index} (counting from 0) has length {found} but row 0 has length {wanted}"
            refusals.append(RefusedError(f"{message}; make all rows equally long", index))
    raise_all(refusals)
    return tuple(rows)


def at(step: str | int, check: Check, value: Any) -> Any:
    """Return ``check(value)``; refusals are told to lie at `step`."""
    try:
        return check(value)
    except RefusedError as refusal:
        raise_all([RefusedError(str(part), step, *part.path) for part in refusal.all])


def each(check: Check, items: list[Any]) -> list[Any]:
    """Return every checked item, or refuse all that are wrong at once."""
    checked, refusals = [], []
    for index, item in enumerate(items):
        try:
            checked.append(at(index, check, item))
        except RefusedError as refusal:
            refusals += refusal.all
    raise_all(refusals)
    return checked


def raise_all(refusals: list[RefusedError]) -> None:
    """Raise the first refusal with the others as its companions; do nothing without any."""
    if refusals:
        refusals[0].all = refusals
        raise refusals[0] from None

"""The parameters of a run: what each accepts, which section of the sweep file holds it, what it means.

A check takes a value as TOML gives it and returns it as the sweep keeps it, or raises `RefusedError`. The
sections are pydantic models; `PARAMETERS` is read off them. Imports the standard library, pydantic and the
lists of names in `fastbp.kernels`.
"""

import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.fields import FieldInfo

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.parametrisations import PARAMETRISATIONS

Annotation = TypeVar("Annotation")
Check = Callable[[Any], Any]
MAXIMUM_PARAMETERS = 10_000_000
MAXIMUM_INTEGER = 2**63 - 1  # samples travel as int64
MAXIMUM_STEPS = 2**24  # the step of an event is kept in the run's dtype; float32 counts this far


class RefusedError(ValueError):
    """A value that may not stand where it stands.

    Parameters
    ----------
    message : str
        What is wrong; what to do.
    *path : str or int
        Leads from the value that was checked to the part of it that is meant.
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


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


def choice(noun: str, names: Iterable[str]) -> Check:
    """Return the check of a name out of `names`."""
    known = list(names)

    def check(value: Any) -> str:
        if text(value) not in known:
            known_names = ", ".join(known)
            raise RefusedError(f"unknown {noun} {quoted(value)}{nearest(value, known)}; known: {known_names}")
        return value

    return check


def unit_counts(value: Any) -> tuple[int, ...]:
    """Return the numbers of units, the inputs first."""
    if type(value) is not list or len(value) < 2:
        raise RefusedError("must be a list of at least 2 numbers of units, such as [2, 3, 1]")
    for index, units in enumerate(value):
        if type(units) is not int or units < 1:
            raise RefusedError(f"must be whole numbers of at least 1, not {shown(units)}", index)
    count = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(value))
    if count > MAXIMUM_PARAMETERS:
        raise RefusedError(f"has {count} weights and biases; use at most {MAXIMUM_PARAMETERS}")
    return tuple(value)


def rate(value: Any) -> float:
    """Return a finite number of at least 0."""
    if (result := number(value)) < 0:
        raise RefusedError(f"must be at least 0, not {shown(value)}")
    return result


def rates(value: Any) -> float | tuple[float, ...]:
    """Return one learning rate, or a tuple with one for each layer of weights."""
    if type(value) is not list:
        return rate(value)
    if not value:
        raise RefusedError("is an empty list; give a number, or one number for each layer of weights")
    return tuple(at(index, rate, item) for index, item in enumerate(value))


def scales(value: Any) -> float | tuple[float, ...] | str:
    """Return one multiplier, a tuple with one for each layer of weights, or the name of a parametrisation."""
    if isinstance(value, str):
        return str(choice("scale", PARAMETRISATIONS)(value))
    if type(value) is not list:
        return number(value)
    if not value:
        raise RefusedError("is an empty list; give a number, or one number for each layer of weights")
    return tuple(at(index, number, item) for index, item in enumerate(value))


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
    return tuple(at(index, number, item) for index, item in enumerate(value))


def matrix(value: Any) -> tuple[tuple[float, ...], ...]:
    """Return rows of finite numbers, all of the same length."""
    if type(value) is not list or not value:
        raise RefusedError(f"must be a list of rows, not {'an empty list' if value == [] else shown(value)}")
    rows = []
    for index, item in enumerate(value):
        try:
            rows.append(vector(item))
        except RefusedError as refusal:
            column = f", column {refusal.path[0]}" if refusal.path else ""
            raise RefusedError(
                f"row {index}{column} (counting from 0) {refusal}", index, *refusal.path
            ) from None
        if len(rows[-1]) != len(rows[0]):
            found, wanted = len(rows[-1]), len(rows[0])
            message = f"row {index} (counting from 0) has length {found} but row 0 has length {wanted}"
            raise RefusedError(f"{message}; make all rows equally long", index)
    return tuple(rows)


def at(step: str | int, check: Check, value: Any) -> Any:
    """Return ``check(value)``; a refusal is told to lie at `step`."""
    try:
        return check(value)
    except RefusedError as refusal:
        raise RefusedError(str(refusal), step, *refusal.path) from None


DTYPES = ("float64", "float32")
Vector = tuple[float, ...]
Matrix = tuple[tuple[float, ...], ...]

_NUMBER = {"type": "number"}
ROW = {"type": "array", "items": _NUMBER, "minItems": 1}
ROWS = {"type": "array", "items": ROW, "minItems": 1}
_TEXT = WithJsonSchema({"type": "string"})
_FLAG = WithJsonSchema({"type": "boolean"})
_LAYERS = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2}
_RATE = {"type": "number", "minimum": 0}
_RATES = {"anyOf": [_RATE, {"type": "array", "items": _RATE, "minItems": 1}]}
_COUNT = WithJsonSchema({"type": "integer", "minimum": 0})
_SCALES = {
    "anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 1}, {"enum": list(PARAMETRISATIONS)}]
}
WEIGHT_KEY = re.compile(r"[Wb][1-9][0-9]{0,8}")

_activation = PlainValidator(choice("activation", ACTIVATIONS))
_ACTIVATION = WithJsonSchema({"enum": list(ACTIVATIONS)})
_flag = PlainValidator(flag)


class Section(BaseModel):
    """What the tables of a sweep file have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(Section):
    """The shape of the networks, and where their weights come from."""

    layers: Annotated[tuple[int, ...] | None, PlainValidator(unit_counts), WithJsonSchema(_LAYERS)] = Field(
        None, description="Units of each layer, the inputs first, such as [2, 3, 1]."
    )
    bias: Annotated[bool, _flag, _FLAG] = Field(True, description="Whether each unit adds a trained bias.")
    activation: Annotated[str, _activation, _ACTIVATION] = Field(
        "sigmoid", description="The activation of every layer."
    )
    hidden_activation: Annotated[str | None, _activation, _ACTIVATION] = Field(
        None, description="The activation of the hidden layers; wins over activation."
    )
    output_activation: Annotated[str | None, _activation, _ACTIVATION] = Field(
        None, description="The activation of the last layer; wins over activation."
    )
    scale: Annotated[float | tuple[float, ...] | str, PlainValidator(scales), WithJsonSchema(_SCALES)] = (
        Field(
            "standard",
            description="The multiplier on x @ W: a number, a list with one for each layer of weights, or a name.",
        )
    )
    init: Annotated[str | None, PlainValidator(text), _TEXT] = Field(
        None, description="Which [init.NAME] gives the initial weights; not needed where there is only one."
    )


class Data(Section):
    """The samples that the networks are trained on."""

    x: Annotated[Matrix, PlainValidator(matrix), WithJsonSchema(ROWS)] = Field(
        (), description="The inputs, one row a sample."
    )
    y: Annotated[Matrix, PlainValidator(matrix), WithJsonSchema(ROWS)] = Field(
        (), description="The targets, one row a sample."
    )
    sample: Annotated[int | None, PlainValidator(whole(0)), _COUNT] = Field(
        None, description="Train on this one sample, counting from 0; without it on all samples at once."
    )


class Training(Section):
    """How the networks are trained."""

    loss: Annotated[str, PlainValidator(choice("loss", LOSSES)), WithJsonSchema({"enum": list(LOSSES)})] = (
        Field("mse", description="The loss that is minimised.")
    )
    optimizer: Annotated[
        str, PlainValidator(choice("optimizer", OPTIMIZERS)), WithJsonSchema({"enum": list(OPTIMIZERS)})
    ] = Field("sgd", description="The rule that updates the weights.")
    learning_rate: Annotated[
        float | tuple[float, ...] | None, PlainValidator(rates), WithJsonSchema(_RATES)
    ] = Field(None, description="The learning rate, or a list with one for each layer of weights.")
    steps: Annotated[
        int | None,
        PlainValidator(whole(0, MAXIMUM_STEPS)),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAXIMUM_STEPS}),
    ] = Field(None, description="The number of updates of a run.")
    dtype: Annotated[str, PlainValidator(choice("dtype", DTYPES)), WithJsonSchema({"enum": list(DTYPES)})] = (
        Field("float64", description="The floating-point type that is computed in.")
    )
    target_loss: Annotated[float | None, PlainValidator(number), WithJsonSchema(_NUMBER)] = Field(
        None, description="A run whose loss falls to this or below counts as converged."
    )


class Record(Section):
    """What is kept of a run besides its row in the table of runs."""

    history: Annotated[bool, _flag, _FLAG] = Field(False, description="Keep the loss of every step.")
    trace: Annotated[bool, _flag, _FLAG] = Field(
        False, description="Keep every weight, gradient, activation and delta of every step."
    )
    weights: Annotated[bool, _flag, _FLAG] = Field(False, description="Keep the final weights.")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a run: what a section fixes and a grid may sweep.

    Parameters
    ----------
    section : str
        The table of the sweep file that holds it.
    structural : bool
        Runs that differ in it cannot share a block.
    doc : str
        What it means, in one line.
    check : callable
        Returns a value as the sweep keeps it, or raises `RefusedError`.
    schema : dict
        The JSON schema of one value.
    """

    section: str
    structural: bool
    doc: str
    check: Check
    schema: dict[str, Any]

    @property
    def kind(self) -> str | None:
        """``"number"`` or ``"integer"`` where a range can be an axis, else None."""
        alternatives = self.schema.get("anyOf", [self.schema])
        types = [item.get("type") for item in alternatives]
        return next((name for name in types if name in ("number", "integer")), None)


SECTIONS: dict[str, type[Section]] = {
    "network": Network,
    "data": Data,
    "training": Training,
    "record": Record,
}
LANE_PARAMETERS = ("scale", "init", "sample", "learning_rate", "target_loss")


def _annotated(field: FieldInfo, kind: type[Annotation]) -> Annotation:
    """Return the entry of that type in a field's annotation."""
    return next(item for item in field.metadata if isinstance(item, kind))


def field_check(field: FieldInfo) -> Check:
    """Return the check of a section's field."""
    return cast("Check", _annotated(field, PlainValidator).func)


def field_schema(field: FieldInfo) -> dict[str, Any]:
    """Return the JSON schema of a section's field."""
    return dict(_annotated(field, WithJsonSchema).json_schema or {})


def _parameters() -> dict[str, Parameter]:
    """Read the registry of sweepable parameters off the sections."""
    return {
        name: Parameter(
            section=section,
            structural=name not in LANE_PARAMETERS,
            doc=str(field.description),
            check=field_check(field),
            schema=next(
                item.json_schema or {} for item in field.metadata if isinstance(item, WithJsonSchema)
            ),
        )
        for section in ("network", "data", "training")
        for name, field in SECTIONS[section].model_fields.items()
        if name not in ("x", "y")
    }


PARAMETERS = _parameters()
# Parameters that each layer has: an axis NAME_1, NAME_2 ... sweeps that of one layer.
LAYER_PARAMETERS = {
    "learning_rate": Parameter(
        section="training",
        structural=False,
        doc="The learning rate of the weights of one layer; wins over learning_rate. Only an axis.",
        check=rate,
        schema=_RATE,
    ),
    "scale": Parameter(
        section="network",
        structural=False,
        doc="The multiplier on x @ W of one layer; wins over scale. Only an axis.",
        check=number,
        schema=_NUMBER,
    ),
}
LAYER_NAME = re.compile(rf"({'|'.join(LAYER_PARAMETERS)})_([1-9][0-9]{{0,8}})")


def layer_of(name: str) -> tuple[str, int] | None:
    """Return the parameter and the layer that an axis such as ``scale_2`` sweeps; None for any other name."""
    match = LAYER_NAME.fullmatch(name)
    return match and (match[1], int(match[2]))


# The keys that stand above all tables.
TOP: dict[str, Check] = {"name": file_name, "description": text}


def parameter(name: str) -> Parameter | None:
    """Return the sweepable parameter of that name, ``learning_rate_<layer>`` and the like included, or None."""
    of_layer = layer_of(name)
    return LAYER_PARAMETERS[of_layer[0]] if of_layer else PARAMETERS.get(name)

"""The parameters of a run: which section of the sweep file holds each, what it accepts, what it means.

The sections are pydantic models, whose fields are checked by `fastbp.sweep.values`; `PARAMETERS` is read off them.
Imports the standard library, pydantic, `fastbp.sweep.values` and the lists of names in `fastbp.kernels` and
`fastbp.datasets`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.fields import FieldInfo

from fastbp.datasets import DATASETS
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.parametrisations import PARAMETRISATIONS
from fastbp.sweep.values import (
    Check,
    choice,
    column_names,
    data_file,
    file_name,
    flag,
    fraction_or_count,
    matrix,
    number,
    rate,
    rates,
    scales,
    standardised,
    text,
    unit_counts,
    vector,
    whole,
)

Annotation = TypeVar("Annotation")
MAXIMUM_STEPS = 2**24  # the step of an event is kept in the run's dtype; float32 counts this far

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
_POSITIVE = WithJsonSchema({"type": "integer", "minimum": 1})
_NAMES = WithJsonSchema(
    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": True}
)
_PARTS = {"type": "array", "items": {"enum": ["inputs", "targets"]}, "uniqueItems": True}
# "number" stands first: a range of fractions can be an axis, a range of counts cannot.
_SPLIT = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "integer", "minimum": 0},
    ]
}
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
    seed: Annotated[int, PlainValidator(whole(0)), _COUNT] = Field(
        0, description="The seed of the initial weights."
    )


class Data(Section):
    """The samples that the networks are trained on."""

    x: Annotated[Matrix, PlainValidator(matrix), WithJsonSchema(ROWS)] = Field(
        (), description="The inputs, one row a sample."
    )
    y: Annotated[Matrix, PlainValidator(matrix), WithJsonSchema(ROWS)] = Field(
        (), description="The targets, one row a sample."
    )
    file: Annotated[str | None, PlainValidator(data_file), _TEXT] = Field(
        None, description="A .csv, .parquet or .npz file in place of x and y, relative to the sweep file."
    )
    inputs: Annotated[tuple[str, ...] | None, PlainValidator(column_names), _NAMES] = Field(
        None,
        description="The file's columns (.npz: arrays) that are inputs; all but the targets if not given.",
    )
    targets: Annotated[tuple[str, ...] | None, PlainValidator(column_names), _NAMES] = Field(
        None, description="The file's columns (.npz: arrays) that are targets."
    )
    dataset: Annotated[
        str | None, PlainValidator(choice("dataset", DATASETS)), WithJsonSchema({"enum": list(DATASETS)})
    ] = Field(None, description="A built-in data set in place of x and y.")
    size: Annotated[int | None, PlainValidator(whole(1)), _POSITIVE] = Field(
        None, description="How many samples the data set has."
    )
    features: Annotated[int | None, PlainValidator(whole(1, 1000)), _POSITIVE] = Field(
        None, description="How many inputs the data set has."
    )
    teacher_units: Annotated[int | None, PlainValidator(whole(1, 1000)), _POSITIVE] = Field(
        None, description="How many hidden units the teacher network has."
    )
    coefficients: Annotated[tuple[float, ...] | None, PlainValidator(vector), WithJsonSchema(ROW)] = Field(
        None, description="The coefficients of the polynomial, the constant first."
    )
    noise: Annotated[float | None, PlainValidator(rate), WithJsonSchema(_RATE)] = Field(
        None,
        description="The standard deviation of what is added to x, to y where the data set is a regression.",
    )
    data_seed: Annotated[int | None, PlainValidator(whole(0)), _COUNT] = Field(
        None, description="Decides the random numbers of the data set."
    )
    standardise: Annotated[
        tuple[str, ...],
        PlainValidator(standardised),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, _PARTS]}),
    ] = Field(
        (), description="Bring columns to mean 0 and standard deviation 1: true (inputs) or a list of parts."
    )
    one_hot: Annotated[bool | None, _flag, _FLAG] = Field(
        None,
        description="Whether one column of classes becomes a column a class; texts do unless it is false.",
    )
    classes: Annotated[int | None, PlainValidator(whole(1, 10_000)), _POSITIVE] = Field(
        None, description="How many classes there are; the largest class + 1 if not given."
    )
    validation: Annotated[float | None, PlainValidator(fraction_or_count), WithJsonSchema(_SPLIT)] = Field(
        None, description="The samples that are kept for validation, as a fraction or as a number."
    )
    split_seed: Annotated[int | None, PlainValidator(whole(0)), _COUNT] = Field(
        None, description="Decides which samples are trained on, and their order."
    )
    samples: Annotated[int | None, PlainValidator(whole(1)), _POSITIVE] = Field(
        None, description="Train on the first so many samples of the training part."
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


class Needs(NamedTuple):
    """What a conditional parameter hangs on: it exists only where `parameter` has one of the `names`.

    ``parameter`` is one that every run has, such as ``optimizer``; ``activation`` stands for that of any layer.
    """

    parameter: str
    names: tuple[str, ...]


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
    needs : Needs, optional
        Where it exists; everywhere if not given. Its field in the section defaults to None.
    """

    section: str
    structural: bool
    doc: str
    check: Check
    schema: dict[str, Any]
    needs: Needs | None = None

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
LANE_PARAMETERS = (
    *("scale", "init", "seed", "learning_rate", "target_loss"),
    *("teacher_units", "noise", "data_seed", "standardise", "split_seed", "sample"),
)
# What the sections fix for all runs: no axis.
NEVER_SWEPT = ("x", "y", "file", "inputs", "targets", "coefficients")
# Conditional parameters: a run without the named optimizer, loss ... has None, and an axis does not multiply it.
NEEDS: dict[str, Needs] = {}


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
            needs=NEEDS.get(name),
        )
        for section in ("network", "data", "training")
        for name, field in SECTIONS[section].model_fields.items()
        if name not in NEVER_SWEPT
    }


PARAMETERS = _parameters()
DATA_PARAMETERS = tuple(name for name, item in PARAMETERS.items() if item.section == "data")
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

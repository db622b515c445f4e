"""The sections of the sweep file as pydantic models: each key with its check, its JSON schema and its meaning.

Imports the standard library, pydantic, `fastbp.sweep.values` and the lists of names in `fastbp.kernels` and
`fastbp.datasets`.
"""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from fastbp.datasets import DATASETS
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.metrics import MEASURES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.orders import ORDERS
from fastbp.kernels.parametrisations import PARAMETRISATIONS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.sweep.values import (
    activation_names,
    choice,
    column_names,
    data_file,
    flag,
    fraction_or_count,
    frozen_names,
    matrix,
    measure_names,
    number,
    positive,
    rate,
    rates,
    scales,
    share,
    standardised,
    text,
    unit_counts,
    vector,
    whole,
)

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

_FOR_BIASES = [name for name, rule in INITIALIZERS.items() if rule.for_biases]
_ACTIVATION = {"enum": list(ACTIVATIONS)}
_ACTIVATIONS = {"anyOf": [_ACTIVATION, {"type": "array", "items": _ACTIVATION, "minItems": 1}]}
_FREEZE = {
    "type": "array",
    "items": {"type": "string", "pattern": "^[Wb]([1-9][0-9]*)?$"},
    "uniqueItems": True,
}
_MEASURES = {"type": "array", "items": {"enum": list(MEASURES)}, "minItems": 1, "uniqueItems": True}
_COUNT_OF_STEPS = {"type": "integer", "minimum": 0, "maximum": MAXIMUM_STEPS}


Activation = Annotated[str, PlainValidator(choice("activation", ACTIVATIONS)), WithJsonSchema(_ACTIVATION)]
Loss = Annotated[str, PlainValidator(choice("loss", LOSSES)), WithJsonSchema({"enum": list(LOSSES)})]
Optimizer = Annotated[
    str, PlainValidator(choice("optimizer", OPTIMIZERS)), WithJsonSchema({"enum": list(OPTIMIZERS)})
]
Schedule = Annotated[
    str, PlainValidator(choice("schedule", SCHEDULES)), WithJsonSchema({"enum": list(SCHEDULES)})
]
BatchOrder = Annotated[
    str, PlainValidator(choice("batch_order", ORDERS)), WithJsonSchema({"enum": list(ORDERS)})
]
BiasInit = Annotated[
    str, PlainValidator(choice("bias_init", _FOR_BIASES)), WithJsonSchema({"enum": _FOR_BIASES})
]
Dtype = Annotated[str, PlainValidator(choice("dtype", DTYPES)), WithJsonSchema({"enum": list(DTYPES)})]
Flag = Annotated[bool, PlainValidator(flag), _FLAG]
Text = Annotated[str, PlainValidator(text), _TEXT]
Number = Annotated[float, PlainValidator(number), WithJsonSchema(_NUMBER)]
Rate = Annotated[float, PlainValidator(rate), WithJsonSchema(_RATE)]
Positive = Annotated[
    float, PlainValidator(positive), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})
]
Share = Annotated[
    float, PlainValidator(share), WithJsonSchema({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
]
Count = Annotated[int, PlainValidator(whole(0)), _COUNT]
AtLeastOne = Annotated[int, PlainValidator(whole(1)), _POSITIVE]
Steps = Annotated[int, PlainValidator(whole(0, MAXIMUM_STEPS)), WithJsonSchema(_COUNT_OF_STEPS)]


class Section(BaseModel):
    """What the tables of a sweep file have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(Section):
    """The shape of the networks, and where their weights come from."""

    layers: Annotated[tuple[int, ...], PlainValidator(unit_counts), WithJsonSchema(_LAYERS)] | None = Field(
        None, description="Units of each layer, the inputs first, such as [2, 3, 1]."
    )
    bias: Flag = Field(True, description="Whether each unit adds a bias.")
    activation: Annotated[
        str | tuple[str, ...], PlainValidator(activation_names), WithJsonSchema(_ACTIVATIONS)
    ] = Field("sigmoid", description="The activation of every layer, or a list with one for each.")
    hidden_activation: Activation | None = Field(
        None, description="The activation of the hidden layers; wins over activation."
    )
    output_activation: Activation | None = Field(
        None, description="The activation of the last layer; wins over activation."
    )
    negative_slope: Number | None = Field(None, description="The slope of leaky_relu below 0.")
    elu_alpha: Positive | None = Field(None, description="What elu tends to below 0, with a minus.")
    scale: Annotated[float | tuple[float, ...] | str, PlainValidator(scales), WithJsonSchema(_SCALES)] = (
        Field(
            "standard",
            description="The multiplier on x @ W: a number, a list with one for each layer of weights, or a name.",
        )
    )
    freeze: Annotated[tuple[str, ...], PlainValidator(frozen_names), WithJsonSchema(_FREEZE)] = Field(
        (),
        description='What keeps its initial values: "W1", "b2" ..., "W" for all weights, "b" for all biases.',
    )
    init: Text | None = Field(
        None,
        description="Where the initial weights come from: a rule that draws them or an [init.NAME]; the only "
        "[init.NAME], or else glorot_uniform, if not given.",
    )
    bias_init: BiasInit = Field(
        "zeros", description="The rule that draws the initial biases where init is one that draws."
    )
    init_scale: Number = Field(1.0, description="Multiplies the initial weights W.")
    init_offset: Number = Field(0.0, description="Is added to the initial weights W.")
    bias_scale: Number | None = Field(None, description="Multiplies the initial biases that bias_init draws.")
    seed: Count | None = Field(None, description="The seed of the initial weights.")


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
    one_hot: Annotated[bool | None, PlainValidator(flag), _FLAG] = Field(
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

    loss: Loss = Field("mse", description="The loss that is minimised.")
    huber_delta: Positive | None = Field(None, description="The error from which on huber grows as a line.")
    optimizer: Optimizer = Field("sgd", description="The rule that updates the weights.")
    learning_rate: (
        Annotated[float | tuple[float, ...], PlainValidator(rates), WithJsonSchema(_RATES)] | None
    ) = Field(None, description="The learning rate, or a list with one for each layer of weights.")
    momentum: Share | None = Field(None, description="The share of the last step that goes on.")
    rho: Share | None = Field(None, description="How much of the mean of squared gradients goes on.")
    beta_1: Share | None = Field(None, description="How much of the mean of gradients goes on.")
    beta_2: Share | None = Field(None, description="How much of the mean of squared gradients goes on.")
    epsilon: Rate | None = Field(None, description="Is added to the root that the step is divided by.")
    momentum_decay: Rate | None = Field(None, description="How fast nadam's momentum rises to beta_1.")
    weight_decay: Rate | None = Field(
        None, description="L2 decay of weights and biases; beside the update with adamw and lion."
    )
    clip_norm: Positive | None = Field(
        None, description="The largest norm of a run's gradient; a longer one is shortened to it."
    )
    schedule: Schedule = Field("constant", description="How the learning rate changes from step to step.")
    decay_steps: Positive | None = Field(
        None, description="The steps that the schedule's formula counts in; to the end if cosine or linear."
    )
    decay_rate: Positive | None = Field(None, description="The rate in the schedule's formula.")
    final_factor: Rate | None = Field(None, description="What is left of the learning rate at the end.")
    warmup_steps: Count | None = Field(
        None,
        description="The steps in which the learning rate rises to its value, before the schedule begins.",
    )
    steps: Steps | None = Field(None, description="The number of updates of a run.")
    epochs: Steps | None = Field(
        None, description="The number of passes over the samples, in place of steps."
    )
    batch_size: AtLeastOne | None = Field(
        None, description="The samples of one update; all of them if not given."
    )
    batch_order: BatchOrder = Field("shuffled", description="How batches take the samples.")
    batch_seed: Count | None = Field(None, description="The seed of the order of the samples.")
    dtype: Dtype = Field("float64", description="The floating-point type that is computed in.")
    target_loss: Number | None = Field(
        None, description="A run whose loss falls to this or below counts as converged."
    )
    stop_at_target: Flag = Field(False, description="End a run once it has converged.")
    stop_on_divergence: Flag = Field(False, description="End a run once its loss is not finite.")
    patience: AtLeastOne | None = Field(
        None, description="End a run after so many looks at the validation loss without a better one."
    )
    min_delta: Rate | None = Field(None, description="By how much a validation loss must be better to count.")
    validate_every: AtLeastOne | None = Field(
        None, description="The steps between looks at the validation loss; an epoch if not given."
    )


class Record(Section):
    """What is kept of a run besides its row in the table of runs."""

    history: Flag = Field(False, description="Keep the measures of every step.")
    history_every: AtLeastOne | None = Field(
        None, description="Keep the measures of every so many steps, and of the last."
    )
    history_log: (
        Annotated[
            int, PlainValidator(whole(1, MAXIMUM_STEPS)), WithJsonSchema(_COUNT_OF_STEPS | {"minimum": 1})
        ]
        | None
    ) = Field(
        None,
        description="Keep the measures of about so many steps, denser at the beginning: evenly by logarithm.",
    )
    measures: Annotated[
        tuple[str, ...], PlainValidator(measure_names(MEASURES)), WithJsonSchema(_MEASURES)
    ] = Field(("loss",), description="What the history holds of a step.")
    trace: Flag = Field(False, description="Keep every weight, gradient, activation and delta of every step.")
    weights: Flag = Field(False, description="Keep the final weights.")


SECTIONS: dict[str, type[Section]] = {
    "network": Network,
    "data": Data,
    "training": Training,
    "record": Record,
}

"""A registry with conditional parameters, for tests: what the sweep file knows is replaced while a test runs."""

from contextlib import contextmanager
from typing import Annotated

import pytest
from pydantic import Field, PlainValidator, WithJsonSchema

from fastbp.sweep import parameters
from fastbp.sweep.parameters import NEEDS, PARAMETERS, Needs
from fastbp.sweep.sections import SECTIONS, Training
from fastbp.sweep.values import choice, rate, whole

OPTIMIZERS = ("sgd", "heavy", "nesterov", "cyclic")


class Optimizing(Training):
    """Some optimizers with parameters of their own."""

    optimizer: Annotated[str, PlainValidator(choice("optimizer", OPTIMIZERS)), WithJsonSchema({})] = Field(
        "sgd", description="The rule."
    )
    momentum: Annotated[float | None, PlainValidator(rate), WithJsonSchema({"type": "number"})] = Field(
        None, description="What is kept of the last update."
    )
    period: Annotated[int | None, PlainValidator(whole(1)), WithJsonSchema({"type": "integer"})] = Field(
        None, description="Steps of a cycle; runs that differ in it share no block."
    )
    slope: Annotated[float | None, PlainValidator(rate), WithJsonSchema({"type": "number"})] = Field(
        None, description="Of relu, left of 0."
    )
    spread: Annotated[float | None, PlainValidator(rate), WithJsonSchema({"type": "number"})] = Field(
        None, description="Of the initial weights b."
    )


CONDITIONS = {
    "momentum": Needs("optimizer", ("heavy", "nesterov")),
    "period": Needs("optimizer", ("cyclic",)),
    "slope": Needs("activation", ("relu",)),
    "spread": Needs("init", ("b",)),
}


@contextmanager
def conditional_parameters():
    lanes = (*parameters.LANE_PARAMETERS, "momentum", "slope", "spread")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SECTIONS, "training", Optimizing)
        patch.setattr(parameters, "LANE_PARAMETERS", lanes)
        for name, needs in CONDITIONS.items():
            patch.setitem(NEEDS, name, needs)
        for name, item in parameters._parameters().items():
            patch.setitem(PARAMETERS, name, item)
        yield


def has(name, values):
    """Whether a run with these values has a parameter, written out once more for the tests."""
    if name == "slope":
        hidden = values["hidden_activation"] or values["activation"]
        output = values["output_activation"] or values["activation"]
        return "relu" in ([hidden] if len(values["layers"]) > 2 else []) + [output]
    return name not in CONDITIONS or values[CONDITIONS[name].parameter] in CONDITIONS[name].names

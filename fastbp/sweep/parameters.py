"""The parameters of a run: which section of the sweep file holds each, what it accepts, what it means.

`PARAMETERS` is read off the sections, and which of them hang on another off the tables of ``fastbp.kernels``.
Imports the standard library, pydantic, `fastbp.sweep.sections`, `fastbp.sweep.values` and these tables.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast, get_args

from pydantic import PlainValidator, WithJsonSchema
from pydantic.fields import FieldInfo

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.sweep.sections import SECTIONS
from fastbp.sweep.values import Check, file_name, number, rate, text

Annotation = TypeVar("Annotation")

_NUMBER, _RATE = {"type": "number"}, {"type": "number", "minimum": 0}


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


# Numbers that an activation, a loss, an optimizer or a schedule has of its own, and those that all runs may have.
HYPERPARAMETERS = (
    *dict.fromkeys(
        name
        for table in (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES)
        for entry in table.values()
        for name in entry.defaults
    ),
    *("clip_norm", "warmup_steps", "patience", "min_delta"),
)
LANE_PARAMETERS = (
    *("scale", "init", "bias_init", "init_scale", "init_offset", "bias_scale", "seed"),
    *("learning_rate", "target_loss"),
    *HYPERPARAMETERS,
    *("teacher_units", "noise", "data_seed", "standardise", "split_seed", "sample"),
)
# What the sections fix for all runs: no axis.
NEVER_SWEPT = ("x", "y", "file", "inputs", "targets", "coefficients")


def _needs() -> dict[str, Needs]:
    """Read off the tables which parameters hang on the choice of another."""
    tables: dict[str, Mapping[str, Any]] = {
        "activation": ACTIVATIONS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
    }
    having: dict[str, dict[str, list[str]]] = {}
    for kind, table in tables.items():
        for name, entry in table.items():
            for own in entry.defaults:
                having.setdefault(own, {}).setdefault(kind, []).append(name)
    having.pop("weight_decay")  # some optimizers have a default of their own, all have the parameter
    return {own: Needs(kind, tuple(names)) for own, kinds in having.items() for kind, names in kinds.items()}


# Conditional parameters: a run without the named optimizer, loss ... has None, and an axis does not multiply it.
NEEDS: dict[str, Needs] = {
    **_needs(),
    "seed": Needs("init", tuple(name for name, rule in INITIALIZERS.items() if rule.random)),
    "bias_scale": Needs("bias_init", tuple(name for name in INITIALIZERS if name != "zeros")),
    "batch_seed": Needs("batch_order", ("shuffled", "with_replacement")),
}


def _annotated(field: FieldInfo, kind: type[Annotation]) -> Annotation:
    """Return the entry of that type in a field's annotation."""
    annotations = [*field.metadata, *(item for part in get_args(field.annotation) for item in metadata(part))]
    return next(item for item in annotations if isinstance(item, kind))


def metadata(annotation: Any) -> tuple[Any, ...]:
    """Return what an annotated type carries."""
    return tuple(getattr(annotation, "__metadata__", ()))


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
            schema=field_schema(field),
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

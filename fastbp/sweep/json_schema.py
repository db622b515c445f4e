"""The JSON schema of the tables that sweep parameters: [[grid]] and [random].

Imports the standard library, `fastbp.sweep.random` and what lies below it.
"""

from collections.abc import Mapping
from typing import Any

from fastbp.sweep.grid import MAXIMUM_AXIS, RANGES
from fastbp.sweep.parameters import LAYER_PARAMETERS, PARAMETERS, Parameter
from fastbp.sweep.random import DISTRIBUTIONS, METHODS


def table_schema(
    description: str, properties: Mapping[str, Any], patterns: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the schema of a table that takes these keys and no others."""
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "patternProperties": patterns or {},
        "additionalProperties": False,
    }


def random_schema() -> dict[str, Any]:
    """Return the schema of [random]."""
    count = {"type": "integer", "minimum": 1, "maximum": MAXIMUM_AXIS}
    options = {
        "samples": {"description": "The number of points.", **count},
        "seed": {"description": "The seed of the points.", "type": "integer", "minimum": 0, "default": 0},
        "method": {
            "description": "How the points are spread; all but uniform need SciPy.",
            "enum": list(METHODS),
            "default": "uniform",
        },
    }
    drawn = {name: _drawn_schema(item) for name, item in PARAMETERS.items() if name not in options}
    of_layers = {f"^{name}_[1-9][0-9]*$": _drawn_schema(item) for name, item in LAYER_PARAMETERS.items()}
    text = "Random points: a draw of every parameter named here. Every grid is run at each of them."
    return table_schema(text, {**options, **drawn}, of_layers) | {"required": ["samples"]}


def grid_schema() -> dict[str, Any]:
    """Return the schema of the tables [[grid]]."""
    names = {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}
    keys = {
        "zip": {
            "description": "Names of axes that advance together, or a list of such lists.",
            "anyOf": [names, {"type": "array", "items": names, "minItems": 1}],
        },
        "repeats": {
            "description": "The number of seeds: short for an axis of seeds, from the fixed one on.",
            "type": "integer",
            "minimum": 1,
            "maximum": MAXIMUM_AXIS,
        },
    }
    axes = {name: _axis_schema(item) for name, item in PARAMETERS.items()}
    of_layers = {f"^{name}_[1-9][0-9]*$": _axis_schema(item) for name, item in LAYER_PARAMETERS.items()}
    return {
        "description": "Several grids are run one after the other.",
        "type": "array",
        "items": table_schema(
            "Axes; a grid is the product of them, the last one varying fastest.",
            {**keys, **axes},
            of_layers,
        ),
    }


def _axis_schema(item: Parameter) -> dict[str, Any]:
    """Return the schema of an axis: a list of values or, for numbers, a range."""
    values = {"type": "array", "items": item.schema, "minItems": 1, "uniqueItems": True}
    rules = {"number": list(RANGES), "integer": ["arange"]}.get(item.kind or "", [])
    three = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
    ranges = [
        table_schema(f"The range {rule} = {RANGES[rule].form}.", {rule: three}) | {"required": [rule]}
        for rule in rules
    ]
    return {"description": item.doc, "anyOf": [values, *ranges]}


def _drawn_schema(item: Parameter) -> dict[str, Any]:
    """Return the schema of a distribution of a parameter."""
    rules = {rule: allowed for rule, allowed in DISTRIBUTIONS.items() if item.kind in allowed.kinds}
    two = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    values = {"type": "array", "items": item.schema, "minItems": 1, "uniqueItems": True}
    forms = [
        table_schema(f"Drawn by {rule} = {allowed.form}.", {rule: values if rule == "choice" else two})
        | {"required": [rule]}
        for rule, allowed in rules.items()
    ]
    return {"description": item.doc, "anyOf": forms}

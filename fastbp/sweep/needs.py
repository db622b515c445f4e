"""Conditional parameters: which of them a combination of values has.

Imports `fastbp.sweep.parameters`, the names of the rules that draw weights and the standard library.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastbp.kernels.initializers import INITIALIZERS
from fastbp.sweep.parameters import Needs, parameter

# What stands for more than one parameter: "activation" for that of any layer, "init" for either rule that draws,
# "bias_init" for that of the biases where the weights are drawn too.
_DECIDERS = {
    "activation": ("activation", "hidden_activation", "output_activation", "layers"),
    "init": ("init", "bias_init"),
    "bias_init": ("init", "bias_init"),
}


def activations(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the activation of each layer with weights, from the values of all parameters of a run."""
    n_layers = len(values["layers"]) - 1
    common = values["activation"]
    each = list(common) if isinstance(common, tuple) else [common] * n_layers
    if values["hidden_activation"] is not None:
        each[:-1] = [values["hidden_activation"]] * (n_layers - 1)
    if values["output_activation"] is not None:
        each[-1] = values["output_activation"]
    return tuple(each)


def needs_of(name: str) -> Needs | None:
    """Return what a parameter hangs on; None for one that every run has."""
    known = parameter(name)
    return None if known is None else known.needs


def deciders(name: str) -> tuple[str, ...]:
    """Return the parameters whose values decide whether a run has the parameter `name`; none for most."""
    needs = needs_of(name)
    return () if needs is None else _DECIDERS.get(needs.parameter, (needs.parameter,))


def decides_alike(name: str, decider: str, value: Any) -> tuple[bool, bool]:
    """Return what is equal for all values of a decider of `name` that decide alike, whatever they meet."""
    needs = needs_of(name)
    return needs is not None and value in needs.names, decider == "init" and value in INITIALIZERS


def decisive(name: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what is held against the names that a conditional parameter needs, from values of its deciders."""
    needs = needs_of(name)
    if needs is None:
        return ()
    if needs.parameter == "activation":
        return activations(values)
    if needs.parameter in ("init", "bias_init") and values["init"] not in INITIALIZERS:
        return (values["init"],)
    if needs.parameter == "init":
        return values["init"], values["bias_init"]
    return (values[needs.parameter],)


def exists(name: str, values: Mapping[str, Any]) -> bool:
    """Return whether a run whose deciding parameters have these values has the parameter `name`."""
    needs = needs_of(name)
    return needs is None or any(value in needs.names for value in decisive(name, values))


def absent(names: Iterable[str], values: Mapping[str, Any]) -> frozenset[str]:
    """Return those of the parameters that a run does not have; `values` holds those of all parameters."""
    return frozenset(name for name in names if not exists(name, values))

"""Conditional parameters: which of them a combination of values has.

Imports `fastbp.sweep.parameters`, the names of the rules that draw weights and the standard library.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastbp.kernels.initializers import INITIALIZERS
from fastbp.sweep.parameters import Needs, parameter

_DECIDERS = {
    "activation": ("activation", "hidden_activation", "output_activation", "layers"),
    "bias_init": ("init", "bias_init"),  # where the weights are given nothing is drawn
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
    if name == "seed":
        return _DECIDERS["bias_init"]  # either may draw
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
    if "bias_init" in deciders(name):
        init, of_biases = values["init"], values["bias_init"]
        if init not in INITIALIZERS:
            return (init,)
        return (init, of_biases) if name == "seed" else (of_biases,)
    return activations(values) if needs.parameter == "activation" else (values[needs.parameter],)


def exists(name: str, values: Mapping[str, Any]) -> bool:
    """Return whether a run whose deciding parameters have these values has the parameter `name`."""
    needs = needs_of(name)
    return needs is None or any(value in needs.names for value in decisive(name, values))


def absent(names: Iterable[str], values: Mapping[str, Any]) -> frozenset[str]:
    """Return those of the parameters that a run does not have; `values` holds those of all parameters."""
    return frozenset(name for name in names if not exists(name, values))

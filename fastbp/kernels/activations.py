"""Activations: value and slope of each, one entry of ``ACTIVATIONS`` a variant.

To add one, write its entry: the sweep file, its schema and its errors walk this table, and so do the tests, which
will ask for an independent formula (``tests/reference.py``, ``tests/test_activations.py``) and its name in the
README. An entry is Python on one number: operators, ``abs``, ``where`` for a choice, and the functions of
`mathematics`. May import ``lanes``, ``mathematics`` and ``switch`` alone.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.kernels.lanes import kernel, where
from fastbp.kernels.mathematics import exp, tanh
from fastbp.kernels.switch import switch


class Activation(NamedTuple):
    """``a = value(z)`` and ``da/dz = slope(z, a)``, both for one unit; `kinked` where the slope jumps at z = 0."""

    value: Callable
    slope: Callable
    formula: str
    kinked: bool = False


ACTIVATIONS = {
    "identity": Activation(
        value=lambda z: z,
        slope=lambda z, a: 1.0,
        formula="z",
    ),
    "sigmoid": Activation(
        value=lambda z: 1.0 / (1.0 + exp(-z)),
        slope=lambda z, a: a * (1.0 - a),
        formula="1 / (1 + exp(-z))",
    ),
    "tanh": Activation(
        value=lambda z: tanh(z),
        slope=lambda z, a: 1.0 - a * a,
        formula="tanh(z)",
    ),
    "relu": Activation(
        # Written so that a NaN stays one; the slope at 0 is 0, as in PyTorch.
        value=lambda z: where(z < 0.0, 0.0, z),
        slope=lambda z, a: where(z > 0.0, 1.0, 0.0),
        formula="max(z, 0)",
        kinked=True,
    ),
}


def _values(function):
    """Give the loop ``a_j = f(z_j)`` over the units `first` to `last`."""
    f = kernel(function)

    @kernel
    def loop(z, a, first, last):
        for j in range(first, last):
            a[j] = f(z[j])

    return loop


def _slopes(function):
    """Give the loop ``delta_j *= f'(z_j)`` over the units `first` to `last`."""
    f = kernel(function)

    @kernel
    def loop(z, a, delta, first, last):
        for j in range(first, last):
            delta[j] = delta[j] * f(z[j], a[j])

    return loop


# activate(kind, z, a, first, last) and multiply_slope(kind, z, a, delta, first, last)
activate = switch([_values(f.value) for f in ACTIVATIONS.values()], _values(lambda z: z * float("nan")))
multiply_slope = switch(
    [_slopes(f.slope) for f in ACTIVATIONS.values()], _slopes(lambda z, a: z * float("nan"))
)

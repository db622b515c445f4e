"""Activations: value and slope of each, one entry of ``ACTIVATIONS`` a variant.

To add one, write its entry: the sweep file, its schema and its errors walk this table, and so do the tests, which
will ask for an independent formula (``tests/reference.py``, ``tests/test_activations.py``) and its name in the
README. An entry is Python on one number: operators, ``abs``, ``where`` for a choice, and the functions of
`mathematics`. May import ``lanes``, ``mathematics`` and ``switch`` alone.

Letters: ``z`` sum before the activation, ``a`` activation, ``delta`` dLoss/dz, ``h`` the activation's own
hyperparameters in the order of its ``defaults``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastbp.kernels.errorfunction import erf
from fastbp.kernels.lanes import copysign, kernel, rows_from, where
from fastbp.kernels.mathematics import clamp, exp, expm1, log1p, tanh
from fastbp.kernels.switch import switch
from fastbp.kernels.trigonometry import cos, sin

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
INVERSE_SQRT_2, INVERSE_SQRT_2_PI, TWO_OVER_SQRT_PI = (
    0.7071067811865476,
    0.3989422804014327,
    1.1283791670955126,
)
FAR = 1000.0  # where exp is 0 or infinite in every dtype; keeps infinity times zero out of products


class Activation(NamedTuple):
    """A function of one unit.

    Attributes
    ----------
    value, slope : callable
        ``a = value(z, h)`` and ``da/dz = slope(z, a, h)``; with `over_layer` the loops of a whole layer, as those
        that ``_values`` and ``_slopes`` make.
    formula : str
    kinked : bool
        Whether the slope jumps at z = 0.
    defaults : mapping
        The activation's own hyperparameters and what they are where the sweep says nothing.
    over_layer : bool
        Whether a unit depends on all units of its layer; only the last layer can be of that kind.
    """

    value: Callable
    slope: Callable
    formula: str
    kinked: bool = False
    defaults: Mapping[str, float] = {}
    over_layer: bool = False


def _gelu(z, h):
    z = where(z < -FAR, -FAR, z)
    return 0.5 * z * (1.0 + erf(z * INVERSE_SQRT_2))


def _gelu_slope(z, a, h):
    z = clamp(z, -FAR, FAR)
    return 0.5 * (1.0 + erf(z * INVERSE_SQRT_2)) + z * INVERSE_SQRT_2_PI * exp(-0.5 * z * z)


def _silu(z, h):
    z = where(z < -FAR, -FAR, z)
    return z / (1.0 + exp(-z))


def _silu_slope(z, a, h):
    z = clamp(z, -FAR, FAR)
    s = 1.0 / (1.0 + exp(-z))
    return s * (1.0 + z * (1.0 - s))


def _softsign(z, h):
    # Beyond 1e30 the quotient is 1 in every dtype, and infinity over infinity would be NaN.
    return where(abs(z) > 1e30, copysign(1.0, z), z / (1.0 + abs(z)))


@kernel
def _softmax(z, a, h, first, last, n_units):
    for u in range(first, last, n_units):
        z_max = z[u]
        for j in range(u + 1, u + n_units):
            z_max = where(z[j] > z_max, z[j], z_max)
        sum_ = z_max * 0.0
        for j in range(u, u + n_units):
            a[j] = exp(z[j] - z_max)
            sum_ = sum_ + a[j]
        for j in range(u, u + n_units):
            a[j] = a[j] / sum_


@kernel
def _softmax_slope(z, a, delta, h, first, last, n_units):
    """``delta_j = a_j (dL/da_j - sum_k a_k dL/da_k)``."""
    for u in range(first, last, n_units):
        sum_ = a[u] * delta[u]
        for j in range(u + 1, u + n_units):
            sum_ = sum_ + a[j] * delta[j]
        for j in range(u, u + n_units):
            delta[j] = a[j] * (delta[j] - sum_)


ACTIVATIONS = {
    "identity": Activation(
        value=lambda z, h: z,
        slope=lambda z, a, h: 1.0,
        formula="z",
    ),
    "sigmoid": Activation(
        value=lambda z, h: 1.0 / (1.0 + exp(-z)),
        slope=lambda z, a, h: a * (1.0 - a),
        formula="1 / (1 + exp(-z))",
    ),
    "tanh": Activation(
        value=lambda z, h: tanh(z),
        slope=lambda z, a, h: 1.0 - a * a,
        formula="tanh(z)",
    ),
    "relu": Activation(
        # Written so that a NaN stays one; the slope at 0 is 0, as in PyTorch.
        value=lambda z, h: where(z < 0.0, 0.0, z),
        slope=lambda z, a, h: where(z > 0.0, 1.0, 0.0),
        formula="max(z, 0)",
        kinked=True,
    ),
    "leaky_relu": Activation(
        value=lambda z, h: where(z < 0.0, h[0] * z, z),
        slope=lambda z, a, h: where(z > 0.0, 1.0, h[0]),
        formula="z, below 0 negative_slope z; PyTorch's LeakyReLU",
        kinked=True,
        defaults={"negative_slope": 0.01},
    ),
    "elu": Activation(
        value=lambda z, h: where(z > 0.0, z, h[0] * expm1(z)),
        slope=lambda z, a, h: where(z > 0.0, 1.0, a + h[0]),
        formula="z, below 0 elu_alpha (exp(z) - 1)",
        kinked=True,
        defaults={"elu_alpha": 1.0},
    ),
    "selu": Activation(
        value=lambda z, h: SELU_SCALE * where(z > 0.0, z, SELU_ALPHA * expm1(z)),
        slope=lambda z, a, h: where(z > 0.0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA),
        formula="1.0507 z, below 0 1.0507 1.6733 (exp(z) - 1)",  # Klambauer et al. 2017
        kinked=True,
    ),
    "softplus": Activation(
        value=lambda z, h: where(z < 0.0, 0.0, z) + log1p(exp(-abs(z))),
        slope=lambda z, a, h: 1.0 / (1.0 + exp(-z)),
        formula="log(1 + exp(z))",
    ),
    "softsign": Activation(
        value=_softsign,
        slope=lambda z, a, h: (1.0 - abs(a)) * (1.0 - abs(a)),
        formula="z / (1 + |z|)",
    ),
    "gelu": Activation(
        value=_gelu,
        slope=_gelu_slope,
        formula="z (1 + erf(z / sqrt(2))) / 2, exact; PyTorch's and Keras' default",
    ),
    "silu": Activation(
        value=_silu,
        slope=_silu_slope,
        formula="z / (1 + exp(-z)), also called swish",
    ),
    "erf": Activation(
        value=lambda z, h: erf(z),
        slope=lambda z, a, h: TWO_OVER_SQRT_PI * exp(-z * z),
        formula="erf(z)",
    ),
    "sin": Activation(
        value=lambda z, h: sin(z),
        slope=lambda z, a, h: cos(z),
        formula="sin(z)",
    ),
    "softmax": Activation(
        value=_softmax,
        slope=_softmax_slope,
        formula="exp(z) / sum of exp(z) over the layer; of the last layer alone",
        over_layer=True,
    ),
}


# The hyperparameters of all activations, one after the other: one place in memory serves every layer of a network.
HYPERPARAMETERS = {
    name: value for activation in ACTIVATIONS.values() for name, value in activation.defaults.items()
}
OFFSETS = {
    name: list(HYPERPARAMETERS).index(next(iter(activation.defaults))) if activation.defaults else 0
    for name, activation in ACTIVATIONS.items()
}


def _values(activation, offset=0):
    """Give the loop ``a_j = value(z_j)`` over rows `first` to `last`, sample after sample `n_units` of a layer.

    Its own h begin at `offset`.
    """
    f = kernel(activation.value)

    @kernel
    def loop(z, a, h, first, last, n_units):
        own = rows_from(h, offset)
        for j in range(first, last):
            a[j] = f(z[j], own)

    return activation.value if activation.over_layer else loop


def _slopes(activation, offset=0):
    """Give the loop ``delta_j *= slope(z_j, a_j)`` over units `first` to `last`; its own h begin at `offset`."""
    f = kernel(activation.slope)

    @kernel
    def loop(z, a, delta, h, first, last, n_units):
        own = rows_from(h, offset)
        for j in range(first, last):
            delta[j] = delta[j] * f(z[j], a[j], own)

    return activation.slope if activation.over_layer else loop


_NAN = Activation(lambda z, h: z * float("nan"), lambda z, a, h: z * float("nan"), "")

# activate(kind, z, a, h, first, last, n_units), multiply_slope(kind, z, a, delta, h, first, last, n_units);
# h are HYPERPARAMETERS
activate = switch([_values(f, OFFSETS[name]) for name, f in ACTIVATIONS.items()], _values(_NAN))
multiply_slope = switch([_slopes(f, OFFSETS[name]) for name, f in ACTIVATIONS.items()], _slopes(_NAN))

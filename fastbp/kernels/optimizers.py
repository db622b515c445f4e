"""Optimizers: the update of each, one entry of ``OPTIMIZERS`` a variant.

To add one, write its entry: the sweep file, its schema and its errors walk this table, and so do the tests, which
will ask for an independent formula (``tests/reference.py``) and its name in the README. May import ``lanes``,
``mathematics`` and ``switch`` alone.

Letters: ``w`` parameter, ``g`` gradient, ``m`` and ``v`` first and second moment, ``eta`` learning rate, ``h`` the
optimizer's own hyperparameters in the order of its ``defaults``, ``c`` coefficients that all parameters share.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastbp.kernels.lanes import fma, kernel, sqrt, where
from fastbp.kernels.mathematics import exp
from fastbp.kernels.switch import switch

# Rows of c. The first two are products over the steps so far and begin at 1; `begin` sets the others.
PRODUCT_1, PRODUCT_2, C_GRADIENT, C_MOMENT, C_ROOT = 0, 1, 2, 3, 4
N_COEFFICIENTS = 5

LOG_096 = -0.040821994520255166  # log(0.96), the constant of NAdam's schedule of momentum


class Optimizer(NamedTuple):
    """How a parameter moves.

    Attributes
    ----------
    update : callable
        ``update(w, g, eta, h, c)`` gives the new w; with one moment ``update(w, g, m, eta, h, c)`` gives w and m,
        with two ``update(w, g, m, v, eta, h, c)`` gives w, m and v.
    formula : str
    n_moments : int
        0, 1 or 2 numbers that are kept of each parameter; they begin at 0.
    defaults : mapping
        The optimizer's own hyperparameters and what they are where the sweep says nothing.
    begin : callable
        ``begin(h, c, t)`` sets the coefficients of step t, which counts from 0.
    decoupled : bool
        Whether ``weight_decay`` shrinks the weights beside the update rather than adding to the gradient.
    """

    update: Callable
    formula: str
    n_moments: int = 0
    defaults: Mapping[str, float] = {}
    begin: Callable | None = None
    decoupled: bool = False


def _momentum(w, g, m, eta, h, c):
    m = fma(h[0], m, g)
    return fma(-eta, m, w), m


def _nesterov(w, g, m, eta, h, c):
    m = fma(h[0], m, g)
    return fma(-eta, fma(h[0], m, g), w), m


def _rmsprop(w, g, m, eta, h, c):
    rho, epsilon = h[0], h[1]
    m = fma(rho, m, (1.0 - rho) * g * g)
    return w - eta * g / (sqrt(m) + epsilon), m


def _adagrad(w, g, m, eta, h, c):
    m = fma(g, g, m)
    return w - eta * g / (sqrt(m) + h[0]), m


def _begin_adam(h, c, t):
    c[PRODUCT_1] = c[PRODUCT_1] * h[0]
    c[PRODUCT_2] = c[PRODUCT_2] * h[1]
    c[C_MOMENT] = 1.0 / (1.0 - c[PRODUCT_1])
    c[C_ROOT] = 1.0 / sqrt(1.0 - c[PRODUCT_2])


def _adam(w, g, m, v, eta, h, c):
    m = fma(h[0], m, (1.0 - h[0]) * g)
    v = fma(h[1], v, (1.0 - h[1]) * g * g)
    return w - eta * c[C_MOMENT] * m / fma(sqrt(v), c[C_ROOT], h[2]), m, v


def _begin_nadam(h, c, t):
    mu = h[0] * (1.0 - 0.5 * exp(LOG_096 * h[3] * (t + 1)))
    mu_next = h[0] * (1.0 - 0.5 * exp(LOG_096 * h[3] * (t + 2)))
    c[PRODUCT_1] = c[PRODUCT_1] * mu
    c[PRODUCT_2] = c[PRODUCT_2] * h[1]
    c[C_GRADIENT] = (1.0 - mu) / (1.0 - c[PRODUCT_1])
    c[C_MOMENT] = mu_next / (1.0 - c[PRODUCT_1] * mu_next)
    c[C_ROOT] = 1.0 / sqrt(1.0 - c[PRODUCT_2])


def _nadam(w, g, m, v, eta, h, c):
    m = fma(h[0], m, (1.0 - h[0]) * g)
    v = fma(h[1], v, (1.0 - h[1]) * g * g)
    step = fma(c[C_GRADIENT], g, c[C_MOMENT] * m) / fma(sqrt(v), c[C_ROOT], h[2])
    return fma(-eta, step, w), m, v


def _lion(w, g, m, eta, h, c):
    step = fma(h[0], m, (1.0 - h[0]) * g)
    # A NaN must stay one.
    sign = where(step > 0.0, 1.0, where(step < 0.0, -1.0, step))
    return fma(-eta, sign, w), fma(h[1], m, (1.0 - h[1]) * g)


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

OPTIMIZERS = {
    "sgd": Optimizer(
        update=lambda w, g, eta, h, c: fma(-eta, g, w),
        formula="w -= learning_rate g; PyTorch's and Keras' SGD without momentum",
    ),
    "momentum": Optimizer(
        update=_momentum,
        formula="m = momentum m + g, w -= learning_rate m; PyTorch's SGD (Polyak 1964). Keras puts the learning "
        "rate inside m, which differs where it changes",
        n_moments=1,
        defaults={"momentum": 0.9},
    ),
    "nesterov": Optimizer(
        update=_nesterov,
        formula="m = momentum m + g, w -= learning_rate (g + momentum m); PyTorch's SGD with nesterov (Sutskever "
        "et al. 2013)",
        n_moments=1,
        defaults={"momentum": 0.9},
    ),
    "rmsprop": Optimizer(
        update=_rmsprop,
        formula="m = rho m + (1 - rho) g^2, w -= learning_rate g / (sqrt(m) + epsilon); PyTorch's RMSprop, rho "
        "being its alpha (Hinton 2012). Keras has epsilon inside the root",
        n_moments=1,
        defaults={"rho": 0.99, "epsilon": 1e-8},
    ),
    "adagrad": Optimizer(
        update=_adagrad,
        formula="m += g^2, w -= learning_rate g / (sqrt(m) + epsilon); PyTorch's Adagrad (Duchi et al. 2011). "
        "Keras starts m at 0.1 and has epsilon inside the root",
        n_moments=1,
        defaults={"epsilon": 1e-10},
    ),
    "adam": Optimizer(
        update=_adam,
        formula="m = beta_1 m + (1 - beta_1) g, v = beta_2 v + (1 - beta_2) g^2, w -= learning_rate m' / "
        "(sqrt(v') + epsilon), m' = m / (1 - beta_1^t), v' = v / (1 - beta_2^t); PyTorch's Adam (Kingma and Ba "
        "2015, algorithm 1). Keras and scikit-learn add epsilon to sqrt(v), not sqrt(v')",
        n_moments=2,
        defaults=_ADAM,
        begin=_begin_adam,
    ),
    "adamw": Optimizer(
        update=_adam,
        formula="adam, with w -= learning_rate weight_decay w beside it; PyTorch's AdamW (Loshchilov and "
        "Hutter 2019)",
        n_moments=2,
        defaults=_ADAM | {"weight_decay": 0.01},
        begin=_begin_adam,
        decoupled=True,
    ),
    "nadam": Optimizer(
        update=_nadam,
        formula="adam with m' = mu_(t+1) m / (1 - mu_1 ... mu_(t+1)) + (1 - mu_t) g / (1 - mu_1 ... mu_t), mu_t = "
        "beta_1 (1 - 0.96^(t momentum_decay) / 2); PyTorch's NAdam (Dozat 2016). In Keras momentum_decay is 1",
        n_moments=2,
        defaults=_ADAM | {"momentum_decay": 0.004},
        begin=_begin_nadam,
    ),
    "lion": Optimizer(
        update=_lion,
        formula="w -= learning_rate (sign(beta_1 m + (1 - beta_1) g) + weight_decay w), m = beta_2 m + "
        "(1 - beta_2) g; Keras' and Optax's lion (Chen et al. 2023), whose weight_decay is 0.001 in Optax",
        n_moments=1,
        defaults={"beta_1": 0.9, "beta_2": 0.99},
        decoupled=True,
    ),
}


def _updates(optimizer):
    """Give the loop of ``update`` over the parameters `first` to `last`."""
    f = kernel(optimizer.update)

    @kernel
    def without_moments(w, g, m, v, eta, h, c, first, last):
        for p in range(first, last):
            w[p] = f(w[p], g[p], eta, h, c)

    @kernel
    def with_one(w, g, m, v, eta, h, c, first, last):
        for p in range(first, last):
            w[p], m[p] = f(w[p], g[p], m[p], eta, h, c)

    @kernel
    def with_two(w, g, m, v, eta, h, c, first, last):
        for p in range(first, last):
            w[p], m[p], v[p] = f(w[p], g[p], m[p], v[p], eta, h, c)

    return (without_moments, with_one, with_two)[optimizer.n_moments]


@kernel
def _nothing(h, c, t):
    pass


_NAN = Optimizer(update=lambda w, g, eta, h, c: w * float("nan"), formula="")

# update(kind, w, g, m, v, eta, h, c, first, last)
update = switch([_updates(optimizer) for optimizer in OPTIMIZERS.values()], _updates(_NAN))
# begin(kind, h, c, t)
begin = switch([kernel(optimizer.begin or _nothing) for optimizer in OPTIMIZERS.values()], _nothing)


def n_state_rows(name: str, n_parameters: int) -> int:
    """Give the rows that an optimizer keeps of a run: c, then m, then v."""
    optimizer = OPTIMIZERS[name]
    moments = optimizer.n_moments * n_parameters
    return N_COEFFICIENTS + moments if moments else 0

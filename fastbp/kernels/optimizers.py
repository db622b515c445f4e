"""Optimizers: the update of each, one entry of ``OPTIMIZERS`` a variant.

May import ``lanes`` and ``switch`` alone.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.kernels.lanes import fma, kernel
from fastbp.kernels.switch import switch


class Optimizer(NamedTuple):
    """The new value of one parameter, ``update(w, g, eta)``, from its gradient and learning rate."""

    update: Callable
    formula: str


OPTIMIZERS = {
    "sgd": Optimizer(
        update=lambda w, g, eta: fma(-eta, g, w),
        formula="w - learning_rate * dLoss/dw; PyTorch's and Keras' SGD without momentum",
    ),
}


def _updates(function):
    """Give the loop ``w_p = f(w_p, g_p, eta)`` over the parameters `first` to `last`."""
    f = kernel(function)

    @kernel
    def loop(w, g, eta, first, last):
        for p in range(first, last):
            w[p] = f(w[p], g[p], eta)

    return loop


# update(kind, w, g, eta, first, last)
update = switch(
    [_updates(f.update) for f in OPTIMIZERS.values()], _updates(lambda w, g, eta: w * float("nan"))
)

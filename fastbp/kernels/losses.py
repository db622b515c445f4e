"""Losses: value and slope of each, one entry of ``LOSSES`` a variant.

The loss of a run is the mean over its samples of a sum over the outputs, or of a mean where the entry says so.
May import ``lanes`` and ``switch`` alone.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.kernels.lanes import kernel
from fastbp.kernels.switch import switch


class Loss(NamedTuple):
    """The term of one output, ``value(a, y)``, and its derivative by `a`, ``slope(a, y)``."""

    value: Callable
    slope: Callable
    mean_over_outputs: bool
    formula: str


LOSSES = {
    "mse": Loss(
        value=lambda a, y: (a - y) * (a - y),
        slope=lambda a, y: 2.0 * (a - y),
        mean_over_outputs=True,
        formula="mean over samples and outputs of (a - y)^2; PyTorch's MSELoss, Keras' mean_squared_error",
    ),
    "half_sse": Loss(
        value=lambda a, y: 0.5 * (a - y) * (a - y),
        slope=lambda a, y: a - y,
        mean_over_outputs=False,
        formula="mean over samples of the sum over outputs of (a - y)^2 / 2, the textbook's error",
    ),
}


def weight(name: str, n_samples: int, n_outputs: int) -> float:
    """Give the factor of each term of the sum over samples and outputs."""
    return 1.0 / (n_samples * n_outputs if LOSSES[name].mean_over_outputs else n_samples)


def _terms(value, slope):
    """Give the loop over outputs that adds up the terms and starts ``delta = dLoss/da`` at the last layer."""
    f, df = kernel(value), kernel(slope)

    @kernel
    def loop(a, y, delta, weight, total, output, target, n_outputs):
        for j in range(n_outputs):
            total = total + f(a[output + j], y[target + j])
            delta[output + j] = df(a[output + j], y[target + j]) * weight
        return total

    return loop


_nan = _terms(lambda a, y: a * float("nan"), lambda a, y: a * float("nan"))

# add_loss(kind, a, y, delta, weight, total, output, target, n_outputs): the new total
add_loss = switch([_terms(f.value, f.slope) for f in LOSSES.values()], _nan)

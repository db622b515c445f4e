"""Losses: value and slope of each, one entry of ``LOSSES`` a variant.

The loss of a run is the mean over its samples of a sum over the outputs, or of a mean where the entry says so.
To add one, write its entry: the sweep file, its schema and its errors walk this table, and so do the tests, which
will ask for an independent formula (``tests/reference.py``) and its name in the README. May import ``lanes``,
``mathematics`` and ``switch`` alone.

Letters: ``z`` sum before the activation of an output, ``a`` the output, ``y`` its target, ``h`` the loss's own
hyperparameters in the order of its ``defaults``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastbp.kernels.lanes import kernel, where
from fastbp.kernels.mathematics import exp, log, log1p, tanh
from fastbp.kernels.switch import switch

LOG_2 = 0.6931471805599453


class Loss(NamedTuple):
    """What is minimised.

    Attributes
    ----------
    formula : str
    value, slope : callable
        The term of one output, ``value(z, a, y, h)``, and its derivative by a; by z where `output` is named.
    terms : callable
        Instead of these the loop over all outputs, where the terms hang together; see ``_terms``.
    mean_over_outputs : bool
        Whether the terms of a sample are averaged, or summed.
    output : str
        The activation that the last layer must have, whose slope is then part of `slope`; any where it is empty.
    targets : str
        What the targets must be: ``"number"``, ``"probability"`` (0 to 1), ``"class"`` (a 1 among zeros, or
        probabilities of each class) or ``"sign"`` (-1 and 1, or 0 and 1).
    score : str
        How good the outputs are, apart from the loss: a key of ``metrics.SCORES``.
    defaults : mapping
        The loss's own hyperparameters and what they are where the sweep says nothing.
    kinked : bool
        Whether the slope jumps somewhere.
    """

    formula: str
    value: Callable | None = None
    slope: Callable | None = None
    terms: Callable | None = None
    mean_over_outputs: bool = True
    output: str = ""
    targets: str = "number"
    score: str = "r2"
    defaults: Mapping[str, float] = {}
    kinked: bool = False


def _sign(x):
    """The sign of `x`, 0 at 0; a NaN stays one."""
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, x))


sign = kernel(_sign)


def _huber(z, a, y, h):
    d = abs(a - y)
    return where(d <= h[0], 0.5 * d * d, h[0] * (d - 0.5 * h[0]))


def _huber_slope(z, a, y, h):
    d = a - y
    return where(abs(d) <= h[0], d, h[0] * sign(d))


def _log_cosh(z, a, y, h):
    d = abs(a - y)
    return d + log1p(exp(-2.0 * d)) - LOG_2


def _margin(a, y):
    """``1 - y a``, the targets 0 and 1 being taken for -1 and 1."""
    return 1.0 - where(y == 0.0, -1.0, y) * a


margin = kernel(_margin)


@kernel
def _cross_entropy(z, a, y, delta, h, weight, total, output, target, n_outputs):
    """``-sum_j y_j log(a_j) = sum_j y_j (log(sum_k exp(z_k - z_max)) - (z_j - z_max))``."""
    z_max, mass = z[output], y[target]
    for j in range(1, n_outputs):
        z_max = where(z[output + j] > z_max, z[output + j], z_max)
        mass = mass + y[target + j]
    sum_ = exp(z[output] - z_max)
    for j in range(1, n_outputs):
        sum_ = sum_ + exp(z[output + j] - z_max)
    log_sum = log(sum_)
    for j in range(n_outputs):
        total = total + y[target + j] * (log_sum - (z[output + j] - z_max))
        delta[output + j] = (a[output + j] * mass - y[target + j]) * weight
    return total


LOSSES = {
    "mse": Loss(
        value=lambda z, a, y, h: (a - y) * (a - y),
        slope=lambda z, a, y, h: 2.0 * (a - y),
        formula="mean over samples and outputs of (a - y)^2; PyTorch's MSELoss, Keras' mean_squared_error",
    ),
    "half_sse": Loss(
        value=lambda z, a, y, h: 0.5 * (a - y) * (a - y),
        slope=lambda z, a, y, h: a - y,
        formula="mean over samples of the sum over outputs of (a - y)^2 / 2, the textbook's error",
        mean_over_outputs=False,
    ),
    "mae": Loss(
        value=lambda z, a, y, h: abs(a - y),
        slope=lambda z, a, y, h: sign(a - y),
        formula="mean over samples and outputs of |a - y|, slope 0 at 0; PyTorch's L1Loss, Keras' "
        "mean_absolute_error",
        kinked=True,
    ),
    "huber": Loss(
        value=_huber,
        slope=_huber_slope,
        formula="mean over samples and outputs of d^2 / 2 where |d| = |a - y| <= huber_delta, else huber_delta "
        "(|d| - huber_delta / 2); PyTorch's HuberLoss, Keras' Huber (Huber 1964)",
        defaults={"huber_delta": 1.0},
    ),
    "log_cosh": Loss(
        value=_log_cosh,
        slope=lambda z, a, y, h: tanh(a - y),
        formula="mean over samples and outputs of log(cosh(a - y)); Keras' log_cosh",
    ),
    "binary_cross_entropy": Loss(
        # From z: log(a) would be -inf long before the loss is large.
        value=lambda z, a, y, h: where(z < 0.0, 0.0, z) - z * y + log1p(exp(-abs(z))),
        slope=lambda z, a, y, h: a - y,
        formula="mean over samples and outputs of -y log(a) - (1 - y) log(1 - a), from z; PyTorch's "
        "BCEWithLogitsLoss, Keras' binary_crossentropy",
        output="sigmoid",
        targets="probability",
        score="binary_accuracy",
    ),
    "cross_entropy": Loss(
        terms=_cross_entropy,
        formula="mean over samples of -sum over outputs of y log(a), from z; PyTorch's CrossEntropyLoss, Keras' "
        "categorical_crossentropy",
        mean_over_outputs=False,
        output="softmax",
        targets="class",
        score="accuracy",
    ),
    "hinge": Loss(
        value=lambda z, a, y, h: where(margin(a, y) < 0.0, 0.0, margin(a, y)),
        slope=lambda z, a, y, h: where(margin(a, y) > 0.0, where(y == 0.0, 1.0, -y), 0.0),
        formula="mean over samples and outputs of max(1 - y a, 0), y = 0 being taken for -1; Keras' hinge",
        targets="sign",
        score="sign_accuracy",
        kinked=True,
    ),
}


def weight(name: str, n_outputs: int) -> float:
    """Give the factor of each term in the loss of one sample."""
    return 1.0 / n_outputs if LOSSES[name].mean_over_outputs else 1.0


def _terms(value, slope):
    """Give the loop over outputs that adds up the terms and starts `delta` at the last layer."""
    f, df = kernel(value), kernel(slope)

    @kernel
    def loop(z, a, y, delta, h, weight, total, output, target, n_outputs):
        for j in range(n_outputs):
            z_j, a_j, y_j = z[output + j], a[output + j], y[target + j]
            total = total + f(z_j, a_j, y_j, h)
            delta[output + j] = df(z_j, a_j, y_j, h) * weight
        return total

    return loop


_nan = _terms(lambda z, a, y, h: a * float("nan"), lambda z, a, y, h: a * float("nan"))

# add_loss(kind, z, a, y, delta, h, weight, total, output, target, n_outputs): the new total
add_loss = switch([f.terms or _terms(f.value, f.slope) for f in LOSSES.values()], _nan)

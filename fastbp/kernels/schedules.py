"""Schedules: the factor on the learning rates at each step, one entry of ``SCHEDULES`` a variant.

Each may follow a warm-up: for ``warmup_steps`` steps the factor rises as ``(t + 1) / warmup_steps``, and the
schedule counts its steps from there. May import ``lanes``, ``mathematics`` and ``switch`` alone.

Letters: ``t`` steps since the warm-up, ``h`` the schedule's own hyperparameters in the order of its ``defaults``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastbp.kernels.lanes import kernel, nearest, where
from fastbp.kernels.mathematics import exp, log
from fastbp.kernels.switch import switch
from fastbp.kernels.trigonometry import cos

PI = 3.141592653589793
TO_THE_END = 0.0  # as decay_steps: all steps after the warm-up


class Schedule(NamedTuple):
    """The factor ``value(t, h)``; `defaults` are its own hyperparameters, None where the sweep has to say."""

    value: Callable
    formula: str
    defaults: Mapping[str, float | None] = {}


def _floor(x):
    whole = nearest(x)
    return where(whole > x, whole - 1.0, whole)


floor = kernel(_floor)


def _progress(t, h):
    """The share of ``decay_steps`` that is over, at most 1."""
    return where(t >= h[0], 1.0, t / h[0])


progress = kernel(_progress)


def _cosine(t, h):
    share = 0.5 * (1.0 + cos(PI * progress(t, h)))
    return h[1] * (1.0 - share) + share


def _linear(t, h):
    return (1.0 - progress(t, h)) + h[1] * progress(t, h)


SCHEDULES = {
    "constant": Schedule(
        value=lambda t, h: 1.0,
        formula="1",
    ),
    "step": Schedule(
        value=lambda t, h: exp(log(h[1]) * floor(t / h[0])),
        formula="decay_rate ^ floor(t / decay_steps); PyTorch's StepLR, Keras' ExponentialDecay with staircase",
        defaults={"decay_steps": None, "decay_rate": 0.1},
    ),
    "exponential": Schedule(
        value=lambda t, h: exp(log(h[1]) * (t / h[0])),
        formula="decay_rate ^ (t / decay_steps); Keras' ExponentialDecay, PyTorch's ExponentialLR with "
        "decay_steps = 1",
        defaults={"decay_steps": None, "decay_rate": None},
    ),
    "cosine": Schedule(
        value=_cosine,
        formula="from 1 to final_factor along half a cosine within decay_steps; Keras' CosineDecay, final_factor "
        "being its alpha, PyTorch's CosineAnnealingLR, which rises again afterwards",
        defaults={"decay_steps": TO_THE_END, "final_factor": 0.0},
    ),
    "linear": Schedule(
        value=_linear,
        formula="from 1 to final_factor along a line within decay_steps; PyTorch's LinearLR with start_factor = 1",
        defaults={"decay_steps": TO_THE_END, "final_factor": 0.0},
    ),
    "inverse_time": Schedule(
        value=lambda t, h: 1.0 / (1.0 + h[1] * (t / h[0])),
        formula="1 / (1 + decay_rate t / decay_steps); Keras' InverseTimeDecay",
        defaults={"decay_steps": None, "decay_rate": None},
    ),
}


def _factor(value):
    f = kernel(value)

    @kernel
    def set_factor(factor, t, warmup, h):
        # The warm-up's length is each run's own, and t a number for all: so it becomes one of each run here.
        since = t - warmup
        factor[0] = f(where(since < 0.0, 0.0, since), h)
        factor[0] = where(since < 0.0, (t + 1) / where(warmup > 1.0, warmup, 1.0), factor[0])

    return set_factor


# set_factor(kind, factor, t, warmup, h): factor[0] of step t
set_factor = switch([_factor(f.value) for f in SCHEDULES.values()], _factor(lambda t, h: t * float("nan")))

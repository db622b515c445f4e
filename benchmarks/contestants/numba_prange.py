"""Numba: scalar loops for one run, compiled for the workload's layers, and ``prange`` over the runs.

Layers and activations are constants of closures, so that LLVM knows the length of every loop.
"""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache

import numba
import numpy as np
from numba import njit, prange

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload

fast = njit(fastmath=True, error_model="numpy")


def version() -> str:
    """Name the library and its version."""
    return f"Numba {numba.__version__}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return "keeps no numbers of each step here" if workload.records else ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give one setting: runs are independent of each other."""
    yield Setting(16)


def activation_of(name: str, dtype: type) -> tuple[Callable, Callable]:
    """Give an activation of one unit, and its slope from what it gives."""
    one = dtype(1)
    return {
        "sigmoid": (fast(lambda z: one / (one + math.exp(-z))), fast(lambda a: a * (one - a))),
        "tanh": (fast(lambda z: math.tanh(z)), fast(lambda a: one - a * a)),
        "identity": (fast(lambda z: z), fast(lambda a: one)),
        "softmax": (fast(lambda z: z), fast(lambda a: one)),  # `softmax` turns z into a in place
    }[name]


def layer_of(n_in, n_out, bias, scale, activation, slope, first_weight, first_input):
    """Give ``forward(w, a)`` and ``backward(w, a, delta, g)`` of a layer for one sample."""
    first_bias, first_output = first_weight + n_in * n_out, first_input + n_in
    passes_on = first_input > 0

    @fast
    def forward(w, a):
        z = a[first_output : first_output + n_out]
        z[:] = 0
        for i in range(n_in):
            a_i = scale * a[first_input + i]
            for j in range(n_out):
                z[j] += a_i * w[first_weight + i * n_out + j]
        for j in range(n_out):
            z[j] = activation(z[j] + w[first_bias + j] if bias else z[j])

    @fast
    def backward(w, a, delta, g):
        d = delta[first_output : first_output + n_out]
        for j in range(n_out):
            d[j] *= slope(a[first_output + j])
            if bias:
                g[first_bias + j] += d[j]
            d[j] *= scale
        for i in range(n_in):
            a_i = a[first_input + i]
            for j in range(n_out):
                g[first_weight + i * n_out + j] += a_i * d[j]
        if passes_on:
            for i in range(n_in):
                total = d[0] * w[first_weight + i * n_out]
                for j in range(1, n_out):
                    total += d[j] * w[first_weight + i * n_out + j]
                delta[first_input + i] = total

    return forward, backward


def both(first: Callable, then: Callable) -> Callable:
    """Give the function that calls one function, then the other."""

    @fast
    def call(*arguments):
        first(*arguments)
        then(*arguments)

    return call


def network_of(workload: Workload) -> tuple[Callable, Callable]:
    """Give ``forward(w, a)`` and ``backward(w, a, delta, g)`` of all layers."""
    forward = backward = None
    dtype, first_weight, first_input = np.dtype(workload.dtype).type, 0, 0
    for (n_in, n_out), scale, name in zip(
        workload.shapes, workload.scales, workload.activations, strict=True
    ):
        there, back = layer_of(
            n_in,
            n_out,
            workload.bias,
            dtype(scale),
            *activation_of(name, dtype),
            first_weight,
            first_input,
        )
        forward = both(forward, there) if forward else there
        backward = both(back, backward) if backward else back
        first_weight += (n_in + workload.bias) * n_out
        first_input += n_in
    assert forward is not None
    assert backward is not None
    return forward, backward


def loss_of(workload: Workload) -> Callable:
    """Give ``loss(a, y, delta)`` of one sample: the loss; `delta` becomes its slope by each output."""
    n_out, dtype = workload.layers[-1], np.dtype(workload.dtype).type
    share, zero = dtype(1 / n_out), dtype(0)

    @fast
    def mse(a, y, delta):
        total = zero
        for j in range(n_out):
            error = a[j] - y[j]
            total += error * error
            delta[j] = (share + share) * error
        return share * total

    @fast
    def cross_entropy(z, y, delta):
        largest = z.max()
        total, product = zero, zero
        for j in range(n_out):
            delta[j] = math.exp(z[j] - largest)
            total += delta[j]
            product += y[j] * (z[j] - largest)
        for j in range(n_out):
            delta[j] = delta[j] / total - y[j]
        return math.log(total) - product

    return {"mse": mse, "cross_entropy": cross_entropy}[workload.loss]


def optimizer_of(workload: Workload) -> Callable:
    """Give ``update(w, g, m, v, rate, t)`` of one parameter, which gives w, m and v."""
    dtype = np.dtype(workload.dtype).type
    one, beta_1, beta_2, epsilon = dtype(1), dtype(0.9), dtype(0.999), dtype(1e-8)

    @fast
    def sgd(w, g, m, v, rate, correction_1, correction_2):
        return w - rate * g, m, v

    @fast
    def adam(w, g, m, v, rate, correction_1, correction_2):
        m = beta_1 * m + (one - beta_1) * g
        v = beta_2 * v + (one - beta_2) * g * g
        return w - rate * (m * correction_1) / (math.sqrt(v * correction_2) + epsilon), m, v

    return {"sgd": sgd, "adam": adam}[workload.optimizer]


@lru_cache
def program(workload: Workload) -> Callable:
    """Give ``train(w, rates, x, y, batches, losses)`` of many runs, in place."""
    forward, backward = network_of(workload)
    loss_of_sample, update = loss_of(workload), optimizer_of(workload)
    dtype, n_units, n_in = np.dtype(workload.dtype).type, sum(workload.layers), workload.layers[0]
    last, one = n_units - workload.layers[-1], dtype(1)
    sizes = [(n_in + workload.bias) * n_out for n_in, n_out in workload.shapes]
    ends = tuple(np.cumsum(sizes).tolist())

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def train(w_of_runs, rates, x, y, batches, losses):
        for run in prange(len(w_of_runs)):
            w = w_of_runs[run]
            g, m, v = np.empty_like(w), np.zeros_like(w), np.zeros_like(w)
            a, delta = np.empty(n_units, dtype), np.empty(n_units, dtype)
            for t in range(len(batches)):
                g[:] = 0
                for n in batches[t]:
                    a[:n_in] = x[n]
                    forward(w, a)
                    loss_of_sample(a[last:], y[n], delta[last:])
                    backward(w, a, delta, g)
                share = one / dtype(len(batches[t]))
                correction_1 = dtype(1 / (1 - 0.9 ** (t + 1)))
                correction_2 = dtype(1 / (1 - 0.999 ** (t + 1)))
                first = 0
                for layer, end in enumerate(ends):
                    rate = rates[run, layer]
                    for p in range(first, end):
                        w[p], m[p], v[p] = update(
                            w[p], share * g[p], m[p], v[p], rate, correction_1, correction_2
                        )
                    first = end
            total = dtype(0)
            for n in range(len(x)):
                a[:n_in] = x[n]
                forward(w, a)
                total += loss_of_sample(a[last:], y[n], delta[last:])
            losses[run] = total / dtype(len(x))

    return train


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have the weights ready."""
    train_many, start = program(workload), workload.weights(n_runs)
    w, losses = start.copy(), np.empty(n_runs, workload.dtype)
    fixed = workload.learning_rates(n_runs), *workload.samples(), workload.batches()

    def reset() -> None:
        w[:] = start

    return Trainer(lambda: train_many(w, *fixed, losses), lambda: losses, reset)

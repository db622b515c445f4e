"""The loop of steps of one run: gradient over the data, what is measured and recorded, update.

May import the other formulas of ``kernels`` alone.
"""

from typing import NamedTuple

import numpy as np

from fastbp.kernels import metrics
from fastbp.kernels.lanes import kernel
from fastbp.kernels.losses import add_loss
from fastbp.kernels.network import LEARNING_RATE, TARGET_LOSS, backward, forward, layer_size, sizes
from fastbp.kernels.optimizers import update


class Run(NamedTuple):
    """The numbers of one run; 1-D arrays in the interpreter, LaneArrays in lanes.

    Attributes
    ----------
    x, y : (n_samples * n_inputs,), (n_samples * n_outputs,)
        Data; plain arrays where all runs share them.
    w, g : (n_parameters,)
        Parameters, trained in place, and the gradient of the last step.
    z, a, delta : (n_units,)
        Of the last sample.
    hyper : (1 + 2 n_layers,)
        ``network.TARGET_LOSS``, learning rates, scales.
    m : (N_METRICS,)
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    g: np.ndarray
    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    hyper: np.ndarray
    m: np.ndarray


class Record(NamedTuple):
    """What is kept of each step; without `history` or `trace` the arrays have no rows.

    Attributes
    ----------
    losses : (steps + 1,)
    w : ((steps + 1) * n_parameters,)
    g : (steps * n_parameters,)
    z, a : ((steps + 1) * n_samples * n_units,)
    delta : (steps * n_samples * n_units,)
    """

    history: bool
    trace: bool
    losses: np.ndarray
    w: np.ndarray
    g: np.ndarray
    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray


@kernel
def train(network, run, record, start, stop, steps):
    """Do the steps `start` to `stop` of `steps`; after the last, evaluate the trained network once more."""
    n_parameters, n_units = sizes(network)
    if start == 0:
        metrics.begin(run.m)
    for t in range(start, stop + 1 if stop == steps else stop):
        # One call for both: twice the code would take twice as long to compile.
        learn = t < steps
        L = evaluate(network, run, record, t, n_parameters, n_units, learn)
        metrics.measure(run.m, t, L, run.hyper[TARGET_LOSS])
        if record.history:
            record.losses[t] = L
        if record.trace:
            copy(run.w, record.w, t, n_parameters)
        if learn:
            metrics.measure_convergence(run.m, t, steps, L)
            if record.trace:
                copy(run.g, record.g, t, n_parameters)
            if t == steps - 1:
                run.m[metrics.GRADIENT_NORM] = metrics.norm(run.g, n_parameters)
            descend(network, run)
    if stop == steps:
        metrics.finish(run.m, run.w, n_parameters, steps)


@kernel
def evaluate(network, run, record, t, n_parameters, n_units, learn):
    """Give the loss of the weights on the data; with `learn`, leave its gradient in ``run.g``."""
    n_outputs = network.layers[len(network.activations)]
    for p in range(n_parameters):
        run.g[p] = 0.0
    L = 0.0
    for n in range(network.n_samples):
        p, u = forward(network, run.hyper, run.w, run.x, n, run.z, run.a)
        L = add_loss(network.loss, (run.a, run.y, run.delta, network.weight, L, u, n * n_outputs, n_outputs))
        if learn:
            backward(network, run.hyper, run.w, run.g, run.x, n, run.z, run.a, run.delta, p, u)
        if record.trace:
            sample = t * network.n_samples + n
            copy(run.z, record.z, sample, n_units)
            copy(run.a, record.a, sample, n_units)
            if learn:
                copy(run.delta, record.delta, sample, n_units)
    return L * network.weight


@kernel
def descend(network, run):
    """One step of the optimizer, each layer at its own learning rate."""
    p = 0
    for layer in range(len(network.activations)):
        end = p + layer_size(network.bias, network.layers[layer], network.layers[layer + 1])
        update(network.optimizer, (run.w, run.g, run.hyper[LEARNING_RATE + layer], p, end))
        p = end


@kernel
def copy(source, target, index, n):
    """``target[index, :] = source[:]`` of `n` numbers."""
    for i in range(n):
        target[index * n + i] = source[i]

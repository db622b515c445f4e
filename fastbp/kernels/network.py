"""Forward pass and backward pass of one run, written once as scalar code.

Equation letters: ``W, b`` parameters, ``z`` sum before the activation, ``a`` activation, ``delta = dL/dz``,
``g = dL/dparameter``; indices ``n`` sample, ``i`` input unit, ``j`` output unit. All are 1-D and flat:

- parameters ``w``, ``g``: for each layer W of shape (n_in, n_out) by rows, then b, where the network has biases;
- units ``z``, ``a``, ``delta``: those of the first layer with weights, then the next … (the input stays in ``x``);
- data ``x`` and ``y``: sample after sample.

Source: Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, Nature 323 (1986).
May import the other formulas of ``kernels`` alone.
"""

from typing import NamedTuple

import numpy as np

from fastbp.kernels.activations import activate, multiply_slope
from fastbp.kernels.lanes import fma, kernel, rows_from


class Network(NamedTuple):
    """What all runs of a block share; `structure.network_of` makes it from names.

    Attributes
    ----------
    layers : int64 array, (n_layers + 1,)
        Units of the input, then of each layer.
    activations, slopes : int64 array, (n_layers,)
        Index into ``ACTIVATIONS`` of each layer, and of the slope that ``backward`` multiplies by: the identity's
        where the loss has done it.
    activation_row : int
        Row of a run's hyperparameters where those of the activations begin.
    bias : bool
        Whether each layer has a vector b.
    range_layers, range_first, range_last : int64 array, (n_ranges,)
        The parameters that are trained: of which layer, from where, to where.
    loss, loss_row, optimizer, optimizer_row, schedule, schedule_row : int
        Index into ``LOSSES``, ``OPTIMIZERS``, ``SCHEDULES``, and the row where the hyperparameters of each begin;
        at `schedule_row` that of the warm-up.
    weight : float
        Factor of each term in the loss of one sample (`losses.weight`).
    scheduled, clips, decays, decoupled : bool
        Whether the learning rate changes, gradients are clipped, weights decay, and decay beside the update.
    clip_row, decay_row, patience_row : int
    n_samples, n_validation : int
        The data are the samples to train on, then those of the validation part.
    batch_size, n_batches, epoch_size : int
        Samples of a step; steps of an epoch; samples of an epoch.
    full : bool
        Whether each step takes all samples.
    n_state : int
        Rows that the optimizer keeps.
    stops_at_target, stops_on_divergence, patient : bool
        What ends a run before its last step.
    validate_every : int
        Steps between looks at the validation part, where a run may end for its sake.
    score : int
        Index into ``SCORES``; -1 where there is nothing to score.
    """

    layers: np.ndarray
    activations: np.ndarray
    slopes: np.ndarray
    activation_row: int
    bias: bool
    range_layers: np.ndarray
    range_first: np.ndarray
    range_last: np.ndarray
    loss: int
    loss_row: int
    optimizer: int
    optimizer_row: int
    schedule: int
    schedule_row: int
    weight: float
    scheduled: bool
    clips: bool
    decays: bool
    decoupled: bool
    clip_row: int
    decay_row: int
    patience_row: int
    n_samples: int
    n_validation: int
    batch_size: int
    n_batches: int
    epoch_size: int
    full: bool
    n_state: int
    stops_at_target: bool
    stops_on_divergence: bool
    patient: bool
    validate_every: int
    score: int


# Rows of a run's hyperparameters: the loss that counts as converged, the learning rate of each layer, its scale,
# and then what loss, optimizer … have of their own (`structure.hyperparameters`).
TARGET_LOSS, LEARNING_RATE = 0, 1


@kernel
def scale_row(network, layer):
    """Row of the multiplier on ``x @ W`` of a layer."""
    return LEARNING_RATE + len(network.activations) + layer


@kernel
def layer_size(bias, n_in, n_out):
    """Number of parameters of a layer."""
    return n_in * n_out + (n_out if bias else 0)


@kernel
def sizes(network):
    """Number of parameters and number of units."""
    n_parameters, n_units = 0, 0
    for layer in range(len(network.activations)):
        n_parameters += layer_size(network.bias, network.layers[layer], network.layers[layer + 1])
        n_units += network.layers[layer + 1]
    return n_parameters, n_units


@kernel
def dense(w, p, bias, scale, x, s, n_in, z, u, n_out):
    """``z_j = scale sum_i x_i W_ij + b_j`` of one layer and sample.

    W begins at `p` of `w`, the sample at `s` of `x`, the layer's units at `u` of `z`.
    """
    b = p + n_in * n_out
    for j in range(n_out):
        sum_ = w[p + j] * x[s]
        for i in range(1, n_in):
            sum_ = fma(w[p + i * n_out + j], x[s + i], sum_)
        z[u + j] = fma(scale, sum_, w[b + j]) if bias else scale * sum_


@kernel
def dense_gradient(g, p, bias, scale, x, s, n_in, delta, u, n_out, fresh):
    """``dL/dW_ij += scale x_i delta_j`` and ``dL/db_j += delta_j`` of one layer and sample.

    The sums begin with a sample that is `fresh`: to clear them beforehand and add to them would cost a small
    network a tenth of its time.
    """
    b = p + n_in * n_out
    for j in range(n_out):
        scaled = scale * delta[u + j]
        if fresh:
            for i in range(n_in):
                g[p + i * n_out + j] = scaled * x[s + i]
        else:
            for i in range(n_in):
                g[p + i * n_out + j] = fma(scaled, x[s + i], g[p + i * n_out + j])
        if bias:
            g[b + j] = delta[u + j] if fresh else g[b + j] + delta[u + j]


@kernel
def dense_delta(w, p, scale, delta, u_in, n_in, u, n_out):
    """``dL/da_i = scale sum_j W_ij delta_j``, left in the places of the layer below."""
    for i in range(n_in):
        sum_ = w[p + i * n_out] * delta[u]
        for j in range(1, n_out):
            sum_ = fma(w[p + i * n_out + j], delta[u + j], sum_)
        delta[u_in + i] = scale * sum_


@kernel
def forward(network, hyper, w, x, n, z, a):
    """Compute z and a of every unit for sample `n`; return the offsets of the last layer in `w` and `a`."""
    layers = network.layers
    own = rows_from(hyper, network.activation_row)
    p, u, n_in = 0, 0, layers[0]
    for layer in range(len(network.activations)):
        n_out = layers[layer + 1]
        scale = hyper[scale_row(network, layer)]
        if layer == 0:
            dense(w, 0, network.bias, scale, x, n * n_in, n_in, z, 0, n_out)
        else:
            p, u = p + layer_size(network.bias, layers[layer - 1], n_in), u + n_in
            dense(w, p, network.bias, scale, a, u - n_in, n_in, z, u, n_out)
        activate(network.activations[layer], (z, a, own, u, u + n_out))
        n_in = n_out
    return p, u


@kernel
def backward(network, hyper, w, g, x, n, z, a, delta, p, u, fresh):
    """Turn dL/da of the last layer (in `delta`) into delta of every unit, and add sample `n` to `g`.

    `p` and `u` are what `forward` returned; `fresh` makes `n` the first sample of `g`.
    """
    layers, own = network.layers, rows_from(hyper, network.activation_row)
    for layer in range(len(network.activations) - 1, -1, -1):
        n_in, n_out = layers[layer], layers[layer + 1]
        scale = hyper[scale_row(network, layer)]
        multiply_slope(network.slopes[layer], (z, a, delta, own, u, u + n_out))
        if layer == 0:
            dense_gradient(g, 0, network.bias, scale, x, n * n_in, n_in, delta, 0, n_out, fresh)
        else:
            dense_gradient(g, p, network.bias, scale, a, u - n_in, n_in, delta, u, n_out, fresh)
            dense_delta(w, p, scale, delta, u - n_in, n_in, u, n_out)
            p, u = p - layer_size(network.bias, layers[layer - 1], n_in), u - n_in

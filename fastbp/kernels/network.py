"""Forward pass and backward pass of one run, written once as scalar code.

Equation letters: ``W, b`` parameters, ``z`` sum before the activation, ``a`` activation, ``delta = dL/dz``,
``g = dL/dparameter``; indices ``n`` sample, ``i`` input unit, ``j`` output unit. All are 1-D and flat:

- parameters ``w``, ``g``: for each layer W of shape (n_in, n_out) by rows, then b, where the network has biases;
- data ``x`` and ``y``: sample after sample;
- units ``z``, ``a``, ``delta``: those of the first layer with weights, then the next … (the input stays in ``x``),
  in each layer sample after sample, with room for the samples of a chunk.

Source: Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, Nature 323 (1986).
May import the other formulas of ``kernels`` alone.
"""

import itertools
from typing import NamedTuple

import numpy as np

from fastbp.kernels.activations import activate, multiply_slope
from fastbp.kernels.lanes import kernel, rows_from
from fastbp.kernels.matrices import Matrix, multiply


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
    chunk : int
        Samples that go through the network together: as many as the fast caches hold.
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
    chunk: int
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


def multiply_adds(network: Network) -> int:
    """Give the multiply-adds that the layers take for one sample: forward, gradient and delta."""
    pairs = itertools.pairwise(int(n) for n in network.layers)
    return sum(n_in * n_out * (2 if layer == 0 else 3) for layer, (n_in, n_out) in enumerate(pairs))


@kernel
def forward(network, hyper, w, x, first, n, z, a):
    """Compute z and a of every unit for `n` samples; return the offsets of the last layer in `w` and `a`.

    The samples' inputs begin at `first` of `x`. ``z_nj = scale sum_i x_ni W_ij + b_j`` of each layer.
    """
    layers, bias = network.layers, network.bias
    own = rows_from(hyper, network.activation_row)
    p, u, n_in = 0, 0, layers[0]
    for layer in range(len(network.activations)):
        n_out = layers[layer + 1]
        if layer > 0:
            p, u = p + layer_size(bias, layers[layer - 1], n_in), u + n_in * network.chunk
        W, b = Matrix(w, p, n_out, 1), Matrix(w, p + n_in * n_out, 1, 0)
        scale, size, Z = hyper[scale_row(network, layer)], (n_in, n_out, n), Matrix(z, u, 1, n_out)
        if layer == 0:
            multiply(scale, W, Matrix(x, first, 1, n_in), size, Z, b, bias)
        else:
            multiply(scale, W, Matrix(a, u - n_in * network.chunk, 1, n_in), size, Z, b, bias)
        activate(network.activations[layer], (z, a, own, u, u + n * n_out, n_out))
        n_in = n_out
    return p, u


@kernel
def backward(network, hyper, w, g, x, first, n, z, a, delta, p, u, fresh):
    """Turn dL/da of the last layer (in `delta`) into delta of every unit, and add `n` samples to `g`.

    `p` and `u` are what `forward` returned. The sums in `g` begin with samples that are `fresh`: to clear them
    beforehand and add to them would cost a small network a tenth of its time. In the letters of `forward`
    ``dL/dW_ij = scale sum_n x_ni delta_nj``, ``dL/db_j = sum_n delta_nj``, and with respect to the inputs
    ``dL/dx_ni = scale sum_j W_ij delta_nj``.
    """
    layers, own = network.layers, rows_from(hyper, network.activation_row)
    for layer in range(len(network.activations) - 1, -1, -1):
        n_in, n_out = layers[layer], layers[layer + 1]
        multiply_slope(network.slopes[layer], (z, a, delta, own, u, u + n * n_out, n_out))
        scale, size = hyper[scale_row(network, layer)], (n, n_out, n_in)
        D, G = Matrix(delta, u, n_out, 1), Matrix(g, p, 1, n_out)
        if network.bias:
            bias_gradient(g, p + n_in * n_out, delta, u, n, n_out, fresh)
        if layer == 0:
            multiply(scale, D, Matrix(x, first, n_in, 1), size, G, G, not fresh)
        else:
            below = u - n_in * network.chunk
            multiply(scale, D, Matrix(a, below, n_in, 1), size, G, G, not fresh)
            E = Matrix(delta, below, 1, n_in)
            multiply(scale, Matrix(w, p, 1, n_out), Matrix(delta, u, 1, n_out), (n_out, n_in, n), E, E, False)
            p, u = p - layer_size(network.bias, layers[layer - 1], n_in), below


@kernel
def bias_gradient(g, b, delta, u, n, n_out, fresh):
    """``dL/db_j += sum_n delta_nj``."""
    for j in range(n_out):
        sum_ = delta[u + j] if fresh else g[b + j] + delta[u + j]
        for k in range(1, n):
            sum_ = sum_ + delta[u + k * n_out + j]
        g[b + j] = sum_

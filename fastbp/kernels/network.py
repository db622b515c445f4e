"""Forward pass, loss and backward pass of one run, written once as scalar code.

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
from fastbp.kernels.lanes import fma, kernel


class Network(NamedTuple):
    """What all runs of a block share.

    Attributes
    ----------
    layers : int64 array, (n_layers + 1,)
        Units of the input, then of each layer.
    activations : int64 array, (n_layers,)
        Index into ``ACTIVATIONS`` of each layer.
    bias : bool
        Whether each layer has a vector b.
    loss, optimizer : int
        Index into ``LOSSES``, ``OPTIMIZERS``.
    weight : float
        Factor of each term of the loss (`losses.weight`).
    n_samples : int
    """

    layers: np.ndarray
    activations: np.ndarray
    bias: bool
    loss: int
    optimizer: int
    weight: float
    n_samples: int


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
def dense_gradient(g, p, bias, scale, x, s, n_in, delta, u, n_out):
    """``dL/dW_ij += scale x_i delta_j`` and ``dL/db_j += delta_j`` of one layer and sample."""
    b = p + n_in * n_out
    for j in range(n_out):
        scaled = scale * delta[u + j]
        for i in range(n_in):
            g[p + i * n_out + j] = fma(scaled, x[s + i], g[p + i * n_out + j])
        if bias:
            g[b + j] = g[b + j] + delta[u + j]


@kernel
def dense_delta(w, p, scale, delta, u_in, n_in, u, n_out):
    """``dL/da_i = scale sum_j W_ij delta_j``, left in the places of the layer below."""
    for i in range(n_in):
        sum_ = w[p + i * n_out] * delta[u]
        for j in range(1, n_out):
            sum_ = fma(w[p + i * n_out + j], delta[u + j], sum_)
        delta[u_in + i] = scale * sum_


# Rows of a run's hyperparameters: the loss that counts as converged, the learning rate of each layer, its scale.
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
def forward(network, hyper, w, x, n, z, a):
    """Compute z and a of every unit for sample `n`; return the offsets of the last layer in `w` and `a`."""
    layers = network.layers
    p, u, n_in = 0, 0, layers[0]
    for layer in range(len(network.activations)):
        n_out = layers[layer + 1]
        scale = hyper[scale_row(network, layer)]
        if layer == 0:
            dense(w, 0, network.bias, scale, x, n * n_in, n_in, z, 0, n_out)
        else:
            p, u = p + layer_size(network.bias, layers[layer - 1], n_in), u + n_in
            dense(w, p, network.bias, scale, a, u - n_in, n_in, z, u, n_out)
        activate(network.activations[layer], (z, a, u, u + n_out))
        n_in = n_out
    return p, u


@kernel
def backward(network, hyper, w, g, x, n, z, a, delta, p, u):
    """Turn dL/da of the last layer (in `delta`) into delta of every unit, and add sample `n` to `g`.

    `p` and `u` are what `forward` returned.
    """
    layers = network.layers
    for layer in range(len(network.activations) - 1, -1, -1):
        n_in, n_out = layers[layer], layers[layer + 1]
        scale = hyper[scale_row(network, layer)]
        multiply_slope(network.activations[layer], (z, a, delta, u, u + n_out))
        if layer == 0:
            dense_gradient(g, 0, network.bias, scale, x, n * n_in, n_in, delta, 0, n_out)
        else:
            dense_gradient(g, p, network.bias, scale, a, u - n_in, n_in, delta, u, n_out)
            dense_delta(w, p, scale, delta, u - n_in, n_in, u, n_out)
            p, u = p - layer_size(network.bias, layers[layer - 1], n_in), u - n_in

"""The oracle: backpropagation by the textbook, in plain NumPy, float64, one run at a time.

Imports nothing of fastbp. A row of ``x`` is a sample; a layer computes ``z = x @ W + b`` and ``a = f(z)``.
"""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np

VALUE = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: np.tanh(z),
    "relu": lambda z: np.maximum(z, 0),
}
SLOPE = {
    "identity": lambda z: np.ones_like(z),
    "sigmoid": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0) * 1.0,
}
LOSS = {
    "mse": lambda a, y: np.mean((a - y) ** 2),
    "half_sse": lambda a, y: np.mean(np.sum((a - y) ** 2, axis=1) / 2),
}
LOSS_SLOPE = {
    "mse": lambda a, y: 2 * (a - y) / a.size,
    "half_sse": lambda a, y: (a - y) / len(a),
}
KINKED = {"relu"}  # activations whose slope jumps at z = 0


def split(layers, bias, w):
    """Cut the flat parameters into a list of (W, b), a pair for each layer."""
    parameters = []
    for n_in, n_out in pairwise(layers):
        W, w = w[: n_in * n_out].reshape(n_in, n_out), w[n_in * n_out :]
        b = np.zeros(n_out)
        if bias:
            b, w = w[:n_out], w[n_out:]
        parameters.append((W, b))
    assert len(w) == 0
    return parameters


def flatten(bias, gradients):
    """Join a list of (W, b) into flat parameters."""
    return np.concatenate([part.ravel() for W, b in gradients for part in ((W, b) if bias else (W,))])


def forward(parameters, activations, x, scales):
    """Give the lists of z and of a, an array (n_samples, n_units) for each layer."""
    zs, outputs = [], []
    for (W, b), activation, scale in zip(parameters, activations, scales, strict=True):
        zs.append(float(scale) * ((outputs[-1] if outputs else x) @ W) + b)
        outputs.append(VALUE[activation](zs[-1]))
    return zs, outputs


def backward(parameters, activations, loss, x, y, zs, outputs, scales):
    """Give the list of delta = dLoss/dz and the list of (dLoss/dW, dLoss/db), for each layer."""
    last = len(parameters) - 1
    deltas, gradients = [None] * (last + 1), [None] * (last + 1)
    for layer in range(last, -1, -1):
        if layer == last:
            dl_da = LOSS_SLOPE[loss](outputs[layer], y)
        else:
            dl_da = float(scales[layer + 1]) * (deltas[layer + 1] @ parameters[layer + 1][0].T)
        deltas[layer] = dl_da * SLOPE[activations[layer]](zs[layer])
        below = outputs[layer - 1] if layer else x
        gradients[layer] = float(scales[layer]) * (below.T @ deltas[layer]), deltas[layer].sum(axis=0)
    return deltas, gradients


def loss_of(layers, activations, loss, bias, x, y, w, scales=None):
    """Give the loss of flat parameters."""
    scales = np.ones(len(activations)) if scales is None else scales
    return LOSS[loss](forward(split(layers, bias, w), activations, x, scales)[1][-1], y)


def train(layers, activations, loss, bias, x, y, w, learning_rates, steps, target, scales=None):
    """Train one run by gradient descent on all samples; give everything.

    w: (steps + 1, n_parameters), g: (steps, n_parameters), z and a: (steps + 1, n_samples, n_units),
    delta: (steps, n_samples, n_units), losses: (steps + 1,), metrics: a dict of numbers.
    """
    x, y, w = (np.asarray(values, np.float64) for values in (x, y, w))
    parameters = split(layers, bias, w)
    scales = np.ones(len(activations)) if scales is None else scales
    losses, weights, gs, zs_, as_, deltas_ = [], [], [], [], [], []
    with np.errstate(all="ignore"):
        for step in range(steps + 1):
            zs, outputs = forward(parameters, activations, x, scales)
            losses.append(LOSS[loss](outputs[-1], y))
            weights.append(flatten(bias, parameters))
            zs_.append(np.hstack(zs))
            as_.append(np.hstack(outputs))
            if step == steps:
                break
            deltas, gradients = backward(parameters, activations, loss, x, y, zs, outputs, scales)
            gs.append(flatten(bias, gradients))
            deltas_.append(np.hstack(deltas))
            parameters = [
                (W - float(rate) * dW, b - float(rate) * db * bias)
                for (W, b), (dW, db), rate in zip(parameters, gradients, learning_rates, strict=True)
            ]
        n_samples, n_units, n_parameters = len(x), sum(layers[1:]), len(w)
        return SimpleNamespace(
            losses=np.array(losses),
            w=np.array(weights),
            g=np.array(gs).reshape(steps, n_parameters),
            z=np.array(zs_),
            a=np.array(as_),
            delta=np.array(deltas_).reshape(steps, n_samples, n_units),
            metrics=measure(losses, weights[-1], gs[-1] if gs else np.zeros(1), target),
            tail_ratio=ratios(losses)[-20:].mean() if steps else np.nan,
        )


def ratios(losses):
    """Give loss / first loss before each update, cut at 1e6, which a non-finite one counts as."""
    v = np.array(losses[:-1]) / losses[0]
    v[~np.isfinite(v)] = 1e6
    return np.minimum(v, 1e6)


def measure(losses, w, g, target):
    """Give the metrics of a run with these losses, final weights and last gradient; -1 is a step never met."""
    losses = np.array(losses)
    before = losses[:-1]
    v = ratios(losses)
    converged, diverged = np.flatnonzero(losses <= target), np.flatnonzero(~np.isfinite(losses))
    return {
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "loss_min": np.nanmin(losses) if not np.isnan(losses).all() else np.inf,
        "loss_tail": before[-20:].mean() if len(before) else np.nan,
        "convergence": np.nan if not len(v) else -v.sum() if v[-20:].mean() < 1 else (1 / v).sum(),
        "step_converged": converged[0] if len(converged) else -1,
        "step_diverged": diverged[0] if len(diverged) else -1,
        "gradient_norm": np.sqrt(np.sum(g * g)),
        "weight_norm": np.sqrt(np.sum(w * w)),
    }

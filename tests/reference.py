"""The oracle: training by the textbook, in plain NumPy, float64, one run at a time.

Imports nothing of fastbp. A row of ``x`` is a sample; a layer computes ``z = x @ W + b`` and ``a = f(z)``. ``own``
are hyperparameters that an activation, a loss, an optimizer or a schedule has of its own, by name.
"""

from itertools import pairwise
from math import cos, erf, pi
from types import SimpleNamespace

import numpy as np

_erf = np.vectorize(erf, otypes=[float])
_normal = lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi)  # noqa: E731
_sigmoid = lambda z: np.where(z > 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))  # noqa: E731


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


OWN = {
    "negative_slope": 0.01,
    "elu_alpha": 1.0,
    "huber_delta": 1.0,
    "momentum": 0.9,
    "rho": 0.99,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "momentum_decay": 0.004,
}
VALUE = {
    "identity": lambda z, own: z,
    "sigmoid": lambda z, own: 1 / (1 + np.exp(-z)),
    "tanh": lambda z, own: np.tanh(z),
    "relu": lambda z, own: np.maximum(z, 0),
    "leaky_relu": lambda z, own: np.where(z > 0, z, own["negative_slope"] * z),
    "elu": lambda z, own: np.where(z > 0, z, own["elu_alpha"] * (np.exp(np.minimum(z, 0)) - 1)),
    "selu": lambda z, own: (
        1.0507009873554804934193349852946
        * np.where(z > 0, z, 1.6732632423543772848170429916717 * (np.exp(np.minimum(z, 0)) - 1))
    ),
    "softplus": lambda z, own: np.logaddexp(z, 0),
    "softsign": lambda z, own: z / (1 + np.abs(z)),
    "gelu": lambda z, own: z * (1 + _erf(z / np.sqrt(2))) / 2,
    "silu": lambda z, own: z * _sigmoid(z),
    "erf": lambda z, own: _erf(z),
    "sin": lambda z, own: np.sin(z),
    "softmax": lambda z, own: softmax(z),
}
SLOPE = {
    "identity": lambda z, own: np.ones_like(z),
    "sigmoid": lambda z, own: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    "tanh": lambda z, own: 1 - np.tanh(z) ** 2,
    "relu": lambda z, own: (z > 0) * 1.0,
    "leaky_relu": lambda z, own: np.where(z > 0, 1, own["negative_slope"]),
    "elu": lambda z, own: np.where(z > 0, 1, own["elu_alpha"] * np.exp(np.minimum(z, 0))),
    "selu": lambda z, own: (
        1.0507009873554804934193349852946
        * np.where(z > 0, 1, 1.6732632423543772848170429916717 * np.exp(np.minimum(z, 0)))
    ),
    "softplus": lambda z, own: _sigmoid(z),
    "softsign": lambda z, own: 1 / (1 + np.abs(z)) ** 2,
    "gelu": lambda z, own: (1 + _erf(z / np.sqrt(2))) / 2 + z * _normal(z),
    "silu": lambda z, own: _sigmoid(z) + z * _sigmoid(z) * _sigmoid(-z),
    "erf": lambda z, own: 2 / np.sqrt(np.pi) * np.exp(-z * z),
    "sin": lambda z, own: np.cos(z),
}
KINKED = {"relu", "leaky_relu", "elu", "selu"}  # activations whose slope jumps at z = 0


def _huber(d, delta):
    return np.where(np.abs(d) <= delta, d * d / 2, delta * (np.abs(d) - delta / 2))


# Of outputs a (n_samples, n_outputs), sums z before the last activation, targets y: the loss, and dLoss/da.
LOSS = {
    "mse": lambda z, a, y, own: np.mean((a - y) ** 2),
    "half_sse": lambda z, a, y, own: np.mean(np.sum((a - y) ** 2, axis=1) / 2),
    "mae": lambda z, a, y, own: np.mean(np.abs(a - y)),
    "huber": lambda z, a, y, own: np.mean(_huber(a - y, own["huber_delta"])),
    "log_cosh": lambda z, a, y, own: np.mean(np.logaddexp(a - y, y - a) - np.log(2)),
    "binary_cross_entropy": lambda z, a, y, own: np.mean(
        y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
    ),
    "cross_entropy": lambda z, a, y, own: (
        -np.mean(np.sum(y * (z - np.logaddexp.reduce(z, axis=1, keepdims=True)), axis=1))
    ),
    "hinge": lambda z, a, y, own: np.mean(np.maximum(1 - np.where(y == 0, -1, y) * a, 0)),
}
LOSS_SLOPE = {
    "mse": lambda a, y, own: 2 * (a - y) / a.size,
    "half_sse": lambda a, y, own: (a - y) / len(a),
    "mae": lambda a, y, own: np.sign(a - y) / a.size,
    "huber": lambda a, y, own: np.clip(a - y, -own["huber_delta"], own["huber_delta"]) / a.size,
    "log_cosh": lambda a, y, own: np.tanh(a - y) / a.size,
    "hinge": lambda a, y, own: (
        np.where(np.where(y == 0, -1, y) * a < 1, -np.where(y == 0, -1, y), 0) / a.size
    ),
}
# Losses whose slope is known by z, the sum before the one activation that they go with.
LOSS_SLOPE_BY_Z = {
    "binary_cross_entropy": lambda z, y: (_sigmoid(z) - y) / z.size,
    "cross_entropy": lambda z, y: (softmax(z) * y.sum(axis=1, keepdims=True) - y) / len(z),
}
LOSS_KINKED = {"mae", "hinge"}
OUTPUT = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax"}


def score_of(loss, a, y):
    """Give R2 (the mean over outputs) or accuracy of outputs."""
    if loss == "cross_entropy":
        return np.mean(y[np.arange(len(y)), a.argmax(axis=1)] >= y.max(axis=1))
    if loss == "binary_cross_entropy":
        return np.mean((a > 0.5) == (y > 0.5))
    if loss == "hinge":
        return np.mean((a > 0) == (y > 0))
    squares = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(np.where(squares > 0, 1 - ((y - a) ** 2).sum(axis=0) / squares, np.nan))


# Each takes parameter, gradient, the moments m and v, learning rate, the number of the step from 1 on and what the
# optimizer has of its own; gives the new parameter, m and v.
def _sgd(w, g, m, v, rate, t, own):
    return w - rate * g, m, v


def _momentum(w, g, m, v, rate, t, own):
    m = own["momentum"] * m + g
    return w - rate * m, m, v


def _nesterov(w, g, m, v, rate, t, own):
    m = own["momentum"] * m + g
    return w - rate * (g + own["momentum"] * m), m, v


def _rmsprop(w, g, m, v, rate, t, own):
    v = own["rho"] * v + (1 - own["rho"]) * g**2
    return w - rate * g / (np.sqrt(v) + own.get("epsilon", 1e-8)), m, v


def _adagrad(w, g, m, v, rate, t, own):
    v = v + g**2
    return w - rate * g / (np.sqrt(v) + own.get("epsilon", 1e-10)), m, v


def _adam(w, g, m, v, rate, t, own):
    m = own["beta_1"] * m + (1 - own["beta_1"]) * g
    v = own["beta_2"] * v + (1 - own["beta_2"]) * g**2
    m_hat, v_hat = m / (1 - own["beta_1"] ** t), v / (1 - own["beta_2"] ** t)
    return w - rate * m_hat / (np.sqrt(v_hat) + own.get("epsilon", 1e-8)), m, v


def _nadam(w, g, m, v, rate, t, own):
    mu = [own["beta_1"] * (1 - 0.96 ** (k * own["momentum_decay"]) / 2) for k in range(1, t + 2)]
    m = own["beta_1"] * m + (1 - own["beta_1"]) * g
    v = own["beta_2"] * v + (1 - own["beta_2"]) * g**2
    m_hat = mu[t] * m / (1 - np.prod(mu)) + (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    return w - rate * m_hat / (np.sqrt(v / (1 - own["beta_2"] ** t)) + own.get("epsilon", 1e-8)), m, v


def _lion(w, g, m, v, rate, t, own):
    sign = np.sign(own["beta_1"] * m + (1 - own["beta_1"]) * g)
    return w - rate * sign, own["beta_2"] * m + (1 - own["beta_2"]) * g, v


UPDATE = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "adam": _adam,
    "adamw": _adam,
    "nadam": _nadam,
    "lion": _lion,
}
DECOUPLED = {"adamw", "lion"}
DEFAULT_DECAY = {"adamw": 0.01}

# The factor after t steps since the warm-up.
SCHEDULE = {
    "constant": lambda t, own: 1.0,
    "step": lambda t, own: own["decay_rate"] ** (t // own["decay_steps"]),
    "exponential": lambda t, own: own["decay_rate"] ** (t / own["decay_steps"]),
    "cosine": lambda t, own: (
        own["final_factor"] + (1 - own["final_factor"]) * (1 + cos(pi * min(t / own["decay_steps"], 1))) / 2
    ),
    "linear": lambda t, own: 1 + (own["final_factor"] - 1) * min(t / own["decay_steps"], 1),
    "inverse_time": lambda t, own: 1 / (1 + own["decay_rate"] * t / own["decay_steps"]),
}


def factor(schedule, t, own):
    """Give the factor on the learning rate at step t, which counts from 0."""
    warmup = own.get("warmup_steps", 0)
    return (t + 1) / warmup if t < warmup else SCHEDULE[schedule](t - warmup, own)


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


def forward(parameters, activations, x, scales, own):
    """Give the lists of z and of a, an array (n_samples, n_units) for each layer."""
    zs, outputs = [], []
    for (W, b), activation, scale in zip(parameters, activations, scales, strict=True):
        zs.append(float(scale) * ((outputs[-1] if outputs else x) @ W) + b)
        outputs.append(VALUE[activation](zs[-1], own))
    return zs, outputs


def backward(parameters, activations, loss, x, y, zs, outputs, scales, own):
    """Give the list of delta = dLoss/dz and the list of (dLoss/dW, dLoss/db), for each layer."""
    last = len(parameters) - 1
    deltas, gradients = [None] * (last + 1), [None] * (last + 1)
    for layer in range(last, -1, -1):
        z, a = zs[layer], outputs[layer]
        if layer == last and loss in LOSS_SLOPE_BY_Z:
            deltas[layer] = LOSS_SLOPE_BY_Z[loss](z, y)
        else:
            if layer == last:
                dl_da = LOSS_SLOPE[loss](a, y, own)
            else:
                dl_da = float(scales[layer + 1]) * (deltas[layer + 1] @ parameters[layer + 1][0].T)
            if activations[layer] == "softmax":
                jacobian = a[:, :, None] * (np.eye(a.shape[1]) - a[:, None, :])
                deltas[layer] = np.einsum("nj,njk->nk", dl_da, jacobian)
            else:
                deltas[layer] = dl_da * SLOPE[activations[layer]](z, own)
        below = outputs[layer - 1] if layer else x
        gradients[layer] = float(scales[layer]) * (below.T @ deltas[layer]), deltas[layer].sum(axis=0)
    return deltas, gradients


def loss_of(layers, activations, loss, bias, x, y, w, scales=None, own=OWN):
    """Give the loss of flat parameters."""
    scales = np.ones(len(activations)) if scales is None else scales
    zs, outputs = forward(split(layers, bias, w), activations, x, scales, own)
    return LOSS[loss](zs[-1], outputs[-1], y, own)


def train(
    layers,
    activations,
    loss,
    bias,
    x,
    y,
    w,
    learning_rates,
    steps,
    target,
    scales=None,
    optimizer="sgd",
    schedule="constant",
    own=OWN,
    batches=None,
    validation=None,
    frozen=(),
    stops=(),
    validate_every=1,
    rounding=0.0,
):
    """Train one run; give everything.

    batches: for each step the samples it takes; all where it is None. validation: x and y. frozen: names such as
    W1. stops: out of "target", "divergence", "patience" (with ``own["patience"]`` and ``own["min_delta"]``).
    rounding: by which share of the first one each gradient is made wrong, up or down, to see what becomes of it.

    Gives w: (steps + 1, n_parameters), g: (steps, n_parameters), z and a: (steps + 1, n_samples, n_units),
    delta: (steps, n_samples, n_units) (of full batches), losses of all samples: (steps + 1,), metrics: numbers;
    all of the steps that were done.
    """
    x, y, w = (np.asarray(values, np.float64) for values in (x, y, w))
    own = OWN | own
    n_layers, n_units = len(layers) - 1, sum(layers[1:])
    parameters, scales = split(layers, bias, w), np.ones(n_layers) if scales is None else scales
    moving = np.array(
        [
            float(f"{name}{layer + 1}" not in frozen)
            for layer, (n_in, n_out) in enumerate(pairwise(layers))
            for name, size in (("W", n_in * n_out), ("b", n_out * bias))
            for _ in range(size)
        ]
    )
    rates = np.concatenate(
        [
            np.full((n_in + bias) * n_out, float(rate))
            for (n_in, n_out), rate in zip(pairwise(layers), learning_rates, strict=True)
        ]
    )
    m, v, random = np.zeros(len(w)), np.zeros(len(w)), np.random.default_rng(0)
    decay = own.get("weight_decay", DEFAULT_DECAY.get(optimizer, 0.0))
    losses, batch_losses, weights, gs, zs_, as_, deltas_, norms = [], [], [], [], [], [], [], []
    best, waited, done = np.inf, 0, steps
    with np.errstate(all="ignore"):
        for step in range(steps + 1):
            parameters = split(layers, bias, w)
            zs, outputs = forward(parameters, activations, x, scales, own)
            losses.append(LOSS[loss](zs[-1], outputs[-1], y, own))
            weights.append(w)
            zs_.append(np.hstack(zs))
            as_.append(np.hstack(outputs))
            if step == steps:
                if batches is None:
                    batch_losses.append(losses[-1])
                break
            chosen = np.arange(len(x)) if batches is None else batches[step]
            zs, outputs = forward(parameters, activations, x[chosen], scales, own)
            batch_losses.append(LOSS[loss](zs[-1], outputs[-1], y[chosen], own))
            if "patience" in stops and step % validate_every == 0:
                found = loss_of(layers, activations, loss, bias, *validation, w, scales, own)
                better = found < best - own["min_delta"]
                best, waited = (found, 0) if better else (best, waited + 1)
            if (
                ("target" in stops and batch_losses[-1] <= target)
                or ("divergence" in stops and not np.isfinite(batch_losses[-1]))
                or ("patience" in stops and waited >= own["patience"])
            ):
                done = step
                break
            deltas, gradients = backward(
                parameters, activations, loss, x[chosen], y[chosen], zs, outputs, scales, own
            )
            g = flatten(bias, gradients)
            gs.append(g)
            deltas_.append(np.hstack(deltas))
            # What cancels in a gradient was as large as all of the first one.
            g = g + rounding * np.abs(gs[0]).max() * random.choice([-1.0, 1.0], len(g))
            g = g * moving
            norms.append(np.sqrt(np.sum(g * g)))
            if "clip_norm" in own:
                g = g * min(1.0, own["clip_norm"] / (norms[-1] + 1e-6))
            rate = rates * factor(schedule, step, own)
            if optimizer in DECOUPLED:
                w = w - rate * decay * w * moving
            else:
                g = g + decay * w * moving
            moved, m, v = UPDATE[optimizer](w, g, m, v, rate, step + 1, own)
            w = np.where(moving > 0, moved, w)
        n_samples, n_parameters = len(x), len(w)
        measured = measure(losses, batch_losses, done, weights[-1], norms[-1] if norms else 0.0, target)
        final = split(layers, bias, w)
        scored = n_samples > 1 or loss in ("cross_entropy", "binary_cross_entropy", "hinge")
        if scored:
            measured["score"] = score_of(loss, forward(final, activations, x, scales, own)[1][-1], y)
        if validation is not None:
            measured["validation_loss"] = loss_of(
                layers, activations, loss, bias, *validation, w, scales, own
            )
            if scored:
                outputs = forward(final, activations, validation[0], scales, own)[1]
                measured["validation_score"] = score_of(loss, outputs[-1], np.asarray(validation[1], float))
        return SimpleNamespace(
            losses=np.array(losses),
            w=np.array(weights),
            g=np.array(gs).reshape(done, n_parameters),
            z=np.array(zs_),
            a=np.array(as_),
            delta=np.array(deltas_).reshape(done, n_samples, n_units) if batches is None else None,
            steps=done,
            metrics=measured,
            tail_ratio=ratios(losses[0], batch_losses[:done])[-20:].mean() if done else np.nan,
        )


def ratios(first, losses):
    """Give loss / first loss before each update, cut at 1e6, which a non-finite one counts as."""
    v = np.array(losses) / first
    v[~np.isfinite(v)] = 1e6
    return np.minimum(v, 1e6)


def measure(losses, batch_losses, done, w, gradient_norm, target):
    """Give the metrics of a run with these losses, final weights and last gradient; -1 is a step never met."""
    seen = np.array(batch_losses)
    before = seen[:done]
    v = ratios(losses[0], before)
    converged, diverged = np.flatnonzero(seen <= target), np.flatnonzero(~np.isfinite(seen))
    return {
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "loss_min": np.nanmin(seen) if len(seen) and not np.isnan(seen).all() else np.inf,
        "loss_tail": before[-20:].mean() if len(before) else np.nan,
        "convergence": np.nan if not len(v) else -v.sum() if v[-20:].mean() < 1 else (1 / v).sum(),
        "step_converged": converged[0] if len(converged) else -1,
        "step_diverged": diverged[0] if len(diverged) else -1,
        "gradient_norm": gradient_norm,
        "weight_norm": np.sqrt(np.sum(w * w)),
    }

"""JAX: ``jit(vmap(scan))``, chunk after chunk of runs."""

from collections.abc import Callable, Iterable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload

ACTIVATIONS: dict[str, Callable] = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "identity": lambda z: z}


def version() -> str:
    """Name the library and its version."""
    return f"JAX {jax.__version__}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return "keeps no numbers of each step here" if workload.records else ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give chunks of runs."""
    return [Setting(chunk) for chunk in (64, 256, 1024, 8192, 65536) if chunk <= workload.n_runs]


def loss_of(workload: Workload) -> Callable:
    """Give ``loss(parameters, x, y)`` of one run."""

    def loss(parameters, x, y):
        *hidden, last = zip(parameters, workload.scales, workload.activations, strict=True)
        a = x
        for layer, scale, activation in hidden:
            a = ACTIVATIONS[activation](net(a, layer, scale))
        layer, scale, activation = last
        z = net(a, layer, scale)
        if workload.loss == "cross_entropy":
            return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(z), axis=-1))
        return jnp.mean((ACTIVATIONS[activation](z) - y) ** 2)

    return loss


def net(a, layer, scale):
    """Z = scale a @ W + b."""
    W, b = layer
    z = a @ (W if scale == 1 else scale * W)
    return z if b is None else z + b


def sgd(w, g, state, rate, t):
    """W - rate g."""
    return w - rate * g, state


def adam(w, g, state, rate, t):
    """Kingma and Ba 2015, algorithm 1."""
    m, v = state
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    correction_1, correction_2 = 1 - 0.9**t, 1 - 0.999**t
    return w - rate * (m / correction_1) / (jnp.sqrt(v / correction_2) + 1e-8), (m, v)


OPTIMIZERS: dict[str, tuple[Callable, int]] = {"sgd": (sgd, 0), "adam": (adam, 2)}


@lru_cache
def program(workload: Workload) -> Callable:
    """Give ``train(parameters, rates)`` of many runs, which gives the trained parameters and their losses."""
    loss, (update, n_states) = loss_of(workload), OPTIMIZERS[workload.optimizer]
    x, y = (jnp.asarray(values) for values in workload.samples())
    if workload.n_samples == 1:
        x, y = x[0], y[0]
    batches = jnp.asarray(workload.batches()) if workload.batch_size else None
    times = jnp.arange(1, workload.steps + 1, dtype=workload.dtype)

    def train_one(parameters, rates):
        layers_rates = [(rate, rate if workload.bias else None) for rate in rates]

        def step(carry, now):
            (parameters, state), (t, batch) = carry, now
            here = (x, y) if batch is None else (x[batch], y[batch])
            g = jax.grad(loss)(parameters, *here)
            w, treedef = jax.tree.flatten(parameters)
            moved = [
                update(*each, t)
                for each in zip(w, jax.tree.leaves(g), state, jax.tree.leaves(layers_rates), strict=True)
            ]
            return (treedef.unflatten([w for w, _ in moved]), [state for _, state in moved]), None

        state = [(jnp.zeros_like(w),) * n_states for w in jax.tree.leaves(parameters)]
        (trained, _), _ = lax.scan(step, (parameters, state), (times, batches))
        return trained, loss(trained, x, y)

    return jax.jit(jax.vmap(train_one))


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have the chunks ready in JAX's memory."""
    jax.config.update("jax_enable_x64", workload.dtype == "float64")
    train_many, found = program(workload), list[tuple]()
    parameters = workload.tensors(workload.weights(n_runs))
    rates = list(workload.learning_rates(n_runs).T)
    chunks = [
        jax.tree.map(
            lambda values, first=first: jnp.asarray(values[first : first + setting.chunk]),
            (parameters, rates),
        )
        for first in range(0, n_runs, setting.chunk)
    ]

    def train() -> None:
        found[:] = [train_many(*chunk) for chunk in chunks]
        jax.block_until_ready(found)

    return Trainer(train, lambda: np.concatenate([np.asarray(losses) for _, losses in found]), found.clear)

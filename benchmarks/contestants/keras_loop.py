"""Keras, on JAX: the notebook's loop over runs and steps, compiled gradients and updates, every number taken.

Of the workloads it takes the one that asks for these numbers.
"""

import os
from collections.abc import Iterable

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload


def version() -> str:
    """Name the library and its version."""
    return f"Keras {keras.__version__} ({keras.backend.backend()})"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return "" if workload.records else "trains one network at a time: for the notebook alone"


def settings(workload: Workload) -> Iterable[Setting]:
    """Give one setting: one run after the other."""
    yield Setting(workload.n_runs)


def model_of(workload: Workload) -> keras.Model:
    """Give the network."""
    layers = zip(workload.layers[1:], workload.activations, strict=True)
    return keras.Sequential(
        [
            keras.layers.Input((workload.layers[0],)),
            *(
                keras.layers.Dense(n, activation=activation, use_bias=workload.bias)
                for n, activation in layers
            ),
        ]
    )


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have the model compiled and the weights of each run in memory."""
    x, y = workload.samples()
    model = model_of(workload)
    tensors = workload.tensors(workload.weights(n_runs))
    starts = [[part[run] for layer in tensors for part in layer if part is not None] for run in range(n_runs)]
    rates = workload.learning_rates(n_runs)[:, 0]
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)

    def loss(weights, others):
        outputs, _ = model.stateless_call(weights, others, x)
        return keras.losses.mean_squared_error(y, outputs).mean()

    @jax.jit
    def step(weights, others, state):
        value, gradients = jax.value_and_grad(loss)(weights, others)
        return value, gradients, *optimizer.stateless_apply(state, gradients, weights)

    loss_of = jax.jit(loss)

    def loss_of_run(start, rate):
        others = [variable.value for variable in model.non_trainable_variables]
        optimizer.learning_rate = rate
        weights, state, numbers = start, [variable.value for variable in optimizer.variables], []
        for _ in range(workload.steps):
            _, gradients, after, state = step(weights, others, state)
            numbers.append(jax.device_get((weights, gradients)))
            weights = after
        return float(loss_of(weights, others))

    found = list[float]()

    def train() -> None:
        found[:] = map(loss_of_run, starts, rates)

    return Trainer(train, lambda: np.array(found))

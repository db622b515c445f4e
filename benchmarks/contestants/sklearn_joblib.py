"""scikit-learn: an `MLPClassifier` a run, runs side by side in joblib's processes.

It has softmax with cross-entropy, and for regressions an identity with biases and one learning rate; so of the
workloads it can express the classification alone.
"""

import warnings
from collections.abc import Iterable

import numpy as np
import sklearn
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload
from fastbp.kernels.cpu import n_threads

ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "identity": "identity"}


def version() -> str:
    """Name the library and its version."""
    return f"scikit-learn {sklearn.__version__}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    if workload.records:
        return "keeps no numbers of each step"
    if workload.scale or workload.layer_rates or not workload.bias:
        return "has no multipliers, no learning rate a layer, no layers without biases"
    if workload.loss != "cross_entropy":
        return f"has no {workload.activations[-1]} outputs with {workload.loss}"
    return ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give one setting: some runs for each process."""
    yield Setting(4 * n_threads())


class Given(np.random.RandomState):
    """Random numbers that are given: initial weights, and the order of the samples in each epoch."""

    def __init__(self, tensors, epochs):
        super().__init__()
        self.tensors, self.epochs = iter(tensors), iter(epochs)
        self.order = np.arange(epochs.shape[1])

    def uniform(self, low, high, size):
        """Give the next tensor of weights."""
        return next(self.tensors).reshape(size)

    def shuffle(self, indices):
        """Give the places, in the last epoch's order, of the samples of this epoch."""
        order = next(self.epochs)
        indices[:] = np.argsort(self.order)[order]
        self.order = order


def train_one(workload: Workload, x, classes, tensors, rate, epochs) -> float:
    """Train one run and give its loss."""
    estimator = MLPClassifier(
        workload.layers[1:-1],
        activation=ACTIVATIONS[workload.activations[0]],
        solver=workload.optimizer,
        momentum=0.0,
        alpha=0.0,
        batch_size=workload.batch_size or workload.n_samples,
        learning_rate_init=rate,
        max_iter=len(epochs),
        n_iter_no_change=len(epochs),
        random_state=Given(tensors, epochs),
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        estimator.fit(x, classes)
    return log_loss(classes, estimator.predict_proba(x))


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have the runs' numbers and joblib's processes ready."""
    x, y = workload.samples()
    epochs = workload.batches().reshape(-1, workload.n_samples)
    tensors = workload.tensors(workload.weights(n_runs))
    rates, parallel, found = (
        workload.learning_rates(n_runs)[:, 0].tolist(),
        Parallel(n_jobs=-1),
        list[float](),
    )
    jobs = [
        delayed(train_one)(
            workload, x, y.argmax(axis=1), [part[run] for layer in tensors for part in layer], rate, epochs
        )
        for run, rate in enumerate(rates)
    ]

    def train() -> None:
        found[:] = parallel(jobs)

    return Trainer(train, lambda: np.array(found))

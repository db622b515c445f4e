"""NumPy: stacks of matrices, a run each, the backward pass by hand; chunks of runs side by side on threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload
from fastbp.kernels.cpu import n_threads

POOL = ThreadPoolExecutor(n_threads())


def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def softmax(z):
    """Exp(z) / sum of exp(z) over the layer."""
    a = np.exp(z - z.max(axis=-1, keepdims=True))
    return a / a.sum(axis=-1, keepdims=True)


# The activation, and its slope from what it gives.
ACTIVATIONS: dict[str, tuple[Callable, Callable | None]] = {
    "sigmoid": (sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "identity": (lambda z: z, None),
    "softmax": (softmax, None),  # the slope is in that of cross-entropy
}


def version() -> str:
    """Name the library and its version."""
    return f"NumPy {np.__version__}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return "keeps no numbers of each step here" if workload.records else ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give chunks of runs."""
    chunks = (16, 64, 256, 1024, 8192)
    return [Setting(chunk, n_threads()) for chunk in chunks if chunk * n_threads() <= workload.n_runs]


def forward(workload: Workload, parameters, x) -> list[np.ndarray]:
    """Give the outputs of all layers, (n_runs, n_samples, n_units), the inputs first."""
    outputs = [x]
    for (W, b), scale, activation in zip(parameters, workload.scales, workload.activations, strict=True):
        z = outputs[-1] @ (W if scale == 1 else scale * W)
        if b is not None:
            z += b
        outputs.append(ACTIVATIONS[activation][0](z))
    return outputs


def gradients(workload: Workload, parameters, x, y) -> list[tuple[np.ndarray, ...]]:
    """Give the gradients of W and b of each layer."""
    *outputs, last = forward(workload, parameters, x)
    # Of cross-entropy this is the slope by z, of the squared error by a.
    delta = (last - y) / len(x) if workload.loss == "cross_entropy" else 2 * (last - y) / y.size
    found: list[tuple[np.ndarray, ...]] = []
    for layer in reversed(range(len(parameters))):
        (W, b), scale, slope = (
            parameters[layer],
            workload.scales[layer],
            ACTIVATIONS[workload.activations[layer]][1],
        )
        if slope is not None:
            delta = delta * slope(last)
        last = outputs[layer]
        W_gradient = np.swapaxes(last, -1, -2) @ delta
        if scale != 1:
            W_gradient *= scale
        found.insert(0, (W_gradient,) if b is None else (W_gradient, delta.sum(axis=1, keepdims=True)))
        if layer:
            delta = delta @ np.swapaxes(W if scale == 1 else scale * W, -1, -2)
    return found


def losses_of(workload: Workload, parameters, x, y) -> np.ndarray:
    """Give the loss of each run."""
    a = forward(workload, parameters, x)[-1]
    if workload.loss == "cross_entropy":
        return -(y * np.log(a)).sum(axis=-1).mean(axis=-1)
    return ((a - y) ** 2).mean(axis=(-2, -1))


def sgd(w, g, rate, t, state) -> None:
    """W -= rate g."""
    g *= rate
    w -= g


def adam(w, g, rate, t, state) -> None:
    """Kingma and Ba 2015, algorithm 1."""
    m, v = state
    m *= 0.9
    m += 0.1 * g
    v *= 0.999
    v += 0.001 * (g * g)
    root = np.sqrt(v / (1 - 0.999**t))
    root += 1e-8
    w -= rate / (1 - 0.9**t) * m / root


OPTIMIZERS: dict[str, tuple[Callable, int]] = {"sgd": (sgd, 0), "adam": (adam, 2)}


def train_chunk(workload: Workload, x, y, parameters, rates) -> np.ndarray:
    """Train the runs of a chunk in place and give their losses."""
    update, n_states = OPTIMIZERS[workload.optimizer]
    trained = [
        (w, rate) for layer, rate in zip(parameters, rates, strict=True) for w in layer if w is not None
    ]
    states = [[np.zeros_like(w) for _ in range(n_states)] for w, _ in trained]
    for t, batch in enumerate(workload.batches(), 1):
        here = (x[batch], y[batch]) if workload.batch_size else (x, y)
        g = [g for layer in gradients(workload, parameters, *here) for g in layer]
        for (w, rate), g_of_w, state in zip(trained, g, states, strict=True):
            update(w, g_of_w, rate, t, state)
    return losses_of(workload, parameters, x, y)


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have the chunks ready."""
    x, y = workload.samples()
    weights, rates = workload.weights(n_runs), workload.learning_rates(n_runs)[:, :, None, None]
    found = list[np.ndarray]()

    def train_from(first: int) -> np.ndarray:
        runs = slice(first, first + setting.chunk)
        parameters = [
            (W.copy(), None if b is None else b[:, None].copy()) for W, b in workload.tensors(weights[runs])
        ]
        return train_chunk(workload, x, y, parameters, rates[runs].swapaxes(0, 1))

    def train() -> None:
        found[:] = POOL.map(train_from, range(0, n_runs, setting.chunk))

    return Trainer(train, lambda: np.concatenate(found))

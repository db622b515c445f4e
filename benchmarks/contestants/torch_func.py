"""PyTorch: ``torch.compile`` of a step with ``vmap(grad)``, or batched products by hand; chunks on threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
import torch._dynamo
from torch.func import grad, vmap

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload
from fastbp.kernels.cpu import n_threads

# A program a workload and chunk, all from the source of one function.
torch._dynamo.config.recompile_limit = 256
# For chunks side by side, each on one thread.
POOL = ThreadPoolExecutor(n_threads(), initializer=torch.set_num_threads, initargs=(1,))

ACTIVATIONS: dict[str, Callable] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda z: z}
SLOPES: dict[str, Callable] = {  # from what the activation gives; that of softmax is in cross-entropy's
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a * a,
    "identity": lambda a: 1,
    "softmax": lambda a: 1,
}


def version() -> str:
    """Name the library and its version."""
    return f"PyTorch {torch.__version__}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return "keeps no numbers of each step here" if workload.records else ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give chunks of runs: compiled on all threads, by hand side by side."""
    compiled, by_hand = FORMS
    settings = [
        *(Setting(chunk, 1, compiled) for chunk in (64, 256, 2048, 16384)),
        *(Setting(chunk, n_threads(), by_hand) for chunk in (16, 64, 256)),
    ]
    return [setting for setting in settings if setting.runs <= workload.n_runs]


def net(a, W, b, scale):
    """Z = scale a @ W + b."""
    z = a @ (W if scale == 1 else scale * W)
    return z if b is None else z + b


def loss_of(workload: Workload) -> Callable:
    """Give ``loss(parameters, x, y)`` of one run."""

    def loss(parameters, x, y):
        a, n_tensors = x, 1 + workload.bias
        for layer, (scale, activation) in enumerate(zip(workload.scales, workload.activations, strict=True)):
            W, *b = parameters[layer * n_tensors : (layer + 1) * n_tensors]
            z = net(a, W, b[0] if b else None, scale)
            if activation == "softmax":
                return -(y * torch.log_softmax(z, -1)).sum(-1).mean()
            a = ACTIVATIONS[activation](z)
        return ((a - y) ** 2).mean()

    return loss


def sgd(w, g, state, rate, t):
    """W - rate g."""
    return w - rate * g, state


def adam(w, g, state, rate, t):
    """Kingma and Ba 2015, algorithm 1."""
    m, v = state
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    correction_1, correction_2 = 1 - 0.9**t, 1 - 0.999**t
    return w - rate * (m / correction_1) / (torch.sqrt(v / correction_2) + 1e-8), (m, v)


OPTIMIZERS: dict[str, tuple[Callable, int]] = {"sgd": (sgd, 0), "adam": (adam, 2)}


def automatic(workload: Workload) -> Callable:
    """Give ``gradients(parameters, x, y)`` of many runs, by ``vmap(grad)``."""
    return vmap(grad(loss_of(workload)), in_dims=(0, None, None))


def by_hand(workload: Workload) -> Callable:
    """Give ``gradients(parameters, x, y)`` of many runs, as batched products of matrices."""
    n_tensors = 1 + workload.bias

    def gradients(parameters, x, y):
        weights = [
            W if scale == 1 else scale * W
            for W, scale in zip(parameters[::n_tensors], workload.scales, strict=True)
        ]
        a = [x.expand(len(weights[0]), *x.shape)]
        for layer, (W, activation) in enumerate(zip(weights, workload.activations, strict=True)):
            b = parameters[layer * n_tensors + 1][:, None] if workload.bias else None
            z = torch.bmm(a[-1], W) if b is None else torch.baddbmm(b, a[-1], W)
            a.append(torch.softmax(z, -1) if activation == "softmax" else ACTIVATIONS[activation](z))
        error = a[-1] - y
        delta = error / len(x) if workload.loss == "cross_entropy" else error * (2 / y.numel())
        found: list = []
        for layer in reversed(range(len(weights))):
            delta = delta * SLOPES[workload.activations[layer]](a[layer + 1])
            g = torch.bmm(a[layer].mT, delta)
            biases = [delta.sum(1)] if workload.bias else []
            found = [g if workload.scales[layer] == 1 else workload.scales[layer] * g, *biases, *found]
            if layer:
                delta = torch.bmm(delta, weights[layer].mT)
        return found

    return gradients


FORMS: dict[str, tuple[Callable, Callable]] = {
    "vmap(grad), compiled": (automatic, lambda program: torch.compile(program, dynamic=False)),
    "by hand": (by_hand, lambda program: program),
}


@lru_cache
def program(workload: Workload, form: str) -> tuple[Callable, Callable]:
    """Give ``step(parameters, states, rates, x, y, batch, t)`` of many runs, and their losses."""
    (gradients_of, compiled), update = FORMS[form], OPTIMIZERS[workload.optimizer][0]
    gradients = gradients_of(workload)

    def step(parameters, states, rates, x, y, batch, t):
        here = (x, y) if batch is None else (x[batch], y[batch])
        g = gradients(parameters, *here)
        moved = [update(*each, t) for each in zip(parameters, g, states, rates, strict=True)]
        return [w for w, _ in moved], [state for _, state in moved]

    return compiled(step), compiled(vmap(loss_of(workload), in_dims=(0, None, None)))


@torch.no_grad()
def train_chunk(workload: Workload, form: str, parameters, rates, x, y, batches):
    """Give the losses of the runs of a chunk after all steps."""
    step, losses = program(workload, form)
    states = [
        tuple(torch.zeros_like(w) for _ in range(OPTIMIZERS[workload.optimizer][1])) for w in parameters
    ]
    for t in range(workload.steps):
        batch = None if batches is None else batches[t]
        parameters, states = step(parameters, states, rates, x, y, batch, torch.tensor(t + 1.0))
    return losses(parameters, x, y)


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have the chunks ready as tensors."""
    x, y = (torch.from_numpy(values) for values in workload.samples())
    batches = torch.from_numpy(workload.batches().copy()) if workload.batch_size else None
    flat, rates = (
        torch.from_numpy(values) for values in (workload.weights(n_runs), workload.learning_rates(n_runs))
    )
    parameters, rates_of = [], []
    for layer, tensors in enumerate(workload.tensors(flat)):
        for w in tensors:
            if w is not None:
                parameters.append(w.contiguous())
                rates_of.append(rates[:, layer].reshape(-1, *[1] * (w.ndim - 1)).contiguous())
    chunks = [
        (
            [w[first : first + setting.chunk] for w in parameters],
            [r[first : first + setting.chunk] for r in rates_of],
        )
        for first in range(0, n_runs, setting.chunk)
    ]
    found = list[torch.Tensor]()

    def train() -> None:
        mapped = map if setting.side_by_side == 1 else POOL.map
        found[:] = mapped(lambda chunk: train_chunk(workload, setting.form, *chunk, x, y, batches), chunks)

    return Trainer(train, lambda: torch.cat(found).numpy(), found.clear)

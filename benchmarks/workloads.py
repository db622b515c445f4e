"""What is trained in the comparison: an entry of ``WORKLOADS`` each; what is random is drawn from a seed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from fastbp.bench import multiply_adds
from fastbp.datasets import DATASETS
from fastbp.kernels.orders import Orders
from fastbp.kernels.structure import Structure

Arrays = tuple[np.ndarray, np.ndarray]
SEED = 0


@dataclass(frozen=True)
class Workload:
    """Very many runs of one network, each from weights and with learning rates of its own.

    Attributes
    ----------
    name, summary : str
    layers, activations : tuple
        Units of the inputs and of each layer; the activation of each layer.
    data : callable
        Gives x, (n_samples, n_inputs), and y, (n_samples, n_outputs).
    n_samples, n_runs, steps : int
    rates : (low, high)
        Between which the learning rates are drawn, evenly on a logarithmic scale.
    layer_rates : bool
        Whether each layer has a rate of its own.
    scale : tuple of float
        The multiplier on a @ W of each layer; W is then N(0, 1), else N(0, 1 / n_in).
    batch_size : int
        Samples of a step; 0 for all.
    records : bool
        Whether every weight and gradient of every step is asked for.
    jax_ratio, share : float or None
        How many times as fast as JAX fastbp should be, and the share of the machine's peak that it should reach.
    """

    name: str
    summary: str
    layers: tuple[int, ...]
    activations: tuple[str, ...]
    dtype: str
    data: Callable[[], Arrays]
    n_samples: int
    n_runs: int
    steps: int
    rates: tuple[float, float] = (0.1, 2.0)
    layer_rates: bool = False
    scale: tuple[float, ...] = ()
    bias: bool = True
    loss: str = "mse"
    optimizer: str = "sgd"
    batch_size: int = 0
    records: bool = False
    jax_ratio: float | None = None
    share: float | None = None

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(n_in, n_out) of each layer."""
        return list(itertools.pairwise(self.layers))

    @property
    def scales(self) -> tuple[float, ...]:
        """The multiplier of each layer, 1 where nothing is said."""
        return self.scale or (1.0,) * len(self.activations)

    @property
    def structure(self) -> Structure:
        """The same in fastbp's terms."""
        return Structure(
            layers=self.layers,
            bias=self.bias,
            activations=self.activations,
            loss=self.loss,
            optimizer=self.optimizer,
            steps=self.steps,
            dtype=self.dtype,
            n_samples=self.n_samples,
            batch_size=self.batch_size,
            batch_seed=SEED,
        )

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the layers in one step of one run."""
        return multiply_adds(self.structure)

    def samples(self) -> Arrays:
        """Give x and y in the dtype of the workload."""
        x, y = self.data()
        return x.astype(self.dtype), y.astype(self.dtype)

    def weights(self, n_runs: int) -> np.ndarray:
        """Draw the parameters of the first runs, (n_runs, n_parameters): W1 by rows, b1, W2 …; biases are 0."""
        deviations = np.concatenate(list(self._deviations()))
        drawn = np.random.default_rng(SEED).standard_normal((n_runs, len(deviations)))
        return (drawn * deviations).astype(self.dtype)

    def _deviations(self) -> Iterator[np.ndarray]:
        for n_in, n_out in self.shapes:
            yield np.full(n_in * n_out, 1.0 if self.scale else 1 / sqrt(n_in))
            yield np.zeros(n_out * self.bias)

    def learning_rates(self, n_runs: int) -> np.ndarray:
        """Draw the learning rate of each layer of the first runs, (n_runs, n_layers)."""
        n_layers = len(self.activations)
        drawn = np.random.default_rng(SEED + 1).uniform(*np.log(self.rates), (n_runs, n_layers))
        return np.exp(drawn if self.layer_rates else np.repeat(drawn[:, :1], n_layers, axis=1)).astype(
            self.dtype
        )

    def tensors(self, flat: np.ndarray) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Split (n_runs, n_parameters) into W, (n_runs, n_in, n_out), and b, (n_runs, n_out) or None, by layer."""
        found, first = [], 0
        for n_in, n_out in self.shapes:
            W = flat[:, first : first + n_in * n_out].reshape(-1, n_in, n_out)
            first += n_in * n_out
            b = flat[:, first : first + n_out] if self.bias else None
            first += n_out * self.bias
            found.append((W, b))
        return found

    def orders(self) -> Orders | None:
        """Give the order in which the steps take the samples; None where each takes all."""
        if not self.batch_size:
            return None
        return Orders("shuffled", SEED, self.n_samples, self.batch_size, self.steps)

    def batches(self) -> np.ndarray:
        """Give the numbers of the samples of each step, (steps, batch_size)."""
        orders = self.orders()
        if orders is None:
            return np.broadcast_to(np.arange(self.n_samples), (self.steps, self.n_samples))
        return orders.at(0)[0][: self.steps * self.batch_size].reshape(self.steps, self.batch_size)


def drawn(n_samples: int, n_inputs: int, n_outputs: int, bounded: bool) -> Callable[[], Arrays]:
    """Give a data set of N(0, 1) inputs and targets; the targets are U(0, 1) where they are `bounded`."""

    def data() -> Arrays:
        generator = np.random.default_rng(SEED + 2)
        x = generator.standard_normal((n_samples, n_inputs))
        draw = generator.random if bounded else generator.standard_normal
        return x, draw((n_samples, n_outputs))

    return data


def notebook_sample() -> Arrays:
    """Give the one sample of the notebook's example."""
    return np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])


def digits(n_samples: int) -> Callable[[], Arrays]:
    """Give the first handwritten digits, inputs from 0 to 1, a column a class."""

    def data() -> Arrays:
        x, classes = DATASETS["digits"].make()
        return x[:n_samples] / 16, np.eye(10)[classes[:n_samples].astype(int)]

    return data


def smallest(name: str, dtype: str, asked: str = "", **options: Any) -> Workload:
    """Give the notebook's network and sample; `asked` says what is asked for beside the losses."""
    return Workload(
        name,
        f"2-2-2 sigmoid, 1 sample{asked}",
        layers=(2, 2, 2),
        activations=("sigmoid", "sigmoid"),
        dtype=dtype,
        data=notebook_sample,
        n_samples=1,
        **options,
    )


def fractal(name: str, width: int, n_samples: int, **options: Any) -> Workload:
    """Give the trainability fractal (arXiv 2402.06184): no biases, z = sqrt(2 / n) x W1, out = tanh(z) W2 / n."""
    return Workload(
        name,
        f"tanh fractal, width {width}, {n_samples} sample{'s'[: n_samples > 1]}",
        layers=(width, width, 1),
        activations=("tanh", "identity"),
        dtype="float64",
        data=drawn(n_samples, width, 1, bounded=False),
        n_samples=n_samples,
        layer_rates=True,
        scale=(sqrt(2 / width), 1 / width),
        bias=False,
        **options,
    )


def sigmoids(name: str, layers: tuple[int, ...], n_samples: int, **options: Any) -> Workload:
    """Give a network of sigmoids on drawn samples."""
    return Workload(
        name,
        f"{'-'.join(map(str, layers))} sigmoid, {n_samples} samples",
        layers=layers,
        activations=("sigmoid",) * (len(layers) - 1),
        dtype="float32",
        data=drawn(n_samples, layers[0], layers[-1], bounded=True),
        n_samples=n_samples,
        **options,
    )


def classifier(name: str, **options: Any) -> Workload:
    """Give a classifier of handwritten digits; an epoch is 56 batches of 32, all of them full."""
    return Workload(
        name,
        "digits 64-32-10, batches of 32, Adam",
        layers=(64, 32, 10),
        activations=("tanh", "softmax"),
        dtype="float32",
        data=digits(1792),
        n_samples=1792,
        rates=(3e-4, 3e-3),
        loss="cross_entropy",
        optimizer="adam",
        batch_size=32,
        **options,
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        smallest("2-2-2-f64", "float64", n_runs=2**20, steps=100, jax_ratio=5),
        smallest("2-2-2-f32", "float32", n_runs=2**20, steps=100, jax_ratio=9),
        # Rates so low that a loss is left after 500 steps.
        fractal("fractal-16-1", 16, 1, n_runs=2**15, steps=500, rates=(1e-3, 1e-2), jax_ratio=6),
        fractal("fractal-8-72", 8, 72, n_runs=2**14, steps=100, jax_ratio=4.5, share=0.45),
        fractal("fractal-16-272", 16, 272, n_runs=2**11, steps=100, jax_ratio=5, share=0.55),
        sigmoids("16-16-1", (16, 16, 1), 16, n_runs=2**16, steps=100, jax_ratio=5, share=0.60),
        sigmoids("8-16-16-4", (8, 16, 16, 4), 64, n_runs=2**13, steps=100, jax_ratio=8, share=0.60),
        classifier("digits", n_runs=256, steps=560, jax_ratio=4, share=0.45),
        # Every weight and gradient of every step is taken, as one who learns backpropagation does.
        smallest("notebook", "float32", ", 7 runs, all numbers", n_runs=7, steps=3, records=True),
    )
}
# How many times as fast as each contestant fastbp should be; as JAX, each workload says.
RATIOS = {"torch": 10.0, "numpy": 10.0, "sklearn": 20.0, "numba": 5.0}


def target(workload: Workload, contestant: str) -> float | None:
    """Give how many times as fast as a contestant fastbp should be; None where nothing is asked."""
    return workload.jax_ratio if contestant == "jax" else RATIOS.get(contestant)

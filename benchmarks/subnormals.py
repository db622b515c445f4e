"""Whether subnormal numbers slow runs that have converged: ``python -m benchmarks.subnormals``.

Each case trains a network until its numbers have decayed to subnormal ones, and the same network with numbers that
stay normal; then both train on in turns (A B A B …) on one processor, by the kernel for any network. Last the
multiply-add alone, in chains that stay in registers. The factor is that of the time of a step.
"""

import argparse
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import processor, spread
from fastbp.kernels import cpu
from fastbp.kernels.batch import aligned, make_batch
from fastbp.kernels.optimizers import N_COEFFICIENTS
from fastbp.kernels.peak import CHAINS, STEPS_A_CALL
from fastbp.kernels.structure import Structure, network_of

LAYERS, N_SAMPLES, N_BLOCKS = (4, 8, 4), 4, 8
DTYPES = ("float64", "float32")
SETTLING, MEASURED, ENDLESS = 10_000, 2_000, 1_000_000_000  # steps
MANY_CHAINS = 12


class Case(NamedTuple):
    """A way for numbers to become subnormal.

    Attributes
    ----------
    name : str
    activation, optimizer : str
    decays : bool
        Whether there is a weight decay.
    bias : mapping
        That of all units, by dtype.
    moment : float
        What each moment of the optimizer begins with.
    subnormal, normal : dict
        Hyperparameters of the runs that come to subnormal numbers, and of those that do not.
    normal_bias : float
        Of the latter, where it is another.
    """

    name: str
    activation: str
    optimizer: str
    decays: bool
    bias: Mapping[str, float]
    moment: float
    subnormal: dict[str, float]
    normal: dict[str, float]
    normal_bias: float | None = None


NONE = dict.fromkeys(DTYPES, 0.0)
DEAD = dict.fromkeys(DTYPES, -10.0)  # of rectifiers: no gradient comes through them
FAR = {"float64": -360.0, "float32": -47.0}  # of sigmoids: what two of them multiply to is subnormal
STILL = {"learning_rate": 0.0}
CASES = (
    Case(
        "weights decay",
        "identity",
        "sgd",
        True,
        NONE,
        0.0,
        {"learning_rate": 0.1, "weight_decay": 1.0},
        STILL | {"weight_decay": 1.0},
    ),
    Case("momentum decays", "relu", "momentum", False, DEAD, 1.0, STILL, STILL | {"momentum": 1.0}),
    Case("Adam's moment decays", "relu", "adam", False, DEAD, 1.0, STILL, STILL | {"beta_1": 0.999999}),
    Case("sigmoids saturate", "sigmoid", "sgd", False, FAR, 0.0, STILL, STILL, 0.0),
)


class Training:
    """Some blocks of runs that train on for as long as they are asked to."""

    def __init__(self, case: Case, dtype: str, hyper: Mapping[str, float], bias: float):
        activations = (case.activation,) * (len(LAYERS) - 1)
        structure = Structure(
            LAYERS, True, activations, "mse", case.optimizer, ENDLESS, dtype, N_SAMPLES, decays=case.decays
        )
        network, width = network_of(structure), cpu.width(dtype)
        random, n_runs = np.random.default_rng(0), N_BLOCKS * width
        w = random.normal(0, 0.1, (n_runs, structure.n_parameters)).astype(dtype)
        w[:, np.concatenate([np.full(n, name == "b") for name, n in structure.tensors()])] = bias
        row = [hyper.get(name, default) for name, _, default in structure.hyperparameters()]
        x, y = random.normal(size=(N_SAMPLES, LAYERS[0])), np.zeros((N_SAMPLES, LAYERS[-1]))
        self.batch = make_batch(network, ENDLESS, x, y, w, np.tile(row, (n_runs, 1)), width)
        self.arguments = cpu.arguments(self.batch)
        self.steps = 0
        self.steps_a_second(1)
        self.batch.state[:, N_COEFFICIENTS:] = case.moment

    def steps_a_second(self, steps: int) -> float:
        """Train on, one processor."""
        first, self.steps = self.steps, self.steps + steps
        order, _ = cpu.order_at(self.batch, first)
        began = time.process_time()
        cpu.compiled(*self.arguments, order, 0, N_BLOCKS, first, self.steps)
        return steps * self.batch.n_runs / (time.process_time() - began)

    def share(self) -> float:
        """Give the share of subnormal numbers among the weights, the moments, the gradients and the deltas."""
        run = self.arguments[2]
        moments = self.batch.state[:, N_COEFFICIENTS:]
        numbers = np.concatenate([part.ravel() for part in (self.batch.w, moments, run.g, run.delta)])
        return float(np.mean((numbers != 0) & (abs(numbers) < np.finfo(numbers.dtype).tiny)))


def trained(case: Case, dtype: str, turns: int) -> tuple[list[float], list[float], float, float]:
    """Give the steps a second of each turn, numbers normal and subnormal, and the shares of the subnormal ones."""
    bias = case.bias[dtype]
    normal = Training(case, dtype, case.normal, bias if case.normal_bias is None else case.normal_bias)
    subnormal = Training(case, dtype, case.subnormal, bias)
    for each in (normal, subnormal):
        each.steps_a_second(SETTLING)
    pairs = [(normal.steps_a_second(MEASURED), subnormal.steps_a_second(MEASURED)) for _ in range(turns)]
    return [a for a, _ in pairs], [b for _, b in pairs], normal.share(), subnormal.share()


def chains(dtype: str, start: float, x: float, y: float) -> float:
    """Give the seconds of some multiply-adds of numbers that stay `start`: ``start x + y`` is `start`."""
    values = aligned((1, MANY_CHAINS, cpu.width(dtype)), dtype)
    values[:] = start
    number = np.dtype(dtype).type
    began = time.process_time()
    CHAINS[MANY_CHAINS](values, STEPS_A_CALL, number(x), number(y))
    seconds = time.process_time() - began
    if not (values == number(start)).all():
        raise AssertionError("the numbers of the chains have moved")
    return seconds


def multiply_adds(dtype: str, turns: int) -> dict[str, list[float]]:
    """Give the factor of the time in each turn, by what is subnormal."""
    tiny = float(np.finfo(dtype).tiny) / 4
    kinds = {
        "a factor and the result": (tiny, 1.0, 0.0),
        "a factor": (1.0, tiny, 1.0),
        "the addend and the result": (tiny, 0.0, tiny),
    }
    chains(dtype, 1.0, 1.0, 0.0)  # compiles
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind, operands in kinds.items():
            found[kind].append(chains(dtype, *operands) / chains(dtype, 1.0, 1.0, 0.0))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    steps = Table(
        "case",
        "dtype",
        "normal, M steps/s",
        "subnormal, M steps/s",
        "factor",
        "share of subnormal numbers",
        title=f"{'-'.join(map(str, LAYERS))}, {N_SAMPLES} samples, one processor",
    )
    operations = Table("what is subnormal", *DTYPES, title="A multiply-add: factor of the time")
    for case in CASES:
        for dtype in DTYPES:
            normal, subnormal, before, after = trained(case, dtype, options.turns)
            steps.add_row(
                case.name,
                dtype,
                spread([rate / 1e6 for rate in normal]),
                spread([rate / 1e6 for rate in subnormal]),
                spread([a / b for a, b in zip(normal, subnormal, strict=True)], ".2f"),
                f"{before:.0%}, {after:.0%}",
            )
    columns = [multiply_adds(dtype, options.turns) for dtype in DTYPES]
    for kind in columns[0]:
        operations.add_row(kind, *(spread(column[kind], ".2f") for column in columns))
    console = Console(width=120)
    console.print(steps)
    console.print(operations)
    print(f"{processor()}; median (least to most) of {options.turns} turns")


if __name__ == "__main__":
    main()

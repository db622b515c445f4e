"""What bounds the comparison's workloads: ``python -m benchmarks.floor``.

The multiply-adds of the layers are not all that a step takes: each unit has its activation and its slope, each
parameter its update. The time of each is measured alone, where it is fastest: the multiply-adds in registers, the
others on rows that stay in the first-level cache, on all processors at once. Their sum is a floor under the time
of a step, and the part of the multiply-adds in it the largest share of the peak that is possible with these
functions. Last come the steps that fastbp does, in turns with the parts of the floor.
"""

import argparse
import math
import time
from collections.abc import Callable

import numba
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import Setting
from benchmarks.contestants.lanes import POOL, trainer
from benchmarks.measuring import processor, spread
from benchmarks.workers import timed
from benchmarks.workloads import WORKLOADS, Workload
from fastbp.kernels import cpu, optimizers
from fastbp.kernels.activations import ACTIVATIONS, activate, multiply_slope
from fastbp.kernels.batch import aligned
from fastbp.kernels.lanes import rows
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.peak import multiply_adds_a_second
from fastbp.kernels.subnormals import flush_subnormals, restore_subnormals

ROWS = 64  # of values and of parameters
TIMES = 2_000  # a call
PEAK_SECONDS = 0.3
PRODUCTS_A_TURN = 2e10  # multiply-adds, about, that fastbp does in a turn


@numba.njit(error_model="numpy", nogil=True)
def values(times, kind, slope, z, a, delta, hyper):
    """Do the activation of all values so many `times`, and multiply by their slope."""
    n, own, state = z.shape[1], rows(hyper, 0), flush_subnormals()
    for _ in range(times):
        activate(kind, (rows(z, 0), rows(a, 0), own, 0, n, n))
        multiply_slope(slope, (rows(z, 0), rows(a, 0), rows(delta, 0), own, 0, n, n))
    restore_subnormals(state)


@numba.njit(error_model="numpy", nogil=True)
def updates(times, kind, w, g, m, v, hyper, c):
    """Update all parameters so many `times`."""
    own, eta, state = rows(hyper, 0), rows(hyper, 0)[0], flush_subnormals()
    for _ in range(times):
        optimizers.update(
            kind, (rows(w, 0), rows(g, 0), rows(m, 0), rows(v, 0), eta, own, rows(c, 0), 0, w.shape[1])
        )
    restore_subnormals(state)


def block(dtype: str, n_rows: int = ROWS) -> np.ndarray:
    """Give a block of numbers about 1."""
    found = aligned((1, n_rows, cpu.width(dtype)), dtype)
    found[:] = np.random.default_rng(0).uniform(0.5, 1.5, found.shape)
    return found


def seconds_of_one(call: Callable, arguments: Callable[[], tuple], dtype: str) -> float:
    """Give the seconds that one number takes when all processors are at work."""
    given = [arguments() for _ in range(cpu.n_threads())]
    list(POOL.map(lambda each: call(*each), given))  # compiles
    began = time.perf_counter()
    list(POOL.map(lambda each: call(*each), given))
    return (time.perf_counter() - began) / (len(given) * TIMES * ROWS * cpu.width(dtype))


def of_a_value(name: str, slope: str, dtype: str) -> float:
    """Give the seconds of an activation and of the product with a slope."""
    kind, of_slope = (list(ACTIVATIONS).index(each) for each in (name, slope))

    def arguments():
        return TIMES, kind, of_slope, block(dtype), block(dtype), block(dtype), block(dtype, 4)

    return seconds_of_one(values, arguments, dtype)


def of_an_update(name: str, dtype: str) -> float:
    """Give the seconds of the update of a parameter."""

    def arguments():
        w, g, m, v = (block(dtype) for _ in range(4))
        kind = list(OPTIMIZERS).index(name)
        return TIMES, kind, w, 0 * g, m, v, block(dtype, 4), block(dtype, optimizers.N_COEFFICIENTS)

    return seconds_of_one(updates, arguments, dtype)


def parts(workload: Workload) -> dict[str, float]:
    """Give the seconds of each part of a step of one run, all processors at work."""
    dtype, structure = workload.dtype, workload.structure
    samples = structure.samples_a_step
    fused = workload.loss == "cross_entropy"  # the loss has multiplied by the slope of the last layer
    units = 0.0
    for layer, (n, name) in enumerate(zip(workload.layers[1:], workload.activations, strict=True)):
        last = layer == len(workload.activations) - 1
        units += n * of_a_value(name, "identity" if fused and last else name, dtype)
    return {
        "multiply-adds": workload.multiply_adds
        / multiply_adds_a_second(dtype, POOL, cpu.n_threads(), PEAK_SECONDS),
        "activations": samples * units,
        "update": structure.n_parameters * of_an_update(workload.optimizer, dtype),
    }


def runs_a_turn(workload: Workload) -> int:
    """Give whole blocks of runs."""
    wanted = PRODUCTS_A_TURN / (workload.multiply_adds * workload.steps)
    width = cpu.width(workload.dtype)
    return min(workload.n_runs, math.ceil(wanted / width) * width)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    table = Table(
        "workload",
        "dtype",
        "multiply-adds : activations : update",
        "largest share of peak",
        "share of peak",
        "floor / time",
    )
    for workload in WORKLOADS.values():
        if workload.records:
            continue
        n_runs = runs_a_turn(workload)
        mine = trainer(workload, n_runs, Setting(n_runs))
        timed(mine)
        parts(workload)  # compiles
        shares, possible, floors, split = [], [], [], []
        for _ in range(options.turns):
            found = parts(workload)
            step = timed(mine) / (n_runs * workload.steps)
            floor = sum(found.values())
            split.append([part / floor for part in found.values()])
            possible.append(found["multiply-adds"] / floor)
            shares.append(found["multiply-adds"] / step)
            floors.append(floor / step)
        table.add_row(
            workload.name,
            workload.dtype,
            " : ".join(f"{share:.0%}" for share in np.median(split, axis=0)),
            spread(possible, ".0%"),
            spread(shares, ".0%"),
            spread(floors, ".0%"),
        )
    Console(width=120).print(table)
    print(f"{processor()}; median (least to most) of {options.turns} turns")


if __name__ == "__main__":
    main()

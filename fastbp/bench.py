"""The throughput of a sweep on this machine: a sample of its runs is trained, nothing is written.

May import ``batches``, ``plan`` and ``kernels``.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from fastbp.batches import prepare
from fastbp.kernels import cpu, network
from fastbp.kernels.batch import Batch
from fastbp.kernels.orders import ORDERS
from fastbp.kernels.peak import multiply_adds_a_second
from fastbp.kernels.structure import Structure, network_of
from fastbp.plan import Group, Plan, Shard
from fastbp.sweep import Sweep

GROUPS = 5  # the largest are measured
SECONDS = 3.0
LEAST_SECONDS = 0.05  # of a measurement; a shorter one, if there is a longer, is left out


class Throughput(NamedTuple):
    """What was measured of the runs of a group.

    Attributes
    ----------
    structure : Structure
    n_runs : int
        Of the group, of which some were trained.
    steps_a_second : float
        Of all threads together; a run that stops early counts as if it went on.
    multiply_adds_a_second : float
        Of the layers alone.
    share_of_peak : float
        Of the multiply-adds that the machine does in this dtype.
    seconds : float
        That training all runs of the group would take.
    """

    structure: Structure
    n_runs: int
    steps_a_second: float
    multiply_adds_a_second: float
    share_of_peak: float
    seconds: float


class Bench(NamedTuple):
    """What was measured of a sweep.

    Attributes
    ----------
    name : str
    threads, n_runs, n_groups : int
    peak : dict of float
        Multiply-adds a second of each dtype.
    groups : list of Throughput
        The largest.
    seconds : float
        That training all runs would take; of the groups that were not measured by their multiply-adds.
    """

    name: str
    threads: int
    n_runs: int
    n_groups: int
    peak: dict[str, float]
    groups: list[Throughput]
    seconds: float


def multiply_adds(structure: Structure) -> float:
    """Give the multiply-adds of the layers in one step: forward, gradient, and delta but for the first layer."""
    replaces = structure.batch_size and ORDERS[structure.batch_order].replaces
    # The last batch of an epoch may be smaller.
    samples = structure.samples_a_step if replaces else structure.n_samples / structure.n_batches
    return network.multiply_adds(network_of(structure)) * samples


def bench(sweep: Sweep, threads: int | None = None, seconds: float = SECONDS) -> Bench:
    """Train some runs of the largest groups of a sweep and measure how fast that goes.

    Parameters
    ----------
    sweep : Sweep
    threads : int, optional
        Threads that train; all processors that this process may use where none is given.
    seconds : float
        That all is to take together, compiling not counted.

    Raises
    ------
    SweepError
        If the record of a block of runs is too large for memory.
    """
    plan = Plan(sweep)
    plan.refuse_too_large()
    threads = cpu.n_threads() if threads is None else threads
    largest = sorted(plan.groups, key=_work, reverse=True)[:GROUPS]
    dtypes = dict.fromkeys(group.structure.dtype for group in largest)
    each = seconds / (len(largest) + len(dtypes))
    with ThreadPoolExecutor(threads) as pool:
        peak = {dtype: multiply_adds_a_second(dtype, pool, threads, each) for dtype in dtypes}
        measured = [_measured(plan, group, pool, threads, each, peak) for group in largest]
    done = sum(map(_work, largest))
    whole = sum(found.seconds for found in measured) * (sum(map(_work, plan.groups)) / done if done else 1.0)
    return Bench(sweep.name, threads, plan.n_runs, len(plan.groups), peak, measured, whole)


def _work(group: Group) -> float:
    """Give the multiply-adds of all runs, and something for what else a step does."""
    structure = group.structure
    return group.n_runs * (structure.steps + 1) * (multiply_adds(structure) + structure.n_parameters)


def _measured(
    plan: Plan,
    group: Group,
    pool: ThreadPoolExecutor,
    threads: int,
    seconds: float,
    peak: dict[str, float],
) -> Throughput:
    structure = group.structure
    rates: list[tuple[float, float]] = []  # seconds of a measurement, runs a second
    end = time.perf_counter() + seconds
    for shard in _shards(plan, group):
        batch = prepare(plan, structure, plan.runs(shard), plan.data, pool, threads)
        rates.append(_runs_a_second(batch, group.n_runs, pool, threads, seconds))
        if time.perf_counter() >= end and rates[-1][1] > 0:
            break
    long = [rate for took, rate in rates if took >= LEAST_SECONDS]
    # The best: others use the machine too, and what is compiled beside the training comes with a delay.
    runs_a_second = max(long or [rate for _, rate in rates])
    steps_a_second = runs_a_second * structure.steps
    products = steps_a_second * multiply_adds(structure)
    return Throughput(
        structure,
        group.n_runs,
        steps_a_second,
        products,
        products / peak[structure.dtype],
        group.n_runs / runs_a_second,
    )


def _compile(batch: Batch, n_runs: int, pool: ThreadPoolExecutor, threads: int) -> None:
    """Have everything ready that trains a batch of a group of `n_runs`, and train nothing of it."""
    cancelled = threading.Event()
    cancelled.set()
    with suppress(CancelledError):
        cpu.train_batch(batch, pool, threads, cancelled, n_runs_in_all=n_runs)


def _shards(plan: Plan, group: Group) -> Iterator[Shard]:
    """Give the shards of a group, over and over."""
    size = plan.shard_runs(group)
    starts = range(0, group.n_runs, size)
    for start in itertools.cycle(starts):
        yield Shard(0, group, start, min(start + size, group.n_runs))


def _runs_a_second(
    batch: Batch, n_runs: int, pool: ThreadPoolExecutor, threads: int, seconds: float
) -> tuple[float, float]:
    """Train a batch of a group, or as much of it as there is time for; give seconds and runs a second."""
    _compile(batch, n_runs, pool, threads)
    cancel, done = threading.Event(), list[float]()
    began = time.perf_counter()
    alarm = threading.Timer(seconds, cancel.set)
    alarm.start()
    try:
        with suppress(CancelledError):
            cpu.train_batch(batch, pool, threads, cancel, done.append, n_runs)
    finally:
        alarm.cancel()
    took = time.perf_counter() - began
    return took, sum(done) / took


def as_values(found: Bench) -> dict[str, Any]:
    """Give a bench as JSON-ready values."""
    groups = [
        {**group.structure._asdict(), **{k: v for k, v in group._asdict().items() if k != "structure"}}
        for group in found.groups
    ]
    return found._asdict() | {"groups": groups}

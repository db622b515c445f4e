"""fastbp beside what one would take instead: ``python -m benchmarks.compare``.

Each contestant has a process of its own and is warm before the turns begin (A B C A B C …), in which one works at a
time, so that a change of the machine's speed meets all. What is timed goes from weights in memory to the final
weights and their losses in memory; compiling is not. All must compute the losses that fastbp computes. A contestant
too slow for all runs of a workload trains some of them; steps a second are what is compared.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS
from benchmarks.tables import Measured, table, write
from benchmarks.workers import Worker, WorkerError
from benchmarks.workloads import WORKLOADS, Workload

TURNS, SECONDS = 5, 0.7  # of a turn
QUICK_TURNS, QUICK_SECONDS = 2, 0.1
PEAK_SECONDS = 0.2
TOLERANCE = {"float64": 1e-8, "float32": 2e-3}  # of the losses


def prepared(worker: Worker, workload: Workload, seconds: float, expected: list[float]) -> Measured:
    """Have a contestant warm; `expected` are fastbp's losses, none if it is fastbp."""
    found = Measured(workload, worker.name)
    try:
        found.version = worker.ask("version")
        found.obstacle = worker.ask("obstacle", workload=workload.name)
        if not found.obstacle:
            ready = worker.ask("prepare", workload=workload.name, seconds=seconds)
            found.setting, found.n_runs = ready["setting"], ready["n_runs"]
            found.obstacle = difference(ready["losses"], expected, TOLERANCE[workload.dtype])
            expected += ready["losses"] if not expected else []
    except WorkerError as error:
        found.obstacle = str(error)
    return found


def difference(losses: Sequence[float], expected: Sequence[float], tolerance: float) -> str:
    """Say how far losses are from fastbp's; nothing where they are close."""
    got, wanted = np.array(losses), np.array(expected[: len(losses)] or losses)
    worst = np.abs(got / wanted - 1).max()
    return "" if worst <= tolerance else f"does not compute fastbp's losses: {worst:.1e} off"


def take_turns(
    workers: dict[str, Worker], ready: list[Measured], turns: int, peak_seconds: float
) -> None:
    """Measure all that are ready, one after the other, turn after turn."""
    for _ in range(turns):
        dtype = ready[0].workload.dtype
        peak = workers["peak"].ask("turn", dtype=dtype, seconds=peak_seconds)
        seconds = {}
        for measured in ready:
            try:
                seconds[measured.contestant] = workers[measured.contestant].ask("turn")
            except WorkerError as error:
                measured.obstacle = str(error)

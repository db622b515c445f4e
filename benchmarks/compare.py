"""fastbp beside what one would take instead: ``python -m benchmarks.compare``.

Each contestant has a process of its own and is warm before the turns begin (A B C A B C …), in which one works at
a time, so that a change of the machine's speed meets all. What is timed goes from weights in memory to the final
weights and their losses in memory, without compiling. All must compute the losses that fastbp computes. One that
is too slow for all runs of a workload trains some of them; steps a second are what is compared.
"""

import argparse
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


def take_turns(workers: dict[str, Worker], ready: list[Measured], turns: int) -> None:
    """Measure those that are ready, one after the other, turn after turn; one that fails is left out."""
    for _ in range(turns):
        going = [measured for measured in ready if not measured.obstacle]
        rates = {measured.contestant: rate(workers[measured.contestant], measured) for measured in going}
        if ready[0].obstacle:
            raise WorkerError(f"fastbp: {ready[0].obstacle}")
        peak = workers["peak"].ask("turn", dtype=ready[0].workload.dtype, seconds=PEAK_SECONDS)
        for measured in (measured for measured in going if not measured.obstacle):
            measured.rates.append(rates[measured.contestant])
            measured.own.append(rates["fastbp"])
            measured.peaks.append(peak)


def rate(worker: Worker, measured: Measured) -> float:
    """Give the steps a second of one turn; 0 with the obstacle noted where it fails."""
    try:
        return measured.n_runs * measured.workload.steps / worker.ask("turn")
    except WorkerError as error:
        measured.obstacle = str(error)
        return 0.0


def compare(workload: Workload, workers: dict[str, Worker], turns: int, seconds: float) -> list[Measured]:
    """Measure all contestants at one workload, fastbp first."""
    expected: list[float] = []
    found = [
        prepared(worker, workload, seconds, expected) for name, worker in workers.items() if name != "peak"
    ]
    if found[0].obstacle:
        raise WorkerError(f"fastbp: {found[0].obstacle}")
    take_turns(workers, [measured for measured in found if not measured.obstacle], turns)
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=WORKLOADS,
        default=list(WORKLOADS),
        metavar="WORKLOAD",
        help=f"of {', '.join(WORKLOADS)}",
    )
    others = [name for name in CONTESTANTS if name != "fastbp"]
    parser.add_argument(
        "--against", nargs="+", choices=others, default=others, metavar="NAME", help=f"of {', '.join(others)}"
    )
    parser.add_argument("--turns", type=int, help=f"{TURNS} if not given")
    parser.add_argument("--quick", action="store_true", help="few runs and turns, for a look")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results", help="the folder of the tables"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print and write the tables."""
    options = arguments()
    turns = options.turns or (QUICK_TURNS if options.quick else TURNS)
    seconds = QUICK_SECONDS if options.quick else SECONDS
    console, described, rows = Console(width=100), machine.described(), list[Measured]()
    for name, value in described.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    workers = {name: Worker(name) for name in ("fastbp", *options.against, "peak")}
    try:
        for name in options.only:
            found = compare(WORKLOADS[name], workers, turns, seconds)
            rows += found
            console.print(table(found))
            for measured in found:
                if measured.obstacle:
                    console.print(
                        f"{measured.contestant}: {measured.obstacle}", highlight=False, markup=False
                    )
            write(rows, described, options.out)
    finally:
        for worker in workers.values():
            worker.close()
    console.print(f"median (least to most) of {turns} turns: {options.out}", highlight=False)


if __name__ == "__main__":
    main()

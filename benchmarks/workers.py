"""Contestants in processes of their own, so that their thread pools do not mix; they work one at a time.

``python -m benchmarks.workers NAME`` is such a process: it reads requests and writes replies, a line of JSON each.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from benchmarks.contestants import Contestant, Setting, Trainer, contestant
from benchmarks.workloads import WORKLOADS, Workload

# Variables that choose a BLAS kernel are not inherited: each library takes what suits the processor.
BLAS_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
CHECKED = 7  # runs whose losses are compared
PROBE = 1.5  # a setting that would take so many turns' time, at the best rate of its form, is not tried


class WorkerError(Exception):
    """What kept a contestant from its work, in a line."""


class Worker:
    """A contestant's process.

    Parameters
    ----------
    name : str
        Key of ``CONTESTANTS``, or ``peak`` for the machine's multiply-adds.
    """

    def __init__(self, name: str):
        self.name = name
        environment = {key: value for key, value in os.environ.items() if key not in BLAS_VARIABLES}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def ask(self, request: str, **arguments: Any) -> Any:
        """Give the answer to a request; raise `WorkerError` where there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # its end is told below
            self.process.stdin.write(json.dumps([request, arguments]) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"its process ended with code {self.process.wait()}")
        error, answer = json.loads(line)
        if error:
            raise WorkerError(error)
        return answer

    def close(self) -> None:
        """End the process."""
        # It ends when its input does, or has ended by itself.
        with suppress(BrokenPipeError), self.process:
            pass


class Desk:
    """What a contestant's process answers."""

    def __init__(self, name: str):
        self.contestant: Contestant = contestant(name)
        self.trainer: Trainer
        self.least = 0.0

    def version(self) -> str:
        """Name the library and its version."""
        return self.contestant.version()

    def obstacle(self, workload: str) -> str:
        """Say why the contestant cannot express a workload."""
        return self.contestant.obstacle(WORKLOADS[workload])

    def prepare(self, workload: str, seconds: float) -> dict[str, Any]:
        """Have the contestant warm, in its best setting, with so many runs that a turn takes about `seconds`."""
        wanted, found = WORKLOADS[workload], dict[Setting, float]()
        for setting in self.contestant.settings(wanted):
            alike = [rate for tried, rate in found.items() if tried.form == setting.form]
            if not alike or setting.runs <= PROBE * seconds * max(alike):
                found[setting] = self._runs_a_second(wanted, setting, seconds)
        best = max(found, key=found.__getitem__)
        times = int(min(found[best] * seconds, wanted.n_runs) / best.runs)
        n_runs = min(max(1, times) * best.runs, wanted.n_runs)
        self.trainer = self.contestant.trainer(wanted, n_runs, best)
        self.least = seconds / 2
        timed(self.trainer)
        losses = self.trainer.losses()[:CHECKED].tolist()
        return {"setting": str(best), "n_runs": n_runs, "losses": losses}

    def _runs_a_second(self, workload: Workload, setting: Setting, seconds: float) -> float:
        n_runs = min(setting.runs, workload.n_runs)
        trainer = self.contestant.trainer(workload, n_runs, setting)
        timed(trainer)  # compiles
        return n_runs / min(trainings(trainer, seconds / 4))

    def turn(self) -> float:
        """Give the seconds of a training of the runs: the mean of as many as take half a turn's time or more."""
        return statistics.mean(trainings(self.trainer, self.least))


class PeakDesk:
    """What the process answers that measures the machine's multiply-adds a second."""

    def turn(self, dtype: str, seconds: float) -> float:
        """Give multiply-adds a second."""
        from fastbp.kernels import cpu
        from fastbp.kernels.peak import multiply_adds_a_second

        with ThreadPoolExecutor(cpu.n_threads()) as pool:
            return multiply_adds_a_second(dtype, pool, cpu.n_threads(), seconds)


def trainings(trainer: Trainer, least: float) -> list[float]:
    """Give the seconds of each of some trainings, which take `least` seconds or more together."""
    taken = [timed(trainer)]
    while sum(taken) < least:
        taken.append(timed(trainer))
    return taken


def timed(trainer: Trainer) -> float:
    """Give the wall time of one training, from weights in memory to weights and losses in memory."""
    trainer.reset()
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began


def in_a_line(error: BaseException) -> str:
    """Say what an exception says, by its first line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:200]


def serve(desk: Callable[[], Any], requests, replies) -> None:
    """Answer requests until there are no more."""
    made = None
    for line in requests:
        request, arguments = json.loads(line)
        try:
            made = made or desk()
            reply = ["", getattr(made, request)(**arguments)]
        except Exception as error:
            reply = [in_a_line(error), None]
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main(name: str) -> None:
    """Answer at stdout; what libraries print goes to stderr."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(PeakDesk if name == "peak" else lambda: Desk(name), sys.stdin, replies)


if __name__ == "__main__":
    main(sys.argv[1])

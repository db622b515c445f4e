"""Sweeps end to end to Parquet against the kernel alone: ``python -m benchmarks.pipeline``.

Ten million runs (``--runs``) of a 2-2-2 network, one sample, 100 steps, in float64, as processes ``fastbp sweep``
whose kernels are compiled: a product of two learning rates with given weights, and one of learning rate and seed,
for which weights are drawn. The process and the kernel, which trains shards as large in this process, take turns
(A B A B …). A sweep of a tenth of the runs says whether memory grows with them. Then some shards go through the
stages of a sweep one after the other, which a sweep lets overlap: what each takes of the processors. The results
lie in a temporary folder for as long as a sweep takes.
"""

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from string import Template
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Finished, fastbp, processor, spread
from fastbp.batches import prepare
from fastbp.kernels import cpu
from fastbp.memory import keep_freed_memory
from fastbp.plan import Plan
from fastbp.store import Store
from fastbp.sweep import load
from fastbp.tables import tables

STEPS = 100
FIRST_AXIS = 1000  # values; the other axis has as many as the runs want
STAGED_SHARDS = 16
COMPILING = 2.0  # seconds, after which straight code is ready that is compiled beside the training
STAGES = ("runs", "arrays", "training", "tables", "writing")
SWEEP = """
name = "pipeline"
network = { layers = [2, 2, 2], activation = "sigmoid" }
data = { x = [[0.05, 0.10]], y = [[0.01, 0.99]] }
training = { learning_rate = 1, steps = $steps }
"""
KINDS = {
    "given": """
[init.example]
W1 = [[0.15, 0.20], [0.25, 0.30]]
b1 = [0.35, 0.35]
W2 = [[0.40, 0.45], [0.50, 0.55]]
b2 = [0.60, 0.60]
[[grid]]
learning_rate_1 = { geomspace = [0.01, 10, $first] }
learning_rate_2 = { geomspace = [0.01, 10, $second] }
""",
    "drawn": """
[[grid]]
learning_rate = { geomspace = [0.01, 10, $first] }
seed = { arange = [0, $second, 1] }
""",
}


class Turns(NamedTuple):
    """What was measured of a kind of sweep: runs; the processes, large and small; the kernel's steps a second."""

    n_runs: int
    large: list[Finished]
    small: list[Finished]
    kernel: list[float]

    @property
    def whole(self) -> list[float]:
        """Steps a second of each large sweep."""
        return [self.n_runs * STEPS / each.seconds for each in self.large]


def write_sweep(folder: Path, kind: str, n_runs: int) -> tuple[Path, int]:
    """Write the sweep file of about so many runs; give how many it has."""
    n = max(2, n_runs // FIRST_AXIS)
    file = folder / f"{kind}-{n}.toml"
    text = Template(SWEEP + KINDS[kind]).substitute(steps=STEPS, first=FIRST_AXIS, second=n)
    file.write_text(text)
    return file, n * FIRST_AXIS


def swept(file: Path) -> Finished:
    """Run a sweep as a process; leave nothing of it."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        return fastbp("sweep", str(file), "--out", folder, "--quiet")


class Kernel:
    """The runs of a sweep's first shard, to be trained as often as the sweep has shards."""

    def __init__(self, plan: Plan, pool: ThreadPoolExecutor, threads: int):
        self.plan, self.pool, self.threads = plan, pool, threads
        shard = next(plan.shards())
        runs = plan.runs(shard)
        self.batch = prepare(plan, shard.group.structure, runs, plan.data, pool, threads)
        self.start = self.batch.w.copy()
        self.seconds()
        time.sleep(COMPILING)

    def seconds(self) -> float:
        """Give how long one shard takes."""
        self.batch.w[:] = self.start
        began = time.perf_counter()
        cpu.train_batch(self.batch, self.pool, self.threads, n_runs_in_all=self.plan.n_runs)
        return time.perf_counter() - began

    def steps_a_second(self) -> float:
        """Train as many shards as the sweep has."""
        seconds = sum(self.seconds() for _ in range(self.plan.n_shards))
        return self.plan.n_shards * self.batch.n_runs * STEPS / seconds


def measure(folder: Path, kind: str, n_runs: int, turns: int) -> Turns:
    """Run large sweep, kernel and small sweep in turns."""
    (large, n_runs), (small, _) = (write_sweep(folder, kind, n) for n in (n_runs, n_runs // 10))
    threads = cpu.n_threads()
    # A process that holds little starts the sweeps: Linux lets theirs begin with the most that it ever held.
    with ProcessPoolExecutor(1, get_context("spawn")) as starter, ThreadPoolExecutor(threads) as pool:
        kernel = Kernel(Plan(load(large, ())), pool, threads)

        def process(file: Path) -> Finished:
            return starter.submit(swept, file).result()

        found = [(process(large), process(small), kernel.steps_a_second()) for _ in range(turns)]
    return Turns(n_runs, *map(list, zip(*found, strict=True)))


def stages(folder: Path, kind: str, n_runs: int) -> dict[str, float]:
    """Give the processors' seconds of each stage for a million runs, one shard and stage after the other."""
    plan, threads, taken = Plan(load(write_sweep(folder, kind, n_runs)[0], ())), cpu.n_threads(), Counter()
    shards = list(itertools.islice(plan.shards(), STAGED_SHARDS))

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        taken[name] += time.process_time() - began

    with (
        ThreadPoolExecutor(threads) as pool,
        tempfile.TemporaryDirectory(dir=folder) as out,
        Store(Path(out), plan) as store,
    ):
        for shard in shards:
            structure = shard.group.structure
            with stage("runs"):
                runs = plan.runs(shard)
            with stage("arrays"):
                batch = prepare(plan, structure, runs, plan.data, pool, threads)
            with stage("training"):
                cpu.train_batch(batch, pool, threads, n_runs_in_all=plan.n_runs)
            with stage("tables"):
                made = tables(plan, structure, runs, plan.data, batch)
            with stage("writing"):
                store.write(shard, made)
    n_staged = sum(shard.n_runs for shard in shards)
    return {name: 1e6 * seconds / n_staged for name, seconds in taken.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    whole = Table(
        "weights",
        "sweep, M steps/s",
        "kernel, M steps/s",
        "sweep / kernel",
        "peak memory, MB",
        "of a tenth of the runs, MB",
        "ratio",
        title=f"2-2-2, 1 sample, {options.runs:,} runs x {STEPS} steps, end to end",
    )
    parts = Table("weights", *STAGES, title="Seconds of one processor for a million runs")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in KINDS:
            turns = measure(folder, kind, options.runs, options.turns)
            ratios = [sweep / kernel for sweep, kernel in zip(turns.whole, turns.kernel, strict=True)]
            large, small = (max(each.peak_bytes for each in made) for made in (turns.large, turns.small))
            whole.add_row(
                kind,
                spread([rate / 1e6 for rate in turns.whole]),
                spread([rate / 1e6 for rate in turns.kernel]),
                spread(ratios, ".2f"),
                f"{large / 1e6:.0f}",
                f"{small / 1e6:.0f}",
                f"{large / small:.2f}",
            )
            taken = stages(folder, kind, options.runs)
            parts.add_row(kind, *(f"{taken[name]:.3f}" for name in STAGES))
    console = Console(width=120)
    console.print(whole)
    console.print(parts)
    print(f"{processor()}; median (least to most) of {options.turns} turns")


if __name__ == "__main__":
    main()

"""The story of a sweep: plan, executor, backend, store."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastbp import executors
from fastbp.batches import prepare
from fastbp.kernels import cpu
from fastbp.memory import keep_freed_memory
from fastbp.plan import Plan, Shard
from fastbp.results import Results
from fastbp.store import Store
from fastbp.sweep import Sweep
from fastbp.tables import tables


def run(
    sweep: Sweep,
    out: Path | str | None = None,
    threads: int | None = None,
    advance: Callable[[float], None] = lambda runs: None,
) -> Results:
    """Train all runs of a sweep and write the result folder.

    Parameters
    ----------
    sweep : Sweep
    out : path, optional
        The result folder, ``results/<name>`` where none is given.
    threads : int, optional
        Threads that train; all processors that this process may use where none is given.
    advance : callable, optional
        Told now and then how many more runs were trained, in fractions of a run.

    Returns
    -------
    Results

    Raises
    ------
    ValueError
        If `threads` is less than 1.
    SweepError
        If the record of a block of runs is too large for memory.
    StoreError
        If the folder holds something else, or cannot be written.
    """
    return run_plan(Plan(sweep), out, threads, advance)


def run_plan(
    plan: Plan,
    out: Path | str | None = None,
    threads: int | None = None,
    advance: Callable[[float], None] = lambda runs: None,
) -> Results:
    """Do what `run` does with a sweep that is planned already."""
    plan.refuse_too_large()
    keep_freed_memory()
    data, cancel = plan.data, threading.Event()
    threads = cpu.n_threads() if threads is None else threads
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="train") as pool,
        Store(Path(out) if out else Path("results") / plan.sweep.name, plan) as store,
    ):

        def work(shard: Shard) -> None:
            structure, runs = shard.group.structure, plan.runs(shard)
            batch = prepare(plan, structure, runs, data, pool, threads)
            cpu.train_batch(batch, pool, threads, cancel, advance, shard.group.n_runs)
            store.write(shard, tables(plan, structure, runs, data, batch))

        for _ in executors.local(work, plan.shards(), cancel.set):
            pass
        store.finish()
    return Results(store.folder)

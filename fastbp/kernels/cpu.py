"""The CPU: blocks of runs on SIMD lanes, blocks side by side on threads.

The only place that knows how the kernels are launched on a CPU. May import all of ``kernels``.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait

import numpy as np
from numba.core import config

from fastbp.kernels import cache, lanes, straight
from fastbp.kernels.batch import Batch, aligned
from fastbp.kernels.lanes import borrowed, rows
from fastbp.kernels.metrics import (
    GRADIENT_NORM,
    METRICS,
    SCORE,
    VALIDATION_LOSS,
    VALIDATION_SCORE,
    WEIGHT_NORM,
    n_metrics,
)
from fastbp.kernels.network import Network, multiply_adds, sizes
from fastbp.kernels.subnormals import flush_subnormals, restore_subnormals
from fastbp.kernels.training import Order, Record, Run, scratch_size, train

# Seconds of one call into compiled code: long against the call's cost, short against a person's Ctrl-C.
SECONDS_A_CALL = 0.05
# One step in so many may be recorded where straight code, which records nothing, is of use.
DENSE = 8


def train_blocks(network, steps, arrays, record, order, first, last, start, stop):
    """Train the blocks `first` to `last` through the steps `start` to `stop`, whose samples `order` names.

    `arrays` and `record` are a `Run` and a `Record` whose fields hold all blocks, but for g, inputs, z, a, delta
    and the scratch, which hold one. Compiled it works on Lanes; uncompiled on blocks of one run.
    """
    state = flush_subnormals()
    for block in range(first, last):
        run = Run(
            rows(arrays.x, block),
            rows(arrays.y, block),
            rows(arrays.w, block),
            rows(arrays.g, 0),
            rows(arrays.inputs, 0),
            rows(arrays.z, 0),
            rows(arrays.a, 0),
            rows(arrays.delta, 0),
            rows(arrays.hyper, block),
            rows(arrays.m, block),
            rows(arrays.state, block),
            rows(arrays.scratch, 0),
        )
        kept = Record(
            record.steps,
            record.measures,
            record.norms,
            record.scores,
            record.validates,
            rows(record.history, block),
            record.trace,
            rows(record.w, block),
            rows(record.g, block),
            rows(record.z, block),
            rows(record.a, block),
            rows(record.delta, block),
        )
        train(borrowed(network), borrowed(run), borrowed(kept), borrowed(order), start, stop, steps)
    restore_subnormals(state)


compiled = cache.cached_njit(train_blocks)


def width(dtype) -> int:
    """Runs a block: those of a Lane, or one where Numba's compiler is switched off."""
    return 1 if config.DISABLE_JIT else lanes.WIDTH[np.dtype(dtype).name]


def n_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def estimate_seconds(network: Network, steps: int, n_blocks: int, threads: int) -> float:
    """Guess how long `n_blocks` blocks take, compiling not counted.

    Fitted to 18 networks from 2-2-1 to 64-32-10 on one core of a Xeon with AVX-512, most of them within 30 %;
    other processors differ by what they differ.
    """
    n_parameters, n_units = sizes(network)
    a_sample = 0.8 * multiply_adds(network) + 10 * n_units
    a_step = 120 + 3.7 * n_parameters + 10 * network.n_state + network.batch_size * a_sample
    return 1e-9 * a_step * (steps + 0.5) * n_blocks / min(threads, n_blocks)


def arguments(batch: Batch) -> tuple:
    """Give the first arguments of `train_blocks`, with scratch of their own."""
    n_parameters, n_units = sizes(batch.network)
    chunk = batch.network.chunk
    n_inputs = chunk * batch.network.layers[0]

    def scratch(n_rows):
        return aligned((1, n_rows, batch.width), batch.w.dtype)

    arrays = Run(
        batch.x,
        batch.y,
        batch.w,
        scratch(n_parameters),
        scratch(n_inputs) if batch.x.ndim == 3 else aligned((n_inputs,), batch.x.dtype),
        scratch(chunk * n_units),
        scratch(chunk * n_units),
        scratch(chunk * n_units),
        batch.hyper,
        batch.m,
        batch.state,
        scratch(scratch_size(batch.network, n_metrics(batch.network), n_parameters)),
    )
    measures = np.array([METRICS[name] for name in batch.measures], np.int64)
    record = Record(
        steps=batch.steps_kept,
        measures=measures,
        norms=bool(np.isin(measures, [GRADIENT_NORM, WEIGHT_NORM]).any()),
        scores=bool(np.isin(measures, [SCORE, VALIDATION_SCORE]).any()),
        validates=bool(np.isin(measures, [VALIDATION_LOSS, VALIDATION_SCORE]).any()),
        history=batch.history,
        trace=batch.trace["w"].shape[1] > 0,
        **batch.trace,
    )
    return batch.network, batch.steps, arrays, record


def order_at(batch: Batch, step: int) -> tuple[Order, int]:
    """Give the samples of the steps from `step` on, and the step up to which they reach."""
    if batch.orders is None:
        return Order(np.zeros(0, np.int64), 0, 0), batch.steps
    samples, first_epoch, stride, end = batch.orders.at(step)
    return Order(samples, first_epoch, stride), batch.steps if end is None else min(end, batch.steps)


def train_batch(
    batch: Batch,
    pool: ThreadPoolExecutor,
    threads: int,
    cancel: threading.Event | None = None,
    advance: Callable[[float], None] = lambda runs: None,
    n_runs_in_all: int | None = None,
) -> None:
    """Train all runs of `batch` in place.

    Parameters
    ----------
    batch : Batch
    pool, threads
        Where `threads` tasks are submitted; the blocks are shared out among them.
    cancel : threading.Event, optional
        Looked at between calls of about `SECONDS_A_CALL`; raises `CancelledError`.
    advance : callable
        Told after each call how many runs (in fractions: runs times the share of their steps) were trained.
    n_runs_in_all : int, optional
        The runs of this network, this batch's and those that follow: where they are many, `straight` code is
        compiled for them.
    """
    cache.compile_for(compiled, (*arguments(batch), order_at(batch, 0)[0], 0, 0, 0, 0))
    n_blocks = -(-(n_runs_in_all or batch.n_runs) // batch.width)
    seconds = estimate_seconds(batch.network, batch.steps, n_blocks, threads)
    sparse = not batch.trace["w"].size and DENSE * len(batch.steps_kept) <= batch.steps
    code = straight.order(batch, seconds) if sparse else None
    work = _Work(batch, threads, cancel or threading.Event(), advance, code)
    tasks: list[Future[None]] = []
    try:
        for _ in range(min(threads, batch.n_blocks)):
            tasks.append(pool.submit(work))
        for task in tasks:
            task.result()
    except BaseException:
        # Nobody may write into the batch once this function has returned.
        work.failed.set()
        wait(tasks)
        raise


def quiet_until(batch: Batch, step: int) -> int:
    """Give up to which step, from `step` on, nothing is recorded; the evaluation after the last belongs to it."""
    place = np.searchsorted(batch.steps_kept, step)
    if place == len(batch.steps_kept):
        return batch.steps
    return min(int(batch.steps_kept[place]), batch.steps - 1)


class _Work:
    """The blocks of a batch, handed out in chunks whose size follows the measured time."""

    def __init__(self, batch, threads, cancel, advance, code=None):
        self.batch, self.threads, self.cancel, self.advance = batch, threads, cancel, advance
        self.code = code
        self.failed = threading.Event()
        self.lock = threading.Lock()
        self.next_block = 0
        self.block_steps_a_call = 1.0

    def __call__(self):
        """Train chunk after chunk until none is left, or another thread has failed."""
        arguments_ = arguments(self.batch)
        try:
            while (chunk := self._take()) is not None:
                self._train(arguments_, *chunk)
        except BaseException:
            self.failed.set()
            raise

    def _take(self) -> tuple[int, int] | None:
        with self.lock:
            first, left = self.next_block, self.batch.n_blocks - self.next_block
            if left == 0 or self.failed.is_set():
                return None
            wanted = int(self.block_steps_a_call / max(self.batch.steps, 1))
            self.next_block += max(1, min(wanted, -(-left // self.threads)))
            return first, self.next_block

    def _train(self, arguments_, first, last):
        steps, start = self.batch.steps, 0
        while not self.failed.is_set():
            if self.cancel.is_set():
                raise CancelledError
            order, reach = order_at(self.batch, start)
            stop = min(reach, start + max(1, int(self.block_steps_a_call / (last - first))))
            code = self.code.result() if self.code is not None and self.code.done() else None
            began = time.perf_counter()
            if code and (quiet := quiet_until(self.batch, start)) > start:
                stop = min(stop, quiet)
                code(self.batch, first, last, start, stop)
            else:
                stop = min(start + 1, stop) if code else stop
                with np.errstate(all="ignore"):  # in the interpreter too, what diverges is silent
                    compiled(*arguments_, order, first, last, start, stop)
            seconds = max(time.perf_counter() - began, 1e-6)
            done = (last - first) * max(stop - start, 1)
            # At most a factor of 8 at once: one call that was interrupted says little.
            wanted = done * SECONDS_A_CALL / seconds
            self.block_steps_a_call = max(1.0, min(wanted, self.block_steps_a_call * 8.0))
            runs = min(last * self.batch.width, self.batch.n_runs) - first * self.batch.width
            self.advance(runs * ((stop - start) / steps if steps else 1.0))
            if stop == steps:
                return
            start = stop

"""Whether time grows linearly: ``python -m benchmarks.scaling``.

The kernel trains more and more runs, steps, samples and multiply-adds of the layers on one thread; all points take
turns (A B C A B C …), and the least time of the processor counts. Printed are the slope that fits the logarithms
of a line's points, which is 1 where time is proportional; how far they are from the line of slope 1 through the
largest; and how far from proportional with a constant, which is what a step takes beside the thing that grows: the
update of the weights beside a single sample, say. A picture and the numbers as Parquet are written to ``--out``.
Small networks are trained by straight-line code where the sweep is large, all else in tiles: a line is of one of
the two, and says of which. Compiling is not counted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import processor
from fastbp.bench import multiply_adds
from fastbp.kernels import cpu, straight
from fastbp.kernels.batch import make_batch
from fastbp.kernels.structure import Structure, network_of

DTYPE = "float64"
RUNS, STEPS, SAMPLES, PRODUCTS = "runs", "steps", "samples", "multiply-adds of a step"
TILES, STRAIGHT = "tiles", "straight-line code"


class Work(NamedTuple):
    """What one point trains."""

    layers: tuple[int, ...]
    n_samples: int = 8
    steps: int = 100
    n_runs: int = 1024

    @property
    def structure(self) -> Structure:
        """By names."""
        activations = ("sigmoid",) * (len(self.layers) - 1)
        return Structure(self.layers, True, activations, "mse", "sgd", self.steps, DTYPE, self.n_samples)


class Line(NamedTuple):
    """Points that should lie on a line: `work` gives what is trained at a size, `sizes` are where."""

    grows: str
    name: str
    code: str
    sizes: list[int]
    work: Callable[[int], Work]

    def x(self) -> list[float]:
        """Give where the points are drawn."""
        if self.grows != PRODUCTS:
            return [float(size) for size in self.sizes]
        return [multiply_adds(self.work(size).structure) for size in self.sizes]


def powers(first: int, last: int) -> list[int]:
    """Give 2^first, … 2^last."""
    return [2**k for k in range(first, last + 1)]


MIDDLE, SMALL = (8, 16, 4), (2, 2, 2)
LINES = [
    Line(RUNS, "8-16-4, 8 samples", TILES, powers(8, 15), lambda n: Work(MIDDLE, n_runs=n, steps=20)),
    Line(RUNS, "2-2-2, 1 sample", TILES, powers(10, 17), lambda n: Work(SMALL, 1, 400, n)),
    Line(RUNS, "2-2-2, 1 sample", STRAIGHT, powers(10, 17), lambda n: Work(SMALL, 1, 400, n)),
    Line(STEPS, "8-16-4, 8 samples", TILES, powers(4, 12), lambda n: Work(MIDDLE, steps=n, n_runs=256)),
    Line(STEPS, "2-2-2, 1 sample", TILES, powers(8, 15), lambda n: Work(SMALL, 1, n)),
    Line(STEPS, "2-2-2, 1 sample", STRAIGHT, powers(8, 15), lambda n: Work(SMALL, 1, n)),
    Line(SAMPLES, "8-16-4", TILES, powers(0, 10), lambda n: Work(MIDDLE, n, n_runs=256)),
    Line(SAMPLES, "64-32-10", TILES, powers(0, 8), lambda n: Work((64, 32, 10), n, 50, 128)),
    Line(
        PRODUCTS,
        "n-n-n, 8 samples",
        TILES,
        [4, 6, 8, 12, 16, 24, 32, 48, 64],
        lambda n: Work((n, n, n), n_runs=128),
    ),
    Line(
        PRODUCTS,
        "16-16-…-16, 8 samples",
        TILES,
        powers(0, 5),
        lambda n: Work((16,) * (n + 1), n_runs=128),
    ),
    Line(
        PRODUCTS,
        "2-n-2, 1 sample",
        STRAIGHT,
        [2, 3, 4, 6, 8, 12, 16, 24],
        lambda n: Work((2, n, 2), 1, n_runs=8192),
    ),
]


def trainer(work: Work, code: str) -> Callable[[], float]:
    """Give what trains a point's runs from their start, and gives the time of the processor."""
    structure, random = work.structure, np.random.default_rng(0)
    hyper = [{"learning_rate": 0.1}.get(name, default) for name, _, default in structure.hyperparameters()]
    batch = make_batch(
        network_of(structure),
        work.steps,
        random.normal(size=(work.n_samples, work.layers[0])),
        random.uniform(size=(work.n_samples, work.layers[-1])),
        random.normal(size=(work.n_runs, structure.n_parameters)),
        np.tile(hyper, (work.n_runs, 1)),
        cpu.width(DTYPE),
    )
    start, span = batch.w.copy(), (0, batch.n_blocks, 0, work.steps)
    if code == STRAIGHT:
        train = partial(straight.straight(batch), batch, *span)
    else:
        train = partial(cpu.compiled, *cpu.arguments(batch), cpu.order_at(batch, 0)[0], *span)

    def seconds() -> float:
        batch.w[:] = start
        began = time.process_time()
        train()
        return time.process_time() - began

    return seconds


def measure(turns: int) -> list[list[list[float]]]:
    """Give the seconds of each turn of each point of each line."""
    trainers = [[trainer(line.work(size), line.code) for size in line.sizes] for line in LINES]
    found = [[[seconds() for seconds in line] for line in trainers] for _ in range(turns + 1)]
    del found[0]  # compiles
    return [np.transpose([turn[number] for turn in found]).tolist() for number in range(len(LINES))]


def slope(x: list[float], y: list[float]) -> float:
    """Give the slope of the line that fits the logarithms best."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def proportional(x: list[float], y: list[float]) -> np.ndarray:
    """Give the line of slope 1, in logarithms, through the largest point."""
    return np.array(x) * (y[-1] / x[-1])


def with_constant(x: list[float], y: list[float]) -> np.ndarray:
    """Give the ``a + b x`` that fits best, relative to the points."""
    columns = np.stack([np.ones(len(x)), x], axis=1)
    return columns @ np.linalg.lstsq(columns / np.array(y)[:, None], np.ones(len(y)))[0]


def deviation(y: list[float], line: np.ndarray) -> float:
    """Give the factor by which a point is off a line, at the most."""
    return float(np.exp(abs(np.log(y / line)).max()))


def draw(least: list[list[float]], file: Path) -> None:
    """Draw a panel for each thing that grows."""
    mpl.use("Agg")
    panels = list(dict.fromkeys(line.grows for line in LINES))
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), layout="constrained")
    for grows, panel in zip(panels, axes.flat, strict=True):
        lines = [(line, y) for line, y in zip(LINES, least, strict=True) if line.grows == grows]
        draw_panel(panel, grows, lines)
    figure.suptitle(f"Time to train, {DTYPE}; solid: proportional, dotted: with a constant\n{processor()}")
    figure.savefig(file, dpi=150)


def draw_panel(panel: Axes, grows: str, lines: list[tuple[Line, list[float]]]) -> None:
    """Draw points and lines of slope 1."""
    for (line, y), colour, marker in zip(lines, ("#0072b2", "#d55e00", "#009e73"), "os^", strict=False):
        x = line.x()
        label = f"{line.name}, {line.code}: slope {slope(x, y):.2f}"
        panel.plot(x, y, marker, color=colour, markersize=5, label=label)
        panel.plot(x, proportional(x, y), color=colour, linewidth=1)
        panel.plot(x, with_constant(x, y), ":", color=colour, linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel=grows, ylabel="seconds of one processor")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="upper left")


def table(seconds: list[list[list[float]]]) -> pa.Table:
    """Give a row a point."""
    rows = [
        {
            "grows": line.grows,
            "network": line.name,
            "code": line.code,
            "size": x,
            "seconds_least": min(turns),
            "seconds_median": statistics.median(turns),
        }
        for line, points in zip(LINES, seconds, strict=True)
        for x, turns in zip(line.x(), points, strict=True)
    ]
    return pa.Table.from_pylist(rows)


def main() -> None:
    """Print the table, and write picture and numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/scaling"))
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = measure(options.turns)
    least = [[min(turns) for turns in points] for points in seconds]
    printed = Table(
        "what grows",
        "from",
        "to",
        "network",
        "code",
        "slope",
        "off slope 1",
        "off a + b x",
        title="Time to train; points are off by a factor of at most …",
    )
    for line, y in zip(LINES, least, strict=True):
        x = line.x()
        ends = f"{x[0]:,.0f}", f"{x[-1]:,.0f}"
        printed.add_row(
            line.grows,
            *ends,
            line.name,
            line.code,
            f"{slope(x, y):.2f}",
            *(f"{deviation(y, fit(x, y)):.2f}" for fit in (proportional, with_constant)),
        )
    Console(width=120).print(printed)
    pq.write_table(table(seconds), options.out / "scaling.parquet")
    draw(least, options.out / "scaling.png")
    print(f"{processor()}; least of {options.turns} turns; written to {options.out}")


if __name__ == "__main__":
    main()

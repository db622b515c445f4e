"""What a person reads in the terminal: the summary of a sweep, the outline of a plan, the check of gradients.

May import ``bench``, ``check``, ``engine`` and below, and rich.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from fastbp.bench import Bench
from fastbp.check import BOUND, Comparison
from fastbp.kernels import cpu
from fastbp.kernels.structure import network_of
from fastbp.plan import Plan
from fastbp.results import Results, column_names, least_run, read_part
from fastbp.sweep import Sweep
from fastbp.tables import STATUSES

ROWS = 20
FIRST = ("run", "status", "loss_last")
LEFT_OUT = ("loss_min", "loss_tail", "convergence", "gradient_norm", "weight_norm")


def summary(results: Results, seconds: float) -> dict[str, Any]:
    """Give what came of a sweep as JSON-ready values.

    Parameters
    ----------
    results : Results
    seconds : float
        Wall time of the whole sweep, compiling and writing included.
    """
    counts = dict.fromkeys(STATUSES, 0)
    steps, least = 0, math.inf
    done = "steps_done" if "steps_done" in column_names(results.parts("runs")[0]) else "steps"
    for part in results.parts("runs"):  # one at a time: a sweep may have many more runs than fit in memory
        runs = read_part(part, ["status", done, "loss_last"])
        # In NumPy: pyarrow.compute would cost a short sweep a twentieth of a second to import.
        for chunk in runs["status"].chunks:
            numbers = np.bincount(chunk.indices.to_numpy(), minlength=len(chunk.dictionary))
            for status, number in zip(chunk.dictionary.to_pylist(), numbers.tolist(), strict=True):
                counts[status] += number
        steps += int(runs[done].to_numpy().sum())
        losses = runs["loss_last"].to_numpy()
        least = min(least, float(losses[np.isfinite(losses)].min(initial=math.inf)))
    return {
        "name": results.manifest["sweep"],
        "folder": str(results.folder),
        "runs": sum(counts.values()),
        "status": counts,
        "steps": steps,
        "seconds": round(seconds, 3),
        "loss_last_least": least if math.isfinite(least) else None,
        "tables": results.manifest["tables"],
    }


def print_summary(results: Results, summary: dict[str, Any]) -> None:
    """Print a short table of the runs and where they are."""
    console = _console()
    runs = _first_runs(results)
    unneeded = {*LEFT_OUT, "steps_done" if "steps_done" in runs[0] else "steps"}
    names = [name for name in runs[0] if name not in unneeded and any(row[name] is not None for row in runs)]
    cells = {name: [_cell(row[name]) for row in runs] for name in names}
    fitting = _fitting(cells, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in fitting:
        text = any(isinstance(row[name], str) for row in runs)
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for row in zip(*(cells[name] for name in fitting), strict=True):
        table.add_row(*row)
    console.print(table)
    if left_out := [name for name in names if name not in fitting]:
        console.print(f"not shown, the terminal is too narrow: {', '.join(left_out)}")
    if summary["runs"] > len(runs):
        console.print(f"... and {summary['runs'] - len(runs):,} more runs")
    counts = ", ".join(f"{count:,} {status}" for status, count in summary["status"].items() if count)
    console.print(
        f"{_count(summary['runs'], 'run')} ({counts}) in {summary['seconds']:.2f} s: {summary['folder']}"
    )


def _first_runs(results: Results) -> list[dict[str, Any]]:
    """Give the rows of the runs with the lowest ids, which may lie in any part."""
    first: list[tuple[int, int, Path]] = []  # id, row, part
    for part in results.parts("runs"):
        if len(first) == ROWS and least_run(part) > first[-1][0]:
            continue
        ids = read_part(part, ["run"])["run"].to_numpy()
        rows = np.argpartition(ids, min(ROWS, len(ids)) - 1)[:ROWS]
        first = sorted([*first, *((int(ids[row]), int(row), part) for row in rows)])[:ROWS]
    tables = {part: read_part(part) for part in {part for _, _, part in first}}
    return [tables[part].slice(row, 1).to_pylist()[0] for _, row, part in first]


def _fitting(cells: dict[str, list[str]], width: int) -> list[str]:
    """Give the columns that fit side by side, in their order; the id, the status and the losses come first."""
    widths = {name: max(len(name), *map(len, column)) + 3 for name, column in cells.items()}
    wanted = sorted(cells, key=lambda name: name not in FIRST)
    chosen: set[str] = set()
    for name in wanted:
        if sum(widths[other] for other in chosen) + widths[name] <= width:
            chosen.add(name)
    return [name for name in cells if name in chosen]


def outline(sweep: Sweep) -> dict[str, Any]:
    """Give what a sweep would do as JSON-ready values; nothing is run."""
    plan, threads = Plan(sweep), cpu.n_threads()
    plan.refuse_too_large()
    groups, n_bytes, seconds = [], 0, 0.0
    written = 400e6  # bytes a second, before compression, as measured beside `estimate_seconds`
    for group in plan.groups:
        structure = group.structure
        n_blocks = -(-group.n_runs // cpu.width(structure.dtype))
        seconds += cpu.estimate_seconds(network_of(structure), structure.steps, n_blocks, threads)
        n_bytes += group.n_runs * plan.bytes_a_run(structure)
        seconds += group.n_runs * plan.bytes_a_run(structure) / written
        groups.append({**structure._asdict(), "runs": group.n_runs})
    return {
        "name": sweep.name,
        "runs": plan.n_runs,
        "shards": plan.n_shards,
        "bytes": n_bytes,
        "threads": threads,
        "seconds": seconds,
        "groups": groups,
    }


def print_outline(outline: dict[str, Any]) -> None:
    """Print an outline."""
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layers", "activations", "loss", "optimizer", "dtype"):
        table.add_column(name)
    for name in ("samples", "steps", "runs"):
        table.add_column(name, justify="right")
    for group in outline["groups"][:ROWS]:
        table.add_row(
            *_network(group),
            *(str(group[name]) for name in ("loss", "optimizer", "dtype")),
            _samples(group),
            *(f"{group[name]:,}" for name in ("steps", "runs")),
        )
    console.print(table)
    if len(outline["groups"]) > ROWS:
        console.print(f"... and {len(outline['groups']) - ROWS:,} more groups")
    parts = f"{_count(len(outline['groups']), 'group')} and {_count(outline['shards'], 'shard')}"
    console.print(f"runs    {outline['runs']:,} in {parts}")
    console.print(f"bytes   at most {_size(outline['bytes'])} before compression")
    console.print(
        f"time    {_duration(outline['seconds'])} on {_count(outline['threads'], 'thread')} once compiled; a guess"
    )


def _samples(group: dict[str, Any]) -> str:
    """Give the samples that a run is trained on, those of a step and those kept for validation."""
    text = f"{group['n_samples']:,}"
    if group["batch_size"]:
        text += f" by {group['batch_size']:,}"
    return text + (f" + {group['n_validation']:,}" if group["n_validation"] else "")


def print_bench(found: Bench) -> None:
    """Print the throughput of the groups that were measured, the peak and the time of the whole sweep."""
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layers", "activations", "dtype"):
        table.add_column(name)
    for name in ("samples", "steps", "runs", "steps/s", "multiply-adds/s", "of the peak"):
        table.add_column(name, justify="right")
    for group in found.groups:
        values = group.structure._asdict()
        table.add_row(
            *_network(values),
            values["dtype"],
            _samples(values),
            *(f"{number:,}" for number in (values["steps"], group.n_runs)),
            _metric(group.steps_a_second),
            _metric(group.multiply_adds_a_second),
            f"{group.share_of_peak:.1%}",
        )
    console.print(table)
    if found.n_groups > len(found.groups):
        console.print(
            f"... and {found.n_groups - len(found.groups):,} smaller groups, which were not measured"
        )
    for dtype, peak in found.peak.items():
        console.print(f"peak    {_metric(peak)} multiply-adds/s in {dtype}")
    console.print(
        f"time    {_duration(found.seconds)} to train {_count(found.n_runs, 'run')} on "
        f"{_count(found.threads, 'thread')}"
    )


def _network(values: dict[str, Any]) -> tuple[str, str]:
    """Give the layers and the activations of a group."""
    layers = "-".join(map(str, values["layers"])) + ("" if values["bias"] else " no bias")
    return layers, " ".join(values["activations"])


def _metric(number: float) -> str:
    """Give a number with three digits and the letter of its thousands."""
    for letter in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:.3g} T"


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Print the largest relative error of each parameter group."""
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("parameter", "dtype"):
        table.add_column(name)
    for name in ("largest relative error", "bound", "compared", "left out"):
        table.add_column(name, justify="right")
    table.add_column("")
    for comparison in comparisons:
        verdict = "ABOVE" if not comparison.passed else "ok" if comparison.n_compared else "none compared"
        table.add_row(
            comparison.parameter,
            comparison.dtype,
            f"{comparison.error:.2e}",
            f"{BOUND[comparison.dtype]:.0e}",
            f"{comparison.n_compared:,}",
            f"{comparison.n_left_out:,}",
            verdict,
        )
    console.print(table)
    if any(comparison.n_left_out for comparison in comparisons):
        console.print("left out: where the loss is not finite or not smooth, such as at a kink of relu")


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison as JSON-ready values; JSON has no infinity, so an error without bound is null."""
    error = comparison.error if math.isfinite(comparison.error) else None
    return comparison._asdict() | {"error": error, "passed": comparison.passed}


def _console() -> Console:
    # Piped, nothing is cut to the width of a terminal that is not there.
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=10_000)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, list):
        return " ".join(_cell(item) for item in value)
    return str(value)


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"

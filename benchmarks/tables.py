"""What was measured, as tables: for the terminal, in Markdown, in Parquet."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from benchmarks.workloads import Workload, target


class Spread(NamedTuple):
    """Median, least and most of some numbers."""

    median: float
    least: float
    most: float


@dataclass
class Measured:
    """A contestant at a workload: steps a second of all its runs, turn by turn, or why there is none.

    Attributes
    ----------
    workload : Workload
    contestant, version, setting : str
    n_runs : int
        That are trained in a turn.
    rates, own, peaks : list of float
        Steps a second of the contestant and of fastbp, and the peak's multiply-adds a second, turn by turn.
    obstacle : str
        Why there is no number; empty where there is.
    """

    workload: Workload
    contestant: str
    version: str = ""
    setting: str = ""
    n_runs: int = 0
    rates: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    obstacle: str = ""

    @property
    def ratio(self) -> Spread | None:
        """How many times as fast fastbp is, turn by turn."""
        if self.contestant == "fastbp" or not self.own:
            return None
        return spread(own / rate for own, rate in zip(self.own, self.rates, strict=True))

    @property
    def share(self) -> float:
        """The median share of the peak that the multiply-adds of the layers alone take."""
        products = (rate * self.workload.multiply_adds for rate in self.rates)
        return statistics.median(done / peak for done, peak in zip(products, self.peaks, strict=True))

    @property
    def targets(self) -> str:
        """What fastbp should reach here, in words."""
        if self.contestant == "fastbp":
            return f"{self.workload.share:.0%}" if self.workload.share else ""
        wanted = target(self.workload, self.contestant)
        return f"{wanted:g}x" if wanted else ""


def spread(values: Iterable[float]) -> Spread:
    """Give median, least and most."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1])


def number(value: float) -> str:
    """Write a number with three digits or more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def written(values: Spread) -> str:
    """Write a median with its spread."""
    return f"{number(values.median)} ({number(values.least)} to {number(values.most)})"


HEADER = ("contestant", "million steps/s", "fastbp is faster by", "share of peak", "target")


def row(measured: Measured) -> tuple[str, ...]:
    """Write the line of a contestant that was measured."""
    ratio = measured.ratio
    return (
        measured.version,
        written(spread(rate / 1e6 for rate in measured.rates)),
        written(ratio) if ratio else "",
        f"{measured.share:.1%}",
        measured.targets,
    )


def title(workload: Workload) -> str:
    """Name a workload."""
    return f"{workload.name}: {workload.summary}, {workload.dtype}, {workload.steps} steps"


def table(rows: list[Measured]) -> Table:
    """Give the table of one workload for the terminal."""
    found = Table(*HEADER, title=title(rows[0].workload), width=100)
    for measured in rows:
        if not measured.obstacle:
            found.add_row(*row(measured))
    return found


def markdown(rows: list[Measured], machine: dict[str, str]) -> str:
    """Write all tables and the machine in Markdown."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    for workload in dict.fromkeys(measured.workload for measured in rows):
        lines += ["", f"## {title(workload)}", "", f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
        here = [measured for measured in rows if measured.workload == workload]
        lines += [f"| {' | '.join(row(measured))} |" for measured in here if not measured.obstacle]
        without = [measured for measured in here if measured.obstacle]
        lines += [""] * bool(without)
        lines += [f"- {measured.contestant}: {measured.obstacle}" for measured in without]
    return "\n".join(lines) + "\n"


def arrow(rows: list[Measured], machine: dict[str, str]) -> pa.Table:
    """Give a row a workload and contestant, with every turn; the machine is the table's metadata."""
    values = [
        {
            "workload": measured.workload.name,
            "dtype": measured.workload.dtype,
            "contestant": measured.contestant,
            "version": measured.version,
            "setting": measured.setting,
            "n_runs": measured.n_runs,
            "steps_a_second": measured.rates,
            "fastbp_steps_a_second": measured.own,
            "peak_multiply_adds_a_second": measured.peaks,
            "multiply_adds_a_step": measured.workload.multiply_adds,
            "target_ratio": target(measured.workload, measured.contestant),
            "target_share": measured.workload.share if measured.contestant == "fastbp" else None,
            "obstacle": measured.obstacle or None,
        }
        for measured in rows
    ]
    return pa.Table.from_pylist(values).replace_schema_metadata(machine)


def write(rows: list[Measured], machine: dict[str, str], folder: Path) -> None:
    """Write ``compare.md`` and ``compare.parquet``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.md").write_text(markdown(rows, machine), encoding="utf-8")
    pq.write_table(arrow(rows, machine), folder / "compare.parquet")

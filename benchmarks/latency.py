"""How long a user waits for a short command: ``python -m benchmarks.latency``.

Whole processes, in turns (A B A B …): the notebook's sweep with nothing compiled yet (an empty cache of its own)
and with its kernels in a cache, its plan, and the help.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import fastbp, processor, spread

NOTEBOOK = str(Path(__file__).parent.parent / "sweeps" / "notebook.toml")


def with_cache(cache: Path, *arguments: str) -> float:
    """Give the seconds of a command whose compiled code is kept in `cache`."""
    return fastbp(*arguments, environment={"NUMBA_CACHE_DIR": str(cache)}).seconds


def sweep(cache: Path) -> float:
    """Give the seconds of the notebook's sweep."""
    with tempfile.TemporaryDirectory() as out:
        return with_cache(cache, "sweep", NOTEBOOK, "--out", out)


def cold_sweep() -> float:
    """Give the seconds of the notebook's sweep where nothing is compiled yet."""
    with tempfile.TemporaryDirectory() as cache:
        return sweep(Path(cache))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        commands: dict[str, Callable[[], float]] = {
            "sweep, cold": cold_sweep,
            "sweep, warm": lambda: sweep(cache),
            "plan": lambda: with_cache(cache, "plan", NOTEBOOK),
            "--help": lambda: with_cache(cache, "--help"),
        }
        sweep(cache)
        turns = [[command() for command in commands.values()] for _ in range(options.turns)]
    table = Table("command", "seconds", title="The notebook: whole processes")
    for command, seconds in zip(commands, zip(*turns, strict=True), strict=True):
        table.add_row(command, spread(seconds))
    Console(width=100).print(table)
    print(f"{processor()}; median (least to most) of {options.turns} turns")


if __name__ == "__main__":
    main()

"""The command line: Typer commands that call the engine and print what it gives.

No logic; the engine, and with it NumPy, Numba and PyArrow, is imported inside the commands.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="fastbp",
    help="Train very many small neural networks at once, from a sweep file to Parquet.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BAD_INPUT = 2
SCHEMA_FILE = "fastbp.schema.json"
INTERRUPTED = 130

SweepFile = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep file (TOML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a parameter of the file; may be repeated."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that train; all processors if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]


class Dtype(StrEnum):
    """What runs may be trained in."""

    float64 = "float64"
    float32 = "float32"


class DataKind(StrEnum):
    """Whether the runs of a shard have the same data."""

    shared = "shared"
    own = "own"


def main() -> None:
    """Run the command line; errors that a user can mend are a line on stderr, not a traceback."""
    app()


@contextmanager
def _mendable_errors() -> Iterator[None]:
    from fastbp.store import StoreError
    from fastbp.sweep import SweepError

    try:
        yield
    except (SweepError, StoreError) as error:
        typer.echo(f"fastbp: {error}" if isinstance(error, StoreError) else str(error), err=True)
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        typer.echo("fastbp: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _collect_garbage() -> None:
    """Look for garbage from here on, but not among what there is by now; see `start`."""
    gc.freeze()
    gc.enable()


def _warn_that_nothing_is_kept() -> None:
    from fastbp.kernels import cache

    if cache.folder() is None and (why := cache.why_not_kept()):
        typer.echo(f"fastbp: {why}; until then every command compiles anew", err=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fastbp {version('fastbp')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train very many small neural networks at once, from a sweep file to Parquet."""


@app.command()
def sweep(
    file: SweepFile,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The result folder; results/<name> if not given.")
    ] = None,
    threads: Threads = None,
    overrides: Overrides = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train all runs of a sweep file and write the result folder."""
    with _mendable_errors():
        from fastbp import engine, report
        from fastbp.plan import Plan
        from fastbp.sweep import load

        planned = Plan(load(file, overrides or ()))
        _warn_that_nothing_is_kept()
        _collect_garbage()
        began = time.perf_counter()
        with _progress(planned.n_runs, shown=not quiet) as advance:
            results = engine.run_plan(planned, out, threads, advance)
        if quiet and not as_json:
            return  # nobody reads the summary, for which all parts are read
        summary = report.summary(results, time.perf_counter() - began)
        typer.echo(json.dumps(summary, indent=1)) if as_json else report.print_summary(results, summary)


@contextmanager
def _progress(n_runs: int, shown: bool) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on stderr, where that is a terminal; give the function that advances it."""
    if not shown or not sys.stderr.isatty():
        yield lambda runs: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs")
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("compiling", total=n_runs)  # at the first sweep; then it is a flash
        yield lambda runs: progress.update(task, advance=runs, description="training")
        progress.update(task, completed=n_runs)


@app.command()
def bench(
    file: SweepFile,
    seconds: Annotated[
        float, typer.Option(min=0.01, help="How long to measure, compiling not counted.")
    ] = 3.0,
    threads: Threads = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast the sweep's own runs train, and the machine's peak. Nothing is written."""
    with _mendable_errors():
        from fastbp import bench as measure
        from fastbp import report
        from fastbp.sweep import load

        loaded = load(file, overrides or ())
        _warn_that_nothing_is_kept()
        _collect_garbage()
        found = measure.bench(loaded, threads, seconds)
        typer.echo(json.dumps(measure.as_values(found), indent=1)) if as_json else report.print_bench(found)


@app.command()
def warmup(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A sweep file: only what that needs.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    dtypes: Annotated[
        list[Dtype] | None, typer.Option("--dtype", help="Only this dtype; may be repeated.")
    ] = None,
    data: Annotated[
        list[DataKind] | None,
        typer.Option("--data", help="Only for data that all runs share, or for data of each run (own)."),
    ] = None,
) -> None:
    """Compile the kernels ahead and keep them; remove what older versions have kept."""
    with _mendable_errors():
        from fastbp import warmup as ahead
        from fastbp.kernels import cache
        from fastbp.plan import Plan
        from fastbp.sweep import load

        if file is None and overrides:
            raise typer.BadParameter("--set changes a sweep FILE; name one")
        if why := cache.why_not_kept():
            typer.echo(f"fastbp: {why}", err=True)
            raise typer.Exit(BAD_INPUT)
        needed = ahead.variants_of(Plan(load(file, overrides or ()))) if file else ahead.all_variants()
        for outcome in ahead.warm_up(ahead.restricted(needed, dtypes or (), data or ())):
            how = f"compiled in {outcome.seconds:.1f} s" if outcome.compiled else "was there already"
            typer.echo(f"{outcome.variant!s:<50}{how}")
        if removed := cache.remove_stale():
            typer.echo(f"removed the code of {removed} other version{'s' if removed > 1 else ''}")
        typer.echo(f"kept in {cache.folder()}")


@app.command()
def plan(file: SweepFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what a sweep would do: runs, groups, shards, bytes, time. Nothing is run."""
    with _mendable_errors():
        from fastbp import report
        from fastbp.sweep import load

        loaded = load(file, overrides or ())
        outline = report.outline(loaded)
        typer.echo(json.dumps(outline, indent=1)) if as_json else report.print_outline(outline)


@app.command()
def check(file: SweepFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Compare the gradients of the sweep's own runs with finite differences; exit 1 above the bound."""
    with _mendable_errors():
        from fastbp import report
        from fastbp.check import check as compare
        from fastbp.sweep import load

        _warn_that_nothing_is_kept()
        _collect_garbage()
        comparisons = compare(load(file, overrides or ()))
        if as_json:
            typer.echo(json.dumps([report.comparison_values(c) for c in comparisons], indent=1))
        else:
            report.print_comparisons(comparisons)
        if not (all(c.passed for c in comparisons) and any(c.n_compared for c in comparisons)):
            raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON schema of the sweep file."""
    from fastbp.sweep import schema as sweep_schema

    typer.echo(_json_schema(sweep_schema()))


def _json_schema(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


@contextmanager
def _removed_on_error(file: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.unlink()
        raise


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
) -> None:
    """Write a commented sweep file that runs as it is, and the JSON schema for editors beside it."""
    from fastbp.sweep import schema as sweep_schema
    from fastbp.sweep import starter

    schema_file = file.parent / SCHEMA_FILE
    if file.name == SCHEMA_FILE:
        typer.echo(f"fastbp: {file}: is the name of the schema beside it; choose another", err=True)
        raise typer.Exit(BAD_INPUT)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(starter())
        with _removed_on_error(file):
            schema_file.write_text(_json_schema(sweep_schema()) + "\n", encoding="utf-8")
    except FileExistsError:
        typer.echo(f"fastbp: {file}: exists already; choose another name or remove it", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except OSError as error:
        typer.echo(f"fastbp: {error.filename}: cannot be written: {error.strerror}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    typer.echo(f"wrote {file} and {schema_file}; run it with: fastbp sweep {file}")

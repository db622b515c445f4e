"""The result folder, read side. May import ``store``, PyArrow and, where they are installed, pandas and Polars."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fastbp.store import StoreError, read_manifest


class Results:
    """A result folder, opened for reading.

    Parameters
    ----------
    folder : Path or str

    Raises
    ------
    StoreError
        If it is no result folder, or a table that is asked for was not recorded.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(self.folder)

    def __repr__(self) -> str:
        state = "" if self.manifest["complete"] else ", not complete"
        return f"Results({str(self.folder)!r}: {self.manifest['runs']} runs{state})"

    def parts(self, name: str) -> list[Path]:
        """Give the Parquet files of a table in order."""
        if name not in self.manifest["tables"]:
            tables = ", ".join(self.manifest["tables"])
            raise StoreError(f"{self.folder}: has no table {name!r}; it has {tables}")
        parts = sorted(
            (self.folder / name).glob("part-*.parquet"), key=lambda part: (len(part.name), part.name)
        )
        if not parts:
            raise StoreError(f"{self.folder}: table {name!r} has no part yet; run the sweep again")
        return parts

    def table(self, name: str) -> pa.Table:
        """Give a table by its name, in the order of the parts."""
        return pa.concat_tables(read_part(part) for part in self.parts(name))

    def runs(self) -> pa.Table:
        """Give a row a run: id, swept parameters, status, steps and metrics."""
        return self.table("runs")

    def history(self) -> pa.Table:
        """Give a row a run and step: run, step, loss."""
        return self.table("history")

    def parameters(self) -> pa.Table:
        """Give a row a run, step and weight: its value before the step, and the gradient there."""
        return self.table("parameters")

    def activations(self) -> pa.Table:
        """Give a row a run, step, sample and unit: net, output and delta."""
        return self.table("activations")

    def weights(self) -> pa.Table:
        """Give a row a run: the list of its final parameters."""
        return self.table("weights")

    def to_pandas(self, name: str = "runs"):
        """Give a table as a pandas DataFrame; needs pandas."""
        return self.table(name).to_pandas()

    def to_polars(self, name: str = "runs"):
        """Give a table as a Polars DataFrame; needs Polars."""
        import polars

        return polars.from_arrow(self.table(name))


def read_part(part: Path, columns: list[str] | None = None) -> pa.Table:
    """Give a Parquet file, or some of its columns, as a table."""
    try:
        return pq.ParquetFile(part).read(columns)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{part}: cannot be read: {error}; run the sweep again") from error


def least_run(part: Path) -> int:
    """Give the least id in a Parquet file, by its statistics; -1 where it has none."""
    try:
        metadata = pq.read_metadata(part)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{part}: cannot be read: {error}; run the sweep again") from error
    column = metadata.schema.names.index("run")
    found = [metadata.row_group(k).column(column).statistics for k in range(metadata.num_row_groups)]
    return min((-1 if each is None or each.min is None else each.min for each in found), default=-1)


def column_names(part: Path) -> list[str]:
    """Give the names of the columns of a Parquet file."""
    try:
        return list(pq.read_schema(part).names)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{part}: cannot be read: {error}; run the sweep again") from error


def open_results(folder: Path | str) -> Results:
    """Open a result folder for reading; see `Results`."""
    return Results(folder)

"""Files of data: CSV, Parquet and NPZ to arrays, every fault with its column and row.

A file is read whole, once. Pickles are never loaded. What is wrong is a `RefusedError` whose path is the key of
[data] that is meant: ``("file",)``, ``("inputs", 0)`` ... May import `fastbp.sweep`, NumPy and, only inside
functions, PyArrow.
"""

import codecs
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.sweep.values import RefusedError, nearest, quoted, raise_all

MOST_NAMES = 12  # of columns, in a message
NOT_UTF_8 = "is not UTF-8; save the file as UTF-8"


class Table(NamedTuple):
    """What a file holds: x, float64 (n_samples, n_inputs), y, float64 (n_samples, n_targets).

    `classes` are the texts of a single column of texts, sorted; y then holds the place of each in them.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] = ()


class Columns(NamedTuple):
    """The columns of a file by their names; `read` gives one as it is, or several where it is a 2-D array."""

    names: list[str]
    read: Callable[[str], np.ndarray]
    noun: str = "column"


def read_file(path: Path, inputs: Sequence[str] | None, targets: Sequence[str] | None) -> Table:
    """Read the inputs and the targets of a file.

    Parameters
    ----------
    path : Path
        Ends in .csv, .parquet or .npz.
    inputs, targets : sequence of str, optional
        Names of columns; of arrays for .npz, there ``x`` and ``y`` where none are given. Without `inputs`, all
        columns but the targets.

    Raises
    ------
    RefusedError
        If the file is not there, cannot be read, lacks a column, or holds what is no number.
    """
    kind = path.suffix.lower()
    with _readable(path):
        columns = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}[kind](path)
        if kind == ".npz":
            inputs, targets = inputs or ("x",), targets or ("y",)
        targets = targets or ()
        inputs = inputs or [name for name in columns.names if name not in targets]
        _refuse_missing(columns, inputs, targets)
        x = _side_by_side([_numbers(columns, name, ("inputs", k)) for k, name in enumerate(inputs)])
        y, classes = _targets(columns, targets)
        if x is None:
            raise RefusedError("has no column besides the targets; name the inputs", "targets")
        if len(x) != len(y):
            raise RefusedError(f"inputs have {len(x)} rows but targets {len(y)}; they must have as many")
    return Table(x, y, classes)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the readers raise into a refusal that names the file."""
    try:
        yield
    except RefusedError as refusal:
        parts = [RefusedError(f"{path.name}: {part}", *(part.path or ("file",))) for part in refusal.all]
        raise_all(parts)
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.glob("*") if other.suffix == path.suffix)
        message = f"cannot be read: there is no file {path}{nearest(path.name, beside)}"
        raise RefusedError(message, "file") from None
    except UnicodeDecodeError:
        raise RefusedError(f"{path.name}: {NOT_UTF_8}", "file") from None
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror or error}", "file") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        # Only the first line: PyArrow's messages go on with hints for programmers.
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        message = f"{path} cannot be read as {path.suffix.lower()[1:].upper()}: {reason}"
        raise RefusedError(message, "file") from None


def _csv(path: Path) -> Columns:
    """Open a CSV file: commas, a header, UTF-8."""
    import pyarrow.csv as csv

    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append(row)
        return "skip"

    with path.open("rb") as stream:  # PyArrow's own messages of files that are not there are long
        start = stream.read(2)
    if not start:
        raise RefusedError("is empty")
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise RefusedError(NOT_UTF_8)
    # In one thread: only then does PyArrow know the number of a row that is too long or too short.
    options = csv.ReadOptions(use_threads=False)
    table = csv.read_csv(path, options, csv.ParseOptions(invalid_row_handler=note))
    if ragged:
        row = ragged[0]
        where = f"row {row.number - 2} (counting from 0)"  # PyArrow's first row is the header
        raise RefusedError(f"{where} has {row.actual_columns} values but the header {row.expected_columns}")
    if len(table.column_names) == 1 and any(mark in table.column_names[0] for mark in ";\t|"):
        message = f"has one column, {quoted(table.column_names[0])}; separate the columns by commas"
        raise RefusedError(message)
    return _of_arrow(table)


def _parquet(path: Path) -> Columns:
    """Open a Parquet file."""
    import pyarrow.parquet as parquet

    with path.open("rb") as stream:
        if not stream.read(1):
            raise RefusedError("is empty")
        return _of_arrow(parquet.ParquetFile(stream).read())


def _of_arrow(table: Any) -> Columns:
    import pyarrow as pa

    def read(name: str) -> np.ndarray:
        column, kind = table.column(name), table.schema.field(name).type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise RefusedError(f"column {quoted(name)}, row {row} (counting from 0) is empty")
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return np.array(column.to_pylist(), np.str_)
        elif pa.types.is_binary(kind):
            raise RefusedError(f"column {quoted(name)} {NOT_UTF_8}")
        elif not any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)):
            raise RefusedError(f"column {quoted(name)} is of type {kind}; it must hold numbers")
        return np.asarray(column.to_numpy())

    if not table.num_rows:
        raise RefusedError("has no rows")
    return Columns(table.column_names, read)


def _npz(path: Path) -> Columns:
    """Open an NPZ archive; arrays of objects, which would need a pickle, are refused."""
    # From memory: what the archive had open would otherwise be closed at some time only.
    stream = io.BytesIO(path.read_bytes())
    if not zipfile.is_zipfile(stream):
        raise RefusedError("is no NPZ archive, or not a whole one; save it with numpy.savez")
    archive = np.load(stream, allow_pickle=False)

    def read(name: str) -> np.ndarray:
        try:
            array = np.asarray(archive[name])
        except ValueError as error:
            advice = "save numbers or texts" if "pickle" in str(error) else "save it again"
            raise RefusedError(f"array {quoted(name)} cannot be read without a pickle; {advice}") from None
        if array.ndim not in (1, 2):
            raise RefusedError(f"array {quoted(name)} has {array.ndim} dimensions; it must have 1 or 2")
        if array.dtype.kind not in "biufU":
            raise RefusedError(f"array {quoted(name)} is of type {array.dtype}; it must hold numbers")
        if not array.size:
            raise RefusedError(f"array {quoted(name)} is empty")
        return array

    return Columns(list(archive.files), read, "array")


def _refuse_missing(columns: Columns, inputs: Sequence[str], targets: Sequence[str]) -> None:
    """Refuse every name that the file does not have, or has twice."""
    more = ", ..." if len(columns.names) > MOST_NAMES else ""
    known = ", ".join(columns.names[:MOST_NAMES]) + more
    refusals = []
    for key, names in (("inputs", inputs), ("targets", targets)):
        for place, name in enumerate(names):
            count = columns.names.count(name)
            if count > 1:
                message = f"has {count} columns {quoted(name)}; rename them"
                refusals.append(RefusedError(message, key, place))
            elif not count:
                hint = nearest(name, columns.names)
                message = f"has no {columns.noun} {quoted(name)}{hint}; it has {known}"
                refusals.append(RefusedError(message, key, place))
    raise_all(refusals)


def _numbers(columns: Columns, name: str, keys: tuple[str | int, ...]) -> np.ndarray:
    """Give a column, or the columns of a 2-D array, as float64 (n_samples, n)."""
    values = _read(columns, name, keys)
    if values.dtype.kind == "U":
        row = next((row for row, text in enumerate(values.reshape(-1)) if not _is_number(text)), 0)
        text = quoted(str(values.reshape(-1)[row]))
        where = f"{columns.noun} {quoted(name)}, row {row} (counting from 0)"
        message = f"{where} must be a number, not the text {text}"
        raise RefusedError(message, *keys)
    values = values.astype(np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values).all(axis=1)))
        found = values[row][~np.isfinite(values[row])][0]
        message = (
            f"{columns.noun} {quoted(name)}, row {row} (counting from 0) must be a finite number, not {found}"
        )
        raise RefusedError(message, *keys)
    return values


def _read(columns: Columns, name: str, keys: tuple[str | int, ...]) -> np.ndarray:
    try:
        return columns.read(name)
    except RefusedError as refusal:
        raise RefusedError(str(refusal), *keys) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _targets(columns: Columns, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give y; a single column of texts becomes the numbers of its classes."""
    if len(names) == 1:
        values = _read(columns, names[0], ("targets", 0))
        # Among numbers a text is a slip, and no class.
        if values.dtype.kind == "U" and values.ndim == 1 and 2 * sum(map(_is_number, values)) <= len(values):
            if not values.all():
                row = int(np.argmin(values.astype(bool)))
                message = f"{columns.noun} {quoted(names[0])}, row {row} (counting from 0) is empty"
                raise RefusedError(message, "targets", 0)
            classes, places = np.unique(values, return_inverse=True)
            return places.astype(np.float64)[:, None], tuple(classes.tolist())
    parts = [_numbers(columns, name, ("targets", place)) for place, name in enumerate(names)]
    return _side_by_side(parts), ()


def _side_by_side(parts: Sequence[np.ndarray]) -> Any:
    """Join columns; None without any."""
    lengths = sorted({len(part) for part in parts})
    if len(lengths) > 1:
        raise RefusedError(f"has arrays of {lengths[0]} and of {lengths[-1]} rows; they must have as many")
    return np.concatenate(parts, axis=1) if parts else None

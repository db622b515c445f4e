"""The result folder, write side: one atomic part a shard and table, the manifest, the sweep file.

May import ``tables``, ``plan``, ``sweep``, PyArrow and the standard library.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from fastbp.plan import Plan, Shard
from fastbp.sweep import Sweep

FORMAT = 1
LOCK = ".lock"
TABLES = ("runs", "history", "parameters", "activations", "weights")
MANIFEST_KINDS = {"sweep": str, "fingerprint": str, "runs": int, "tables": list, "complete": bool}
DICTIONARY_VALUES = 2**15  # of a longer axis, most of a part's values stand in it once
BATCH_ROWS = 2**14  # that PyArrow encodes at once; of its 1024 a twentieth of the time is overhead
MANIFEST, SWEEP_FILE = "manifest.json", "sweep.toml"


class StoreError(Exception):
    """A result folder that cannot be used, with what to do about it."""


class Store:
    """A result folder that is being filled.

    Parameters
    ----------
    folder : Path
        Made if need be; a folder of the same sweep is filled anew, part by part.
    plan : Plan

    Raises
    ------
    StoreError
        If the folder holds something else, or cannot be written.
    """

    def __init__(self, folder: Path, plan: Plan):
        self.folder, self.plan = folder, plan
        self.shards: list[dict[str, Any]] = []
        self.started = datetime.now(UTC)
        self.fingerprint = plan.fingerprint
        refuse_other_contents(folder, self.fingerprint)
        with _readable_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.lock = filelock.FileLock(folder / LOCK)
            try:
                self.lock.acquire(blocking=False)
            except filelock.Timeout:
                raise StoreError(f"{folder}: another fastbp is writing here; wait for it to end") from None
        try:
            self._begin()
        except BaseException:
            self.lock.release()
            raise

    def _begin(self) -> None:
        # Once more, now that nobody else can write: another sweep may have ended meanwhile.
        refuse_other_contents(self.folder, self.fingerprint)
        with _readable_errors(self.folder):
            for leftover in self.folder.glob(".*.partial"):
                leftover.unlink()
            # The manifest first: it says whose folder this is, should we be killed right after it.
            self._write_manifest(complete=False)
            self._write_text(SWEEP_FILE, self.plan.sweep.text)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error) -> None:
        # The file stays: who removed it could take the lock away from one who has just opened it.
        self.lock.release()

    def write(self, shard: Shard, tables: Mapping[str, pa.Table]) -> None:
        """Write the part of each table, each under its final name only when it is whole and on disk."""
        with _readable_errors(self.folder):
            for name, table in tables.items():
                self._write_part(name, f"part-{shard.number:05d}.parquet", table)
        self.shards.append({"shard": shard.number, "runs": shard.n_runs})

    def finish(self) -> None:
        """Mark the folder as complete."""
        with _readable_errors(self.folder):
            self._remove_surplus()
            self._write_manifest(complete=True)

    def _remove_surplus(self) -> None:
        """Remove parts that an earlier fastbp cut differently."""
        mine = {f"part-{shard['shard']:05d}.parquet" for shard in self.shards}
        for name in TABLES:
            for part in (self.folder / name).glob("part-*.parquet"):
                if part.name not in mine:
                    part.unlink()

    def _write_part(self, name: str, part: str, table: pa.Table) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        partial = self.folder / f".{name}-{part}.partial"
        encodings = {field.name: self._encoding(field) for field in table.schema}
        try:
            pq.write_table(
                table,
                partial,
                compression="zstd",
                compression_level=1,
                use_dictionary=[column for column, encoding in encodings.items() if encoding is None],
                column_encoding={column: encoding for column, encoding in encodings.items() if encoding},
                write_batch_size=BATCH_ROWS,
            )
            _sync(partial)
            partial.replace(self.folder / name / part)
            _sync(self.folder / name)
        finally:
            partial.unlink(missing_ok=True)

    def _encoding(self, field: pa.Field) -> str | None:
        """Give the encoding that makes a column small and is quick to make; None for a dictionary."""
        if len(self.plan.domains.get(field.name, ())) > DICTIONARY_VALUES or field.name == "run":
            if pa.types.is_integer(field.type):
                return "DELTA_BINARY_PACKED"  # every number is new, most are the next one
        elif field.name in self.plan.domains:
            return None
        return "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else None

    def _write_manifest(self, complete: bool) -> None:
        sweep = self.plan.sweep
        manifest = {
            "format": FORMAT,
            "fastbp": metadata.version("fastbp"),
            "sweep": sweep.name,
            "fingerprint": self.fingerprint,
            "runs": self.plan.n_runs,
            "tables": [name for name in TABLES if name in _recorded(sweep)],
            "machine": {
                "system": platform.system(),
                "processor": platform.machine(),
                "python": platform.python_version(),
                **{package: metadata.version(package) for package in ("numba", "numpy", "pyarrow")},
            },
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - self.started).total_seconds(), 3),
            "shards": sorted(self.shards, key=lambda shard: shard["shard"]),
            "complete": complete,
        }
        self._write_text(MANIFEST, json.dumps(manifest, indent=1) + "\n")

    def _write_text(self, name: str, text: str) -> None:
        partial = self.folder / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        _sync(partial)
        partial.replace(self.folder / name)


def _recorded(sweep: Sweep) -> list[str]:
    record = sweep.record
    trace = ["parameters", "activations"] * record.trace
    history = bool(record.history or record.history_every or record.history_log)
    return ["runs", *["history"] * history, *trace, *["weights"] * record.weights]


def refuse_other_contents(folder: Path, fingerprint: str) -> None:
    """Raise `StoreError` where `folder` holds anything but results of the sweep with this fingerprint."""
    advice = "choose another folder with --out, or remove it"
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise StoreError(f"{str(folder)!r}: is not UTF-8; {advice}") from None
    with _readable_errors(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise StoreError(f"{folder}: is no folder; {advice}")
        contents = [
            path for path in folder.iterdir() if path.name != LOCK and not path.name.endswith(".partial")
        ]
        if not contents:
            return
        if not (folder / MANIFEST).exists():
            raise StoreError(f"{folder}: holds files but no results of fastbp; {advice}")
        found = read_manifest(folder)["fingerprint"]
    if found != fingerprint:
        raise StoreError(
            f"{folder}: holds the results of another sweep ({SWEEP_FILE} in it says which); {advice}"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Give the manifest of a result folder.

    Raises
    ------
    StoreError
        If there is none, or it is not one that this version reads.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] == FORMAT:
            if all(isinstance(manifest[name], kind) for name, kind in MANIFEST_KINDS.items()):
                return manifest
            raise TypeError
        problem = f"is of a format that this version of fastbp does not read ({manifest['format']})"
    except FileNotFoundError:
        problem = f"is no result folder: it has no {MANIFEST}"
    except (ValueError, KeyError, TypeError):
        problem = f"has a {MANIFEST} that is not whole; run the sweep again into another folder"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise StoreError(f"{folder}: {problem}")


@contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors into a `StoreError` that names the file."""
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        raise StoreError(f"{place}: cannot be written: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    """Have the file, or the entries of the folder, on disk before going on."""
    with suppress(PermissionError):  # a folder cannot be opened on Windows
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

import json
import os
import re
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastbp
from fastbp import plan as plan_module
from fastbp import store as store_module
from fastbp.plan import Plan
from fastbp.results import Results
from fastbp.store import Store, StoreError, read_manifest, refuse_other_contents
from fastbp.sweep import loads

TEXT = """\
name = "stored"
# This comment stays.

[network]
layers = [1, 1]

[init.a]
W1 = [[0.5]]
b1 = [0.25]

[data]
x = [[1], [2]]
y = [[0], [1]]

[training]
learning_rate = 0.5
steps = 2

[record]
history = true

[[grid]]
learning_rate = { linspace = [0, 1, 40] }
"""
ALL = ("runs", "history", "parameters", "activations", "weights")


@pytest.fixture
def sweep():
    return loads(TEXT)


@pytest.fixture
def plan(sweep, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_RUNS", 32)  # so that there are two shards
    return Plan(sweep)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


def tables_of(shard, value=0.0):
    runs = pa.array(range(shard.start, shard.stop), pa.int64())
    losses = pa.array([value] * shard.n_runs, pa.float64())
    return {
        "runs": pa.table({"run": runs, "loss_last": losses}),
        "history": pa.table({"run": runs, "step": runs, "loss": losses}),
    }


def fill(folder, plan, value=0.0):
    store = Store(folder, plan)
    for shard in plan.shards():
        store.write(shard, tables_of(shard, value))
    store.finish()
    return store


def listing(folder):
    files = (path for path in folder.rglob("*") if not path.is_dir() and path.name != ".lock")
    return sorted(str(path.relative_to(folder)) for path in files)


WHOLE = [
    "history/part-00000.parquet",
    "history/part-00001.parquet",
    "manifest.json",
    "runs/part-00000.parquet",
    "runs/part-00001.parquet",
    "sweep.toml",
]


def test_a_full_folder(folder, plan):
    fill(folder, plan)
    assert listing(folder) == WHOLE
    found = pa.concat_tables(pq.read_table(part) for part in sorted((folder / "runs").iterdir()))
    assert found["run"].to_pylist() == list(range(40))
    assert (folder / "sweep.toml").read_text() == TEXT


def test_parts_are_named_after_their_shard_whatever_the_order(folder, plan):
    store = Store(folder, plan)
    for shard in reversed(list(plan.shards())):
        store.write(shard, tables_of(shard))
    store.finish()
    assert pq.read_table(folder / "runs" / "part-00001.parquet")["run"].to_pylist() == list(range(32, 40))
    assert [shard["shard"] for shard in read_manifest(folder)["shards"]] == [0, 1]


def test_parts_are_compressed(folder, plan):
    fill(folder, plan)
    group = pq.ParquetFile(folder / "runs" / "part-00000.parquet").metadata.row_group(0)
    assert {group.column(k).compression for k in range(group.num_columns)} == {"ZSTD"}


# The manifest.


def test_the_manifest_says_what_was_run(folder, plan, sweep):
    fill(folder, plan)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == read_manifest(folder)
    assert manifest["format"] == 1
    assert manifest["fastbp"] == version("fastbp")
    assert manifest["sweep"] == "stored"
    assert manifest["fingerprint"] == sweep.fingerprint()
    assert manifest["runs"] == 40
    assert manifest["tables"] == ["runs", "history"]
    assert manifest["shards"] == [{"shard": 0, "runs": 32}, {"shard": 1, "runs": 8}]
    assert {"numba", "numpy", "pyarrow", "python", "system", "processor"} <= set(manifest["machine"])
    assert datetime.fromisoformat(manifest["started"]).tzinfo is not None
    assert manifest["seconds"] >= 0


def test_the_manifest_is_complete_at_the_end_alone(folder, plan):
    store = Store(folder, plan)
    assert read_manifest(folder)["complete"] is False
    for shard in plan.shards():
        store.write(shard, tables_of(shard))
        assert read_manifest(folder)["complete"] is False
    store.finish()
    assert read_manifest(folder)["complete"] is True


@pytest.mark.parametrize(
    ("record", "tables"),
    [
        ("", ["runs"]),
        ("history = true", ["runs", "history"]),
        ("trace = true", ["runs", "parameters", "activations"]),
        ("weights = true", ["runs", "weights"]),
        ("weights = true\ntrace = true\nhistory = true", list(ALL)),
    ],
)
def test_the_manifest_names_the_recorded_tables(folder, record, tables):
    Store(folder, Plan(loads(TEXT.replace("history = true", record))))
    assert read_manifest(folder)["tables"] == tables


def test_a_sweep_that_starts_again_is_not_complete(folder, plan):
    fill(folder, plan)
    Store(folder, plan)
    assert read_manifest(folder)["complete"] is False
    assert "not complete" in repr(Results(folder))


def edited(folder, plan, change):
    Store(folder, plan)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(change(manifest)))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[1, 2]", b"null", b"3", b'"text"', b"{}", b"\xff\xfe\x00", b'{"fingerprint": ""}'],
)
def test_a_broken_manifest_is_refused_by_name(folder, plan, sweep, content):
    Store(folder, plan)
    (folder / "manifest.json").write_bytes(content)
    for use in (
        read_manifest,
        Results,
        lambda _: refuse_other_contents(folder, sweep.fingerprint()),
        lambda _: Store(folder, plan),
    ):
        with pytest.raises(StoreError, match=r"manifest\.json that is not whole") as caught:
            use(folder)
        assert str(folder) in str(caught.value)
    assert (folder / "manifest.json").read_bytes() == content


def test_a_manifest_that_was_cut_off_is_refused(folder, plan):
    Store(folder, plan)
    whole = (folder / "manifest.json").read_text()
    for length in (1, len(whole) // 2, len(whole) - 3):
        (folder / "manifest.json").write_text(whole[:length])
        with pytest.raises(StoreError, match="not whole"):
            read_manifest(folder)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused(folder, plan, number):
    edited(folder, plan, lambda manifest: manifest | {"format": number})
    with pytest.raises(StoreError, match=f"of a format that .* does not read .*{number}"):
        read_manifest(folder)


@pytest.mark.parametrize("key", ["format", "fingerprint", "runs", "tables", "complete"])
def test_a_manifest_without_a_key_is_refused(folder, plan, key):
    edited(folder, plan, lambda manifest: {name: value for name, value in manifest.items() if name != key})
    with pytest.raises(StoreError, match=f"^{re.escape(str(folder))}: "):
        read_manifest(folder)


def test_a_manifest_that_lacks_a_key_is_not_of_another_format(folder, plan):
    edited(folder, plan, lambda manifest: {name: value for name, value in manifest.items() if name != "runs"})
    with pytest.raises(StoreError, match="not whole"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["nowhere", "empty", "file", "file/below"])
def test_what_is_no_result_folder_cannot_be_opened(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"no result folder|cannot be read") as caught:
        Results(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_table_without_parts_says_so(folder, plan):
    Store(folder, plan)
    with pytest.raises(StoreError, match="'runs' has no part yet"):
        Results(folder).runs()


# What is in the way.


def test_an_empty_folder_and_a_missing_one_are_filled(tmp_path, plan):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "deep/er/still"):
        fill(tmp_path / name, plan)
        assert listing(tmp_path / name) == WHOLE


def test_the_same_sweep_fills_its_folder_again(folder, plan):
    fill(folder, plan, 1.0)
    # Its text may differ.
    again = Plan(loads(TEXT.replace("# This comment stays.", "").replace("steps = 2", "steps     = 2")))
    fill(folder, again, 2.0)
    assert listing(folder) == WHOLE
    assert set(Results(folder).runs()["loss_last"].to_pylist()) == {2.0}


def test_the_same_sweep_gives_the_same_bytes(folder, tmp_path):
    first, again = fastbp.run(loads(TEXT), folder), None
    before = {name: (folder / name).read_bytes() for name in listing(folder) if name.endswith("parquet")}
    again = fastbp.run(loads(TEXT), folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert again.runs().equals(first.runs())
    assert len(before) == 2


def test_parts_of_another_cut_are_removed(folder, sweep, plan, monkeypatch):
    fill(folder, plan)
    monkeypatch.setattr(plan_module, "SHARD_RUNS", 1000)
    fill(folder, Plan(sweep))
    assert listing(folder / "runs") == listing(folder / "history") == ["part-00000.parquet"]
    assert Results(folder).runs()["run"].to_pylist() == list(range(40))


@pytest.mark.parametrize(
    "change",
    [("steps = 2", "steps = 3"), ("0.25", "0.26"), ("history = true", "weights = true"), ("40", "41")],
)
def test_the_folder_of_another_sweep_is_refused(folder, plan, change):
    fill(folder, plan, 1.0)
    before = {name: (folder / name).read_bytes() for name in listing(folder)}
    other = loads(TEXT.replace(*change))
    for use in (lambda: Store(folder, Plan(other)), lambda: fastbp.run(other, folder)):
        with pytest.raises(StoreError, match=r"results of another sweep.*--out") as caught:
            use()
        assert str(folder) in str(caught.value)
    assert {name: (folder / name).read_bytes() for name in listing(folder)} == before


@pytest.mark.parametrize("foreign", ["notes.txt", ".hidden", "sweep.toml", "runs/part-00000.parquet"])
def test_a_folder_with_foreign_files_is_refused(folder, plan, foreign):
    path = folder / foreign
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(StoreError, match=r"holds files but no results.*--out") as caught:
        Store(folder, plan)
    assert str(folder) in str(caught.value)
    assert listing(folder) == [foreign]
    assert path.read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused(folder, plan):
    folder.write_text("mine")
    with pytest.raises(StoreError, match="is no folder") as caught:
        Store(folder, plan)
    assert str(folder) in str(caught.value)
    assert folder.read_text() == "mine"


def test_a_folder_below_a_file_cannot_be_written(tmp_path, plan):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        Store(tmp_path / "file" / "results", plan)
    assert str(tmp_path / "file" / "results") in str(caught.value)
    assert listing(tmp_path) == ["file"]


def test_a_folder_that_may_not_be_written_is_named(folder, plan, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="cannot be written: Permission denied") as caught:
        Store(folder, plan)
    assert str(folder) in str(caught.value)
    assert isinstance(caught.value.__cause__, PermissionError)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_named(folder, plan):
    folder.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be written: Permission denied") as caught:
        Store(folder, plan)
    assert str(folder) in str(caught.value)


# Writing that fails.


def full_disk(*arguments, **options):
    raise OSError(28, "No space left on device")


def write_half(table, path, **options):
    Path(path).write_bytes(b"PAR1 and no more")
    raise OSError(28, "No space left on device", str(path))


FAILURES = {
    "while the part is written": (store_module.pq, "write_table", write_half),
    "while it is synced": (store_module.os, "fsync", full_disk),
    "while it gets its name": (Path, "replace", full_disk),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_part_that_fails_is_not_there(folder, plan, monkeypatch, failure):
    store, (first, second) = Store(folder, plan), plan.shards()
    store.write(first, tables_of(first))
    before = listing(folder)
    monkeypatch.setattr(*FAILURES[failure])
    with pytest.raises(StoreError, match="cannot be written: No space left on device") as caught:
        store.write(second, tables_of(second))
    assert str(folder) in str(caught.value)
    monkeypatch.undo()
    assert listing(folder) == before
    assert read_manifest(folder)["complete"] is False
    assert Results(folder).runs()["run"].to_pylist() == list(range(32))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_part_that_fails_leaves_the_old_one(folder, plan, monkeypatch, failure):
    fill(folder, plan, 1.0)
    store, shard = Store(folder, plan), next(plan.shards())
    monkeypatch.setattr(*FAILURES[failure])
    with pytest.raises(StoreError):
        store.write(shard, tables_of(shard, 2.0))
    monkeypatch.undo()
    assert listing(folder) == WHOLE
    assert set(Results(folder).runs()["loss_last"].to_pylist()) == {1.0}


def test_a_second_store_is_refused_while_the_first_is_open(folder, plan):
    with Store(folder, plan) as store:
        with pytest.raises(StoreError, match="another fastbp is writing here"):
            Store(folder, plan)
        for shard in plan.shards():
            store.write(shard, tables_of(shard))
        store.finish()
    fill(folder, plan)
    assert listing(folder) == WHOLE


def test_a_folder_is_looked_at_again_under_the_lock(folder, plan, monkeypatch):
    acquire = store_module.filelock.FileLock.acquire

    def acquire_late(self, *args, **options):
        # Meanwhile another sweep has filled the folder and gone.
        (folder / "manifest.json").write_text('{"format": 1}')
        return acquire(self, *args, **options)

    monkeypatch.setattr(store_module.filelock.FileLock, "acquire", acquire_late)
    with pytest.raises(StoreError, match="not whole"):
        Store(folder, plan)
    monkeypatch.undo()
    (folder / "manifest.json").unlink()
    Store(folder, plan)  # the lock was given back


def test_a_folder_whose_name_is_not_utf_8(tmp_path, plan):
    with pytest.raises(StoreError, match="is not UTF-8"):
        Store(tmp_path / "q\udcff", plan)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_in_the_middle_of_a_part_leaves_none(folder, plan, monkeypatch):
    def interrupted(table, path, **options):
        Path(path).write_bytes(b"PAR1")
        raise KeyboardInterrupt

    store, shard = Store(folder, plan), next(plan.shards())
    monkeypatch.setattr(store_module.pq, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(shard, tables_of(shard))
    assert listing(folder) == ["manifest.json", "sweep.toml"]


def test_a_part_is_whole_and_synced_before_it_has_its_name(folder, plan, monkeypatch):
    store, shard, events = Store(folder, plan), next(plan.shards()), []
    replace, fsync = Path.replace, os.fsync

    def synced(descriptor):
        events.append("sync")
        fsync(descriptor)

    def renamed(path, target):
        assert pq.read_table(path).num_rows == 32
        assert path.parent == folder  # not in the folder of parts, where readers look
        events.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(store_module.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    store.write(shard, {"runs": tables_of(shard)["runs"]})
    assert events == ["sync", "part-00000.parquet", "sync"]


def test_a_manifest_that_fails_leaves_the_old_one(folder, plan, monkeypatch):
    store = Store(folder, plan)
    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        store.finish()
    monkeypatch.undo()
    assert read_manifest(folder)["complete"] is False


def test_what_a_killed_process_left_is_cleared(folder, plan):
    fill(folder, plan)
    (folder / ".runs-part-00009.parquet.partial").write_bytes(b"PAR1")
    fill(folder, plan)
    assert listing(folder) == WHOLE


def test_what_a_process_left_that_was_killed_at_once_is_cleared(folder, plan):
    folder.mkdir()
    (folder / ".manifest.json.partial").write_text("{")
    fill(folder, plan)
    assert listing(folder) == WHOLE


def test_a_process_killed_before_its_first_manifest_is_not_in_the_way(folder, plan, monkeypatch):
    # sweep.toml is there already, the manifest not yet.
    monkeypatch.setattr(Store, "_write_manifest", lambda self, complete: full_disk())
    with pytest.raises(StoreError):
        Store(folder, plan)
    monkeypatch.undo()
    assert not (folder / "manifest.json").exists()
    fill(folder, plan)
    assert read_manifest(folder)["complete"] is True


def test_all_folders_of_parts_hold_parquet_alone(folder):
    text = TEXT.replace("history = true", "history = true\ntrace = true\nweights = true")
    fastbp.run(loads(text), folder)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(ALL)
    for name in ALL:
        parts = list((folder / name).iterdir())
        assert len(parts) == 1
        assert all(part.suffix == ".parquet" and pq.read_table(part).num_rows for part in parts)

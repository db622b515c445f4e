"""The data of the runs: classes, the split, standardising, and how runs share them."""

import collections
import pickle
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps_of_data import FIRST, SET, XY, arrays, sweep_of, text, values_of, write_flowers

import fastbp
from fastbp import data as data_module
from fastbp import plan as plan_module
from fastbp.batches import run_data
from fastbp.data import load_data, split, standardised
from fastbp.datasets import DATASETS
from fastbp.plan import Plan
from fastbp.store import Store, StoreError
from fastbp.sweep import DATA_PARAMETERS, SweepError, dumps, loads
from fastbp.sweep.extent import Labels, is_one_hot, labels_of


@pytest.fixture
def flowers(tmp_path):
    return write_flowers(tmp_path)


# Classes


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 2, 1], Labels(3, last=1)),
        ([0.0], Labels(1)),
        ([1, -1], Labels(0, problem="class -1 in row 1 (counting from 0) is below 0")),
        ([1, 0.5], Labels(0, whole=False, problem="class 0.5 in row 1 (counting from 0) is no whole number")),
        ([0, 1e6, -1], Labels(0, problem="class 1000000 in row 1 (counting from 0) is above 9999")),
    ],
)
def test_labels(column, expected):
    assert labels_of(np.array(column, np.float64)) == expected


@pytest.mark.parametrize("losses", [{"mse"}, {"mse", "cross_entropy"}])
@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("one_hot", [None, True, False])
@pytest.mark.parametrize("kind", ["texts", "whole", "numbers", "several"])
def test_what_is_one_hot(kind, one_hot, classes, losses):
    labels = {
        "texts": Labels(3, texts=True),
        "whole": Labels(3),
        "numbers": Labels(0, whole=False),
        "several": None,
    }[kind]
    extent = data_module.Extent(9, 2, 1, labels)
    found = is_one_hot(extent, {"one_hot": one_hot, "classes": classes}, losses)
    if one_hot is not None:
        assert found is one_hot
    else:
        asked = kind == "texts" or classes is not None or (kind == "whole" and "cross_entropy" in losses)
        assert found is (asked and kind != "several")


def test_whole_numbers_become_a_column_a_class(tmp_path):
    made = arrays(sweep_of(tmp_path, f"{XY}\none_hot = true", n_out=3))
    assert made.y.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    made = arrays(sweep_of(tmp_path, f"{XY}\nclasses = 4", n_out=4))
    assert made.y.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert arrays(sweep_of(tmp_path, f"{XY}\nclasses = 3\none_hot = false")).y.tolist() == [[1], [0], [2]]
    assert arrays(sweep_of(tmp_path, XY)).y.tolist() == [[1], [0], [2]]


# The split, and the choice of samples


@given(st.integers(2, 60), st.floats(0.01, 0.99) | st.integers(1, 59), st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=60)
def test_a_split_is_disjoint_and_complete(n, validation, seed):
    count = validation if isinstance(validation, int) else round(validation * n)
    if not 0 < count < n:
        return
    training, kept = split(n, validation, seed)
    assert len(kept) == count
    assert sorted([*training, *kept]) == list(range(n))
    again = split(n, validation, seed)
    assert all(np.array_equal(one, other) for one, other in zip(again, (training, kept), strict=True))


def test_a_split_is_by_seed():
    splits = {tuple(split(20, 5, seed)[1]) for seed in range(10)}
    assert len(splits) == 10
    assert np.array_equal(split(20, 5, None)[0], split(20, 5, 0)[0])
    for training, kept in (split(6, None, None), split(6, 0, None)):
        assert (training.tolist(), kept.tolist()) == ([0, 1, 2, 3, 4, 5], [])
    shuffled, kept = split(6, None, 1)
    assert (sorted(shuffled), len(kept)) == ([0, 1, 2, 3, 4, 5], 0)
    times = np.bincount(np.concatenate([split(10, 3, seed)[1] for seed in range(1000)]))
    assert all(abs(count - 300) < 5 * np.sqrt(1000 * 0.3 * 0.7) for count in times)


def test_a_split_keeps_inputs_and_targets_together(tmp_path):
    sweep = sweep_of(tmp_path, 'dataset = "moons"\nnoise = 0.3', more="[[grid]]\nsplit_seed = [1]\n")
    all_x, all_y = DATASETS["moons"].arrays({"noise": 0.3})
    made = arrays(sweep, validation=0.25, split_seed=3)
    assert len(made.x) == 75
    assert np.array_equal(made.x, all_x[made.samples])
    assert np.array_equal(made.y[:, 0], all_y[made.samples])
    rest = np.setdiff1d(np.arange(100), made.samples)
    assert np.array_equal(made.x_validation, all_x[rest])
    assert np.array_equal(made.y_validation[:, 0], all_y[rest])


def test_samples_are_the_first_of_the_training_part(tmp_path):
    sweep = sweep_of(tmp_path, 'dataset = "moons"\nnoise = 0.3\nvalidation = 20')
    whole, first = arrays(sweep), arrays(sweep, samples=7)
    for part in ("x", "y", "samples"):
        assert np.array_equal(getattr(first, part), getattr(whole, part)[:7])
    assert np.array_equal(first.x_validation, whole.x_validation)
    plain = sweep_of(tmp_path, XY)
    assert arrays(plain, samples=2).x.tolist() == [[1, 2], [3, 4]]
    one = arrays(plain, sample=1)
    assert (one.x.tolist(), one.y.tolist(), one.samples.tolist()) == ([[3, 4]], [[0]], [1])


# Standardising


def test_standardising_is_by_the_training_part(tmp_path):
    data = 'dataset = "teacher"\nvalidation = 0.3\nstandardise = ["targets", "inputs"]'
    sweep = sweep_of(tmp_path, data)
    raw, made = arrays(sweep, standardise=()), arrays(sweep)
    for part in ("x", "y"):
        before, after = getattr(raw, part), getattr(made, part)
        for column in range(before.shape[1]):
            mean = statistics.fmean(before[:, column])
            deviation = statistics.pstdev(before[:, column])
            assert statistics.fmean(after[:, column]) == pytest.approx(0, abs=1e-12)
            assert statistics.pstdev(after[:, column]) == pytest.approx(1, abs=1e-12)
            kept = getattr(raw, f"{part}_validation")[:, column]
            expected = [(value - mean) / deviation for value in kept]
            assert getattr(made, f"{part}_validation")[:, column] == pytest.approx(expected, abs=1e-12)
    only = arrays(sweep, standardise=("inputs",))
    assert np.array_equal(only.y, raw.y)
    assert np.array_equal(only.x, made.x)
    fewer = arrays(sweep, samples=5)
    assert np.array_equal(fewer.x, made.x[:5])


def test_a_constant_column_is_only_centred():
    columns = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 6.0]])
    scaled = standardised(np.vstack([columns, [[0.6, 3.0]]]), columns)
    assert scaled[:, 0].tolist() == [0, 0, 0, 0.5]
    assert scaled[3, 1] == 0


def test_numbers_too_large_to_be_standardised(tmp_path):
    sweep = sweep_of(tmp_path, "x = [[1e308, 0], [-1e308, 1]]\ny = [[0], [1]]\nstandardise = true")
    with pytest.raises(SweepError, match=r"data.standardise: the data hold numbers too large"):
        arrays(sweep)


# The source


@pytest.mark.parametrize("name", ["moons", "teacher", "polynomial"])
def test_equal_values_give_equal_bits(tmp_path, name):
    more = {"moons": "size = 9", "teacher": "data_seed = 3", "polynomial": "coefficients = [1, 2, 3]"}[name]
    data = f'dataset = "{name}"\nnoise = 0.1\nvalidation = 2\nstandardise = true\n{more}'
    sweep = sweep_of(tmp_path, data, n_in=1 if name == "polynomial" else 2)
    one, other = arrays(sweep), arrays(loads(sweep.text))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    if name == "polynomial":
        clean = arrays(sweep, noise=0.0, validation=None, standardise=())
        assert clean.y[:, 0] == pytest.approx([1 + 2 * x + 3 * x * x for x in clean.x[:, 0]])


def test_data_are_made_once_for_equal_values_and_forgotten_when_they_are_too_many(tmp_path, monkeypatch):
    made = collections.Counter()
    entry = DATASETS["moons"]
    monkeypatch.setitem(
        DATASETS,
        "moons",
        data_module.DATASETS["moons"].__class__(
            entry.summary,
            lambda size: made.update([size]) or entry.make(size),
            entry.parameters,
            entry.extent,
            2,
        ),
    )
    source = load_data(sweep := sweep_of(tmp_path, 'dataset = "moons"'))
    for _ in range(3):
        for size in (10, 20):
            source.arrays(values_of(sweep, size=size, sample=3))
            source.arrays(values_of(sweep, size=size, split_seed=3, samples=2))
    assert made == {10: 1, 20: 1}
    monkeypatch.setattr(data_module, "CACHE_BYTES", 3000)
    source = load_data(sweep)
    for _ in range(2):
        for size in (100, 10, 101):
            source.arrays(values_of(sweep, size=size))
            assert source._cache.held == sum(map(data_module._size, source._cache.entries.values()))
    assert made == {10: 3, 20: 1, 100: 2, 101: 2}


def test_the_shape_is_known_without_making_the_data(tmp_path, monkeypatch):
    sweep = sweep_of(tmp_path, 'dataset = "moons"')
    monkeypatch.setattr(data_module.DataSource, "_table", None)
    source = load_data(sweep)
    for changes, expected in [
        ({}, (100, 0, 2, 1)),
        ({"size": 30, "validation": 0.1}, (27, 3, 2, 1)),
        ({"size": 30, "validation": 0.1, "samples": 4}, (4, 3, 2, 1)),
        ({"sample": 4}, (1, 0, 2, 1)),
        ({"one_hot": True}, (100, 0, 2, 2)),
        ({"dataset": "parity", "features": 5}, (32, 0, 5, 1)),
        ({"dataset": "digits", "classes": 12}, (1797, 0, 64, 12)),
    ]:
        assert source.shape(values_of(sweep, **changes)) == expected


def test_the_digest_is_that_of_what_the_file_holds(flowers):
    named = 'inputs = ["width", "length"]\ntargets = ["species"]'

    def digest(kind):
        return load_data(sweep_of(flowers, f'file = "flowers.{kind}"\n{named}', n_out=3)).digest()

    first = digest("csv")
    assert len(first) == 64
    assert digest("parquet") == digest("npz") == first
    path = flowers / "flowers.csv"
    for old, new in (("5.0", "5.1"), ("rose", "ruse")):
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(old, new), encoding="utf-8")
        assert digest("csv") != first
        path.write_text(before, encoding="utf-8")
    assert load_data(loads(text(XY))).digest() is None
    assert load_data(loads(text(SET))).digest() is None


def test_a_changed_file_is_another_sweep(flowers):
    def plan():
        named = 'inputs = ["width", "length"]\ntargets = ["height"]'
        return Plan(sweep_of(flowers, f'file = "flowers.csv"\n{named}'))

    first = plan()
    assert first.fingerprint != first.sweep.fingerprint()
    assert plan().fingerprint == first.fingerprint
    with Store(flowers / "out", first) as store:
        store.finish()
    path = flowers / "flowers.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("5.0", "5.1"), encoding="utf-8")
    assert plan().fingerprint != first.fingerprint
    with pytest.raises(StoreError, match="holds the results of another sweep"):
        Store(flowers / "out", plan())
    inline = Plan(loads(text(XY)))
    assert inline.fingerprint == inline.sweep.fingerprint()


@pytest.mark.parametrize(
    ("data", "other"),
    [
        (SET, 'dataset = "circles"'),
        (SET, f"{SET}\nsize = 10"),
        (SET, f"{SET}\nnoise = 0.5"),
        (XY, f"{XY}\nstandardise = true"),
        ('file = "a.npz"', 'file = "b.npz"'),
        ('file = "a.npz"', 'file = "a.npz"\ninputs = ["z"]'),
        ('dataset = "polynomial"\ncoefficients = [1]', 'dataset = "polynomial"\ncoefficients = [2]'),
    ],
)
def test_the_fingerprint_tells_what_the_data_are(data, other):
    n_in = 1 if "polynomial" in data else 2
    one, two = loads(text(data, n_in)), loads(text(other, n_in))
    assert one != two
    assert one.fingerprint() != two.fingerprint()
    for sweep in (one, two):
        assert loads(dumps(sweep)) == sweep


def test_where_a_sweep_came_from_is_no_part_of_what_it_means(tmp_path):
    one, two = loads(text(SET), "a/b.toml"), loads(text(SET), "c.toml")
    assert (one.path, two.path) == ("a/b.toml", "c.toml")
    assert one == two
    assert one.fingerprint() == two.fingerprint()
    assert str(one.problem(("data", "dataset"), "is odd")) == f"a/b.toml:{FIRST}: data.dataset: is odd"
    changed = loads(text(SET), "c.toml", ["layers=[2, 1]", "dataset=xor"])
    assert str(changed.problem(("data", "dataset"), "is odd")) == "--set dataset=xor: data.dataset: is odd"
    assert str(changed.problem(("data",), "is odd")) == f"c.toml:{FIRST - 1}: data: is odd"


# Runs

AXES = """
[[grid]]
data_seed = [1, 2]
noise = [0, 0.5]
learning_rate = [0.1, 0.2]
[[grid]]
split_seed = [0, 1]
validation = [0.2, 3]
samples = [4, 2]
[[grid]]
sample = [3, 0]
standardise = [true, false]
[[grid]]
size = [6, 12]
[[grid]]
dataset = ["teacher", "xor"]
"""


def test_each_run_has_the_data_of_its_values(tmp_path):
    sweep = sweep_of(
        tmp_path, "size = 12", more=AXES.replace("[[grid]]\n", '[[grid]]\ndataset = ["moons"]\n', 4)
    )
    plan = Plan(sweep)
    seen = {}
    for shard in plan.shards():
        runs = plan.runs(shard)
        x, y = run_data(plan, runs, plan.data)
        for position, run in enumerate(runs.ids.tolist()):
            own = (x, y) if x.ndim == 2 else (x[position], y[position])
            values = {name: plan.parameters(run)[name] for name in DATA_PARAMETERS}
            expected = plan.data.arrays(values)
            assert np.array_equal(own[0], np.concatenate([expected.x, expected.x_validation]))
            assert np.array_equal(own[1], np.concatenate([expected.y, expected.y_validation]))
            structure = shard.group.structure
            assert (structure.n_samples, structure.n_validation) == (
                len(expected.x),
                len(expected.x_validation),
            )
            seen[run] = own
    assert len(seen) == plan.n_runs
    assert any(len(x) == 1 for x, _ in seen.values())
    assert any(len(x) == 4 + 3 for x, _ in seen.values())  # 3 of them for validation


def test_runs_that_share_their_data_share_one_array(tmp_path):
    plan = Plan(sweep_of(tmp_path, SET, more="[[grid]]\nlearning_rate = [1, 2]\ndata_seed = [0, 1]\n"))
    (shard,) = plan.shards()
    # Without noise both seeds make the same moons, but only equal values are known to be equal data.
    assert run_data(plan, plan.runs(shard), plan.data)[0].shape == (4, 100, 2)
    plan = Plan(sweep_of(tmp_path, SET, more="[[grid]]\nlearning_rate = [1, 2]\n"))
    (shard,) = plan.shards()
    assert run_data(plan, plan.runs(shard), plan.data)[0].shape == (100, 2)


def test_a_sweep_over_data_is_the_same_as_sweeps_of_one(tmp_path):
    grid = (
        '[[grid]]\ndataset = ["moons"]\ndata_seed = [1, 2]\nnoise = [0.1, 0.5]\nstandardise = [true, false]\n'
    )
    together = fastbp.run(sweep_of(tmp_path, "size = 10\nvalidation = 3", more=grid), tmp_path / "all").runs()
    rows = together.to_pylist()
    assert len(rows) == 8
    for row in rows:
        fixed = {"data_seed": row["data_seed"], "noise": row["noise"]}
        lines = "".join(f"{name} = {value}\n" for name, value in fixed.items())
        lines += f"standardise = {str(bool(row['standardise'])).lower()}\n"
        alone = sweep_of(tmp_path, f'dataset = "moons"\nsize = 10\nvalidation = 3\n{lines}')
        (other,) = fastbp.run(alone, tmp_path / f"run{row['run']}").runs().to_pylist()
        assert (row["loss_first"], row["loss_last"]) == (other["loss_first"], other["loss_last"])


def test_the_trace_names_the_samples_by_their_rows_in_the_data(tmp_path):
    grid = "[[grid]]\nsplit_seed = [0, 1]\nsamples = [2, 3]\n[[grid]]\nsample = [4]\nvalidation = [0]\n"
    more = f"[record]\ntrace = true\n{grid}"
    sweep = sweep_of(tmp_path, 'dataset = "moons"\nsize = 9\nvalidation = 2\nnoise = 0.2', more=more)
    results = fastbp.run(sweep, tmp_path / "out")
    plan = Plan(sweep)
    x, _ = DATASETS["moons"].arrays({"size": 9, "noise": 0.2})
    rows = [row for row in results.activations().to_pylist() if row["layer"] == 0]
    found = collections.defaultdict(set)
    for row in rows:
        assert row["output"] == x[row["sample"], row["unit"]]
        found[row["run"]].add(row["sample"])
    for run, samples in found.items():
        values = {name: plan.parameters(run)[name] for name in DATA_PARAMETERS}
        assert samples == set(plan.data.arrays(values).samples.tolist())
    assert sorted(map(len, found.values())) == [1, 2, 2, 3, 3]


def test_parameters_of_the_data_are_columns_of_the_results(tmp_path):
    grid = """[[grid]]
dataset = ["moons", "circles"]
size = [6, 10]
standardise = [true, ["targets", "inputs"], false]
validation = [0.5, 2]
one_hot = [false]
data_seed = [7]
noise = [0.25]
"""
    runs = fastbp.run(sweep_of(tmp_path, "", more=grid), tmp_path / "out").runs()
    assert runs.num_rows == 24
    assert set(runs["dataset"].to_pylist()) == {"moons", "circles"}
    assert {tuple(value) for value in runs["standardise"].to_pylist()} == {
        (),
        ("inputs",),
        ("inputs", "targets"),
    }
    assert set(runs["validation"].to_pylist()) == {0.5, 2}
    assert set(runs["noise"].to_pylist()) == {0.25}


def test_shards_are_smaller_where_each_run_has_its_own_data(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_BYTES", 2**20)
    shared = Plan(sweep_of(tmp_path, SET, more="[[grid]]\nlearning_rate = { linspace = [0, 1, 900] }\n"))
    own = Plan(sweep_of(tmp_path, SET, more="[[grid]]\ndata_seed = { arange = [0, 900, 1] }\n"))
    assert shared.n_shards == 1
    assert own.data_bytes_a_run(own.groups[0].structure) == 8 * 100 * 3
    assert own.n_shards > 2
    large = sweep_of(tmp_path, f"{SET}\nsize = 10000000", more="[[grid]]\ndata_seed = [0, 1]\n")
    with pytest.raises(SweepError, match=r"the data of 32 runs, which differ from run to run, take 7.7 GB"):
        Plan(large).refuse_too_large()


def test_a_source_travels_to_another_process(flowers):
    named = 'inputs = ["width", "length"]\ntargets = ["height"]'
    for data in (SET, f'file = "flowers.csv"\n{named}'):
        source = load_data(sweep := sweep_of(flowers, f"{data}\nvalidation = 2"))
        first = source.arrays(values_of(sweep))
        again = pickle.loads(pickle.dumps(source)).arrays(values_of(sweep))
        assert all(one.tobytes() == other.tobytes() for one, other in zip(first, again, strict=True))

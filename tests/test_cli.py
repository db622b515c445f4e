import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from click import unstyle
from numba.core import config
from runs import JIT
from typer.testing import CliRunner

import fastbp
from fastbp import engine
from fastbp import plan as plan_module
from fastbp.cli import app
from fastbp.kernels import cache, cpu
from fastbp.sweep import schema, starter
from fastbp.tables import STATUSES

SCRIPT = Path(sys.executable).parent / "fastbp"
NOTEBOOK = Path(__file__).parents[1] / "sweeps" / "notebook.toml"
TEXT = """\
name = "small"

[network]
layers = [1, 1]
activation = "tanh"

[init.a]
W1 = [[0.5]]
b1 = [0.25]

[data]
x = [[1], [2]]
y = [[0], [1]]

[training]
learning_rate = 0.5
steps = 2
"""
compiled_only = pytest.mark.skipif(not JIT, reason="nothing is cached without the compiler")
if config.DISABLE_JIT:  # NumPy warns of overflow and 0 / 0, compiled code does not
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, on a terminal that is not there."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(folder):
    (folder / "small.toml").write_text(TEXT)
    return "small.toml"


def fastbp_says(*arguments, code=0):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def script(*arguments):
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=300)


def listing(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


# sweep


def test_the_script_runs_the_notebook(folder):
    (folder / "notebook.toml").write_text(NOTEBOOK.read_text())
    done = script("sweep", "notebook.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    results = fastbp.open_results("results/notebook")
    lines = [line.split() for line in done.stdout.splitlines() if re.match(r" *\d+ +(example|tasks) ", line)]
    runs = results.runs().to_pylist()
    assert [int(line[0]) for line in lines] == [row["run"] for row in runs] == list(range(7))
    for line, row in zip(lines, runs, strict=True):
        assert line[1:3] == [row["init"], str(row["sample"])]
        assert line[4] == "ok"
        assert [float(number) for number in line[3:4] + line[5:7]] == pytest.approx(
            [row["learning_rate"], row["loss_first"], row["loss_last"]], rel=1e-6
        )
    assert re.search(r"^7 runs \(7 ok\) in [\d.]+ s: results/notebook$", done.stdout, re.MULTILINE)
    assert sorted(path.name for path in folder.iterdir()) == ["notebook.toml", "results"]


def test_a_sweep_does_not_wait_for_pandas(small):
    code = """
import sys, fastbp.start
try:
    fastbp.start.main()
except SystemExit:
    print("pandas" in sys.modules)
"""
    command = [sys.executable, "-c", code, "sweep", small, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "False\n", done.stderr


def test_the_script_says_what_is_wrong(folder):
    done = script("sweep", "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nowhere.toml: cannot be read: No such file or directory\n"
    assert listing(folder) == {}


def test_a_sweep_prints_a_table_on_stdout(small):
    result = fastbp_says("sweep", small)
    assert result.stderr == ""
    header = next(line for line in result.stdout.splitlines() if line.strip())
    assert header.split() == ["run", "status", "loss_first", "loss_last", "r2"]
    assert re.search(r"^1 runs? \(1 ok\) in [\d.]+ s: results/small$", result.stdout, re.MULTILINE)


def test_a_long_table_is_cut(small):
    text = TEXT + "[[grid]]\nlearning_rate = { linspace = [0, 1, 1200] }\n"
    Path(small).write_text(text)
    out = fastbp_says("sweep", small).stdout
    assert "... and 1,180 more runs" in out
    assert "1,200 runs (1,200 ok)" in out
    assert len(out.splitlines()) < 30


def test_a_wide_table_is_whole_where_there_is_no_terminal(small):
    grid = {
        "layers": [[1, 1]],
        "bias": [True],
        "hidden_activation": ["identity"],
        "output_activation": ["identity"],
        "init": ["a"],
        "sample": [1],
        "loss": ["half_sse"],
        "optimizer": ["sgd"],
        "learning_rate": [0.123456789],
        "learning_rate_1": [0.123456789],
        "dtype": ["float32"],
        "target_loss": [10.5],
    }
    axes = "".join(f"{name} = {json.dumps(values)}\n" for name, values in grid.items())
    Path(small).write_text(f"{TEXT}[[grid]]\n{axes}")
    out = fastbp_says("sweep", small).stdout
    assert "…" not in out
    for name in [*grid, "status", "loss_first", "loss_last", "step_converged"]:
        assert name in out.split()
    for value in ["1 1", "True", "half_sse", "0.1234568", "float32", "10.5", "converged"]:
        assert value in out


def test_quiet_prints_nothing(small):
    result = fastbp_says("sweep", small, "--quiet")
    assert result.output == result.stderr == ""
    assert fastbp.open_results("results/small").manifest["complete"]


@pytest.mark.parametrize("options", [["--json"], ["--json", "--quiet"]], ids=" ".join)
def test_json_is_printed_alone(small, options):
    text = TEXT.replace('"tanh"', '"identity"')
    text += "[[grid]]\ntarget_loss = [100, 0]\nlearning_rate = [0.1, 0.01]\n"
    Path(small).write_text(text)
    result = fastbp_says("sweep", small, *options)
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    assert summary["name"] == "small"
    assert summary["folder"] == str(Path("results") / "small")
    assert summary["runs"] == 4
    assert summary["status"] == {"ok": 2, "converged": 2, "diverged": 0, "stopped": 0}
    assert summary["steps"] == 8
    assert summary["tables"] == ["runs"]
    assert summary["loss_last_least"] == min(
        fastbp.open_results("results/small").runs()["loss_last"].to_pylist()
    )


def test_the_summary_counts_the_runs_of_all_parts(small, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_RUNS", 32)
    Path(small).write_text(
        TEXT + "[[grid]]\nlearning_rate = { linspace = [0, 1, 50] }\ntarget_loss = [0.2, 9]\n"
    )
    summary = json.loads(fastbp_says("sweep", small, "--json").stdout)
    runs = fastbp.open_results("results/small").runs()
    assert len(list(Path("results/small/runs").iterdir())) == 4
    assert (summary["runs"], summary["steps"]) == (100, 200)
    statuses = runs["status"].to_pylist()
    assert summary["status"] == {name: statuses.count(name) for name in STATUSES}
    assert 50 <= summary["status"]["converged"] < 100
    assert summary["loss_last_least"] == min(runs["loss_last"].to_pylist())
    table = fastbp_says("sweep", small).stdout
    assert "... and 80 more runs" in table
    assert len(re.findall(r"^ +\d+ +[\d.]+ .*(?:ok|converged) ", table, re.MULTILINE)) == 20


def test_the_table_shows_the_runs_of_all_groups(small):
    activations = ["identity", "sigmoid", "tanh", "relu"]
    Path(small).write_text(
        f"{TEXT}[[grid]]\nactivation = {json.dumps(activations)}\ntarget_loss = [0.0, 100.0]\n"
    )
    out = fastbp_says("sweep", small).stdout
    rows = [
        line.split() for line in out.splitlines() if re.match(r" *\d+ +[a-z]+ ", line) and "runs" not in line
    ]
    assert sorted(row[1] for row in rows) == sorted(activations * 2)
    assert sorted(int(row[0]) for row in rows) == list(range(8))
    assert "step_converged" in out
    assert "more runs" not in out


def test_json_of_runs_that_all_diverge_is_json(small):
    Path(small).write_text(TEXT.replace('"tanh"', '"identity"'))
    result = fastbp_says("sweep", small, "--json", "--set", "learning_rate=1e200")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    summary = json.loads(result.stdout, parse_constant=refuse)
    assert summary["status"] == {"ok": 0, "converged": 0, "diverged": 1, "stopped": 0}
    assert summary["loss_last_least"] is None
    table = fastbp_says("sweep", small, "--set", "learning_rate=1e200").stdout
    assert "diverged" in table
    assert "(1 diverged)" in table


@pytest.mark.skipif(os.name == "nt", reason="there are no terminals to open")
@pytest.mark.parametrize("options", [[], ["--json"], ["--quiet"]], ids=" ".join)
def test_the_progress_bar_is_on_a_terminal_alone(small, options):
    ours, theirs = os.openpty()
    seen = b""

    def read():
        nonlocal seen
        while not seen.endswith(b"end"):
            seen += os.read(ours, 4096)

    # Read meanwhile: a terminal that nobody reads holds a few kB, and then the writer waits for ever.
    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [SCRIPT, "sweep", small, *options], stdout=subprocess.PIPE, stderr=theirs, timeout=300
    )
    os.write(theirs, b"end")
    reader.join()
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert (b"1/1" in seen) == ("--quiet" not in options)
    assert seen == b"end" or "--quiet" not in options
    assert b"training" not in done.stdout
    assert b"\x1b" not in done.stdout


def test_out_is_the_result_folder(small, folder):
    result = fastbp_says("sweep", small, "--out", "deep/er")
    assert result.stdout.rstrip().endswith("deep/er")
    assert fastbp.open_results(folder / "deep" / "er").manifest["sweep"] == "small"
    assert not (folder / "results").exists()


def test_threads_make_no_difference(small, monkeypatch):
    seen, train_batch = [], cpu.train_batch

    def see(batch, pool, threads, *arguments):
        seen.append(threads)
        train_batch(batch, pool, threads, *arguments)

    monkeypatch.setattr(cpu, "train_batch", see)
    Path(small).write_text(TEXT + "[[grid]]\nlearning_rate = { linspace = [0, 1, 50] }\n")
    for threads in (1, 2):
        fastbp_says("sweep", small, "--threads", threads, "--out", f"out{threads}", "--quiet")
    assert seen == [1, 2]
    one, two = (fastbp.open_results(f"out{threads}").runs() for threads in (1, 2))
    assert one.equals(two)


def test_set_replaces_values_and_may_be_repeated(small):
    fastbp_says(
        "sweep", small, "--set", "steps=5", "--set", "grid.learning_rate=[0.25, 1]", "--set", "name=other"
    )
    results = fastbp.open_results("results/other")
    assert results.runs()["learning_rate"].to_pylist() == [0.25, 1.0]
    assert results.runs()["steps"].to_pylist() == [5, 5]
    kept = fastbp.load_sweep(results.folder / "sweep.toml")
    assert (kept.training.steps, kept.name) == (5, "other")
    assert Path(small).read_text() == TEXT


def test_the_same_sweep_runs_again(small):
    first = json.loads(fastbp_says("sweep", small, "--json").stdout)
    again = json.loads(fastbp_says("sweep", small, "--json").stdout)
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


# plan, check


def test_plan_says_what_would_be_done_and_does_nothing(small, folder):
    grid = '[[grid]]\nloss = ["mse", "half_sse"]\nlearning_rate = { linspace = [0, 1, 1500] }\n'
    Path(small).write_text(TEXT + grid)
    before = listing(folder)
    result = fastbp_says("plan", small)
    assert result.stderr == ""
    assert "runs    3,000 in 2 groups and 2 shards" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("1-1")]
    assert rows == [
        ["1-1", "tanh", loss, "sgd", "float64", "2", "2", "1,500"] for loss in ("mse", "half_sse")
    ]
    assert listing(folder) == before


def test_plan_in_json(small, folder):
    before = listing(folder)
    outline = json.loads(
        fastbp_says("plan", small, "--json", "--set", "grid.dtype=['float32', 'float64']").stdout
    )
    assert outline["name"] == "small"
    assert (outline["runs"], outline["shards"], len(outline["groups"])) == (2, 2, 2)
    assert outline["bytes"] > 0
    assert outline["seconds"] > 0
    assert outline["threads"] == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else True
    assert outline["groups"][0] == {
        "layers": [1, 1],
        "bias": True,
        "activations": ["tanh"],
        "loss": "mse",
        "optimizer": "sgd",
        "steps": 2,
        "dtype": "float32",
        "n_samples": 2,
        "n_validation": 0,
        "schedule": "constant",
        "warms_up": False,
        "clips": False,
        "decays": False,
        "frozen": [],
        "batch_size": 0,
        "batch_order": "shuffled",
        "batch_seed": 0,
        "stops_at_target": False,
        "stops_on_divergence": False,
        "patient": False,
        "validate_every": 0,
        "runs": 1,
    }
    assert listing(folder) == before


def test_plan_of_a_large_sweep(small):
    axis = "{ linspace = [0, 1, 4096] }"
    Path(small).write_text(f"{TEXT}[[grid]]\nlearning_rate = {axis}\ntarget_loss = {axis}\n")
    assert "runs    16,777,216 in 1 group" in fastbp_says("plan", small).stdout


def test_check_passes(small, folder):
    before = listing(folder)
    result = fastbp_says("check", small)
    rows = [line.split() for line in result.stdout.splitlines() if re.match(" *[Wb]1 ", line)]
    assert [(row[0], row[1], row[-1]) for row in rows] == [("W1", "float64", "ok"), ("b1", "float64", "ok")]
    assert result.stderr == ""
    assert listing(folder) == before


def test_check_in_json(small):
    found = json.loads(fastbp_says("check", small, "--json", "--set", "dtype=float32").stdout)
    assert [(item["parameter"], item["dtype"], item["passed"]) for item in found] == [
        ("W1", "float32", True),
        ("b1", "float32", True),
    ]
    assert all(item["n_compared"] == 1 for item in found)


@pytest.mark.parametrize("wrong", [1.01, float("nan"), float("inf")])
def test_check_of_wrong_gradients_exits_with_1(small, monkeypatch, wrong):
    train_batch = cpu.train_batch

    def train_badly(batch, *arguments):
        train_batch(batch, *arguments)
        batch.trace["g"][:, :1] *= wrong

    monkeypatch.setattr(cpu, "train_batch", train_badly)
    result = fastbp_says("check", small, code=1)
    rows = [line.split() for line in result.stdout.splitlines() if re.match(" *[Wb]1 ", line)]
    assert [row[-1] for row in rows] == ["ABOVE", "ok"]
    assert result.stderr == ""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(fastbp_says("check", small, "--json", code=1).stdout, parse_constant=refuse)
    assert [item["passed"] for item in found] == [False, True]


# schema, new, --version, --help


def test_bench_measures_and_writes_nothing(small, folder):
    before = listing(folder)
    out = fastbp_says("bench", small, "--seconds", "0.05", "--threads", "1").stdout
    header, row = (line.split() for line in (out.splitlines()[1], out.splitlines()[3]))
    assert header[:6] == ["layers", "activations", "dtype", "samples", "steps", "runs"]
    assert header[6:] == ["steps/s", "multiply-adds/s", "of", "the", "peak"]
    assert row[:6] == ["1-1", "tanh", "float64", "2", "2", "1"]
    assert re.search(r"^peak +[\d.]+( [kMGT])? multiply-adds/s in float64$", out, re.MULTILINE)
    assert re.search(r"^time +.+ to train 1 run on 1 thread$", out, re.MULTILINE)
    assert listing(folder) == before


def test_bench_in_json(small):
    arguments = ["--seconds", "0.05", "--set", 'dtype="float32"', "--json"]
    found = json.loads(fastbp_says("bench", small, *arguments).stdout)
    assert found["name"] == "small"
    assert found["threads"] == cpu.n_threads()
    assert list(found["peak"]) == ["float32"]
    (group,) = found["groups"]
    assert group["layers"] == [1, 1]
    assert group["steps_a_second"] > 0
    assert group["multiply_adds_a_second"] == pytest.approx(4 * group["steps_a_second"])


@compiled_only
def test_warmup_says_what_it_did_and_where(small, monkeypatch):
    removed = iter([2, 1, 0])  # what this machine has of other versions is not looked for
    monkeypatch.setattr(cache, "remove_stale", lambda: next(removed))
    out = fastbp_says("warmup", small, "--dtype", "float64", "--dtype", "float32", "--data", "shared").stdout
    first, between, last = out.splitlines()
    assert re.fullmatch(
        r"training in float64, data that all runs share +(compiled in [\d.]+ s|was there already)", first
    )
    assert between == "removed the code of 2 other versions"
    assert last == f"kept in {cache.folder()}"
    one = fastbp_says("warmup", small, "--dtype", "float32").stdout
    assert one == f"removed the code of 1 other version\n{last}\n"
    assert fastbp_says("warmup", small, "--dtype", "float32").stdout == f"{last}\n"


def test_without_a_place_for_code_a_warmup_is_an_error_and_a_sweep_says_so(small, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: None)
    monkeypatch.setattr(cache, "why_not_kept", lambda: "there is none; make one")
    assert fastbp_says("warmup", code=2).stderr == "fastbp: there is none; make one\n"
    for command in ("sweep", "check"):
        said = fastbp_says(command, small).stderr
        assert said == "fastbp: there is none; make one; until then every command compiles anew\n"


@pytest.mark.skipif(JIT, reason="with the compiler there is something to compile")
def test_without_the_compiler_there_is_nothing_to_warm_up():
    assert "unset NUMBA_DISABLE_JIT" in fastbp_says("warmup", code=2).stderr


def test_schema_is_the_json_schema():
    result = fastbp_says("schema")
    assert json.loads(result.stdout) == json.loads(json.dumps(schema()))
    assert result.stderr == ""


def test_new_writes_a_sweep_that_runs_as_it_is(folder):
    said = fastbp_says("new", "mine.toml").stdout
    assert sorted(path.name for path in folder.iterdir()) == ["fastbp.schema.json", "mine.toml"]
    assert (folder / "mine.toml").read_text(encoding="utf-8") == starter()
    assert json.loads((folder / "fastbp.schema.json").read_text(encoding="utf-8")) == schema()
    program, *command = shlex.split(said.split("run it with: ")[1])
    assert (program, command) == ("fastbp", ["sweep", "mine.toml"])
    few = ["--set", "steps=2"] if config.DISABLE_JIT else []
    summary = json.loads(fastbp_says(*command, *few, "--json").stdout)
    assert summary["runs"] == (1 + 1) * 8 * 10
    if not few:
        assert summary["status"]["converged"] > 0


def test_the_schema_beside_a_new_file_is_the_one_that_it_names(folder):
    (folder / "below").mkdir()
    fastbp_says("new", Path("below") / "mine.toml")
    first = (folder / "below" / "mine.toml").read_text(encoding="utf-8").splitlines()[0]
    assert (folder / "below" / first.removeprefix("#:schema ")).is_file()


def test_new_does_not_overwrite(folder):
    (folder / "mine.toml").write_text("mine")
    result = fastbp_says("new", "mine.toml", code=2)
    assert result.stdout == ""
    assert result.stderr == "fastbp: mine.toml: exists already; choose another name or remove it\n"
    assert listing(folder) == {"mine.toml": b"mine"}


@pytest.mark.parametrize("file", ["nowhere/mine.toml", "file/mine.toml"])
def test_new_in_a_folder_that_is_none(folder, file):
    (folder / "file").write_text("")
    result = fastbp_says("new", file, code=2)
    assert result.stdout == ""
    assert re.fullmatch(f"fastbp: {file}: cannot be written: .+\n", result.stderr)
    assert listing(folder) == {"file": b""}


def test_new_leaves_no_sweep_where_the_schema_cannot_be_written(folder):
    (folder / "fastbp.schema.json").mkdir()
    result = fastbp_says("new", "mine.toml", code=2)
    assert "fastbp.schema.json: cannot be written" in result.stderr
    assert not (folder / "mine.toml").exists()  # or the next try says that it exists


def test_version():
    assert fastbp_says("--version").stdout == f"fastbp {version('fastbp')}\n"


OPTIONS = {
    "sweep": ["--out", "--threads", "--set", "--quiet", "--json"],
    "plan": ["--set", "--json"],
    "bench": ["--seconds", "--threads", "--set", "--json"],
    "warmup": ["--set", "--dtype", "--data"],
    "check": ["--set", "--json"],
    "schema": [],
    "new": [],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_the_help_of_a_command_names_its_options(command):
    text = unstyle(fastbp_says(command, "--help").stdout)
    assert set(re.findall(r"--[a-z-]+", text)) == {*OPTIONS[command], "--help"}
    assert ("FILE" in text) == (command != "schema")
    assert f"fastbp {command}" in text or f"{command} [OPTIONS]" in text


def test_the_help_names_all_commands():
    text = unstyle(fastbp_says("--help").stdout)
    commands = set(typer.main.get_command(app).commands)
    assert commands == set(OPTIONS)
    for command in commands:
        assert re.search(rf"\b{command}\b +[A-Z]", text), command
    assert "--version" in text


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["sweep", "--help"], ["check", "--help"]], ids=" ".join
)
def test_help_does_not_wait_for_the_engine(arguments):
    code = f"""
import sys
import threading
from fastbp.cli import main
sys.argv = ["fastbp", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code
print("loaded:", *(name for name in ("numpy", "numba", "llvmlite", "pyarrow") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
    assert len(done.stdout.splitlines()) > 1


# What is wrong is a line on stderr, exit code 2, and nothing is written.

FILES = {
    "small.toml": TEXT,
    "syntax.toml": TEXT.replace("= 2", "="),
    "key.toml": TEXT.replace("steps", "stepz"),
    "name.toml": TEXT.replace('"small"', '"../x"'),
    "value.toml": TEXT.replace("= 0.5", "= -0.5"),
    "two.toml": TEXT.replace('"tanh"', '"tanhh"').replace("[[1], [2]]", "[[1], [2, 3]]"),
    "file": "",
}
WRONG = {
    "sweep nowhere.toml": r"^nowhere\.toml: cannot be read: ",
    "plan nowhere.toml": r"^nowhere\.toml: cannot be read: ",
    "check nowhere.toml": r"^nowhere\.toml: cannot be read: ",
    "sweep .": r"^\.: cannot be read: ",
    "sweep syntax.toml": r"^syntax\.toml:17: is not TOML: ",
    "sweep key.toml": r"^key\.toml:17: training\.stepz: unknown key \(did you mean steps\?\)",
    "plan key.toml": r"^key\.toml:17: training\.stepz: unknown key",
    "check key.toml": r"^key\.toml:17: training\.stepz: unknown key",
    "sweep name.toml": r'^name\.toml:1: name: "\.\./x" is not a plain file name',
    "sweep value.toml": r"^value\.toml:16: training\.learning_rate: must be at least 0, not -0\.5",
    "sweep two.toml": r"(?s)^two\.toml:5: network\.activation: .*^two\.toml:12: data\.x",
    "sweep small.toml --set steps": r"^--set steps: is no override; write KEY=VALUE",
    "sweep small.toml --set stepz=3": r"^--set stepz=3: unknown key \(did you mean steps\?\)",
    "sweep small.toml --set steps=-1": r"^--set steps=-1: training\.steps: must be a whole number of at least 0",
    "sweep small.toml --set name=../x": r"^--set name=\.\./x: name: .* is not a plain file name",
    "plan small.toml --set steps": r"^--set steps: is no override",
    "check small.toml --set steps": r"^--set steps: is no override",
    "sweep small.toml --out other": r"^fastbp: other: holds the results of another sweep",
    "sweep small.toml --out foreign": r"^fastbp: foreign: holds files but no results of fastbp",
    "sweep small.toml --out file": r"^fastbp: file: is no folder",
    "sweep small.toml --out file/below": r"^fastbp: file/below: cannot be written: ",
    "sweep small.toml --threads 0": r"--threads.*\n?.*1",
    "sweep small.toml --threads -1": r"--threads",
    "sweep small.toml --threads two": r"--threads",
    "sweep small.toml --colour": r"No such option: --colour",
    "sweep": r"Missing argument 'FILE'",
    "bench nowhere.toml": r"^nowhere\.toml: cannot be read: ",
    "bench small.toml --seconds 0": r"--seconds",
    "bench small.toml --set steps=-1": r"^--set steps=-1: training\.steps: must be a whole number of at least 0",
    "warmup --set steps=1": r"--set changes a sweep FILE; name one",
    "warmup --dtype float16": r"--dtype.*\n?.*float64",
    "warmup --data mine": r"--data",
    "swep small.toml": r"No such command 'swep'",
}


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    folder = tmp_path_factory.mktemp("another")
    (folder / "another.toml").write_text(TEXT.replace("steps = 2", "steps = 1"))
    fastbp_says("sweep", folder / "another.toml", "--out", folder / "other", "--quiet")
    return folder / "other"


@pytest.mark.parametrize("command", WRONG)
def test_what_is_wrong_is_said(folder, another, command):
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for path in (path for path in another.rglob("*") if path.is_file()):
        copy = folder / "other" / path.relative_to(another)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (folder / "foreign").mkdir()
    (folder / "foreign" / "mine.txt").write_text("mine")
    before = listing(folder)
    result = fastbp_says(*command.split(), code=2)
    assert result.stdout == ""
    said = unstyle(result.stderr)
    assert re.search(WRONG[command], said, re.MULTILINE), said
    assert "Traceback" not in said
    assert listing(folder) == before


def test_no_command_is_answered_with_help():
    result = CliRunner().invoke(app, [])
    assert "Usage: " in unstyle(result.output)
    assert result.exit_code == 2


def test_a_broken_manifest_is_said(small, folder):
    fastbp_says("sweep", small, "--quiet")
    (folder / "results" / "small" / "manifest.json").write_text("{")
    result = fastbp_says("sweep", small, code=2)
    assert result.stderr.startswith("fastbp: results/small: has a manifest.json that is not whole")


def test_a_record_too_large_for_memory_is_said(small, folder):
    Path(small).write_text(f"{TEXT}[record]\ntrace = true\n")
    before = listing(folder)
    result = fastbp_says("sweep", small, "--set", "steps=16_000_000", code=2)
    assert result.stdout == ""
    assert re.search(r"record.* 16000000 steps takes [\d.]+ GB.*fewer steps", result.stderr)
    assert listing(folder) == before


# Interrupts


def test_an_interrupt_is_a_line(small, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_plan", interrupted)
    result = fastbp_says("sweep", small, code=130)
    assert (result.stdout, result.stderr) == ("", "fastbp: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="there are no signals to send")
def test_ctrl_c_ends_a_sweep_that_would_take_hours(small, folder):
    many = "grid.learning_rate={ linspace = [0, 1, 100_000] }"
    arguments = ["sweep", small, "--set", "steps=16_000_000", "--set", many]
    with subprocess.Popen([SCRIPT, *arguments], stdout=-1, stderr=-1, text=True) as process:
        try:
            while process.poll() is None and not (folder / "results" / "small" / "manifest.json").exists():
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, stdout, stderr) == (130, "", "fastbp: interrupted\n")
    assert fastbp.open_results("results/small").manifest["complete"] is False
    assert not list(folder.rglob("*.parquet"))
    fastbp_says("sweep", small, "--set", "steps=1", "--out", "small", "--quiet")
    assert pq.read_table("small/runs")["steps"].to_pylist() == [1]

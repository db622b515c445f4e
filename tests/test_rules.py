"""What activations, losses, schedules, batches, stopping, weights and the record get wrong together."""

import io
import zipfile

import numpy as np
import pytest
from test_sweep import DRAWN, SMALL, problems
from typer.testing import CliRunner

from fastbp.cli import app
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.metrics import MEASURES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.plan import Plan
from fastbp.sweep import PARAMETERS, SweepError, dumps, load, loads

# Lines: [network] 3, layers 4, [data] 6, x 7, y 8, [training] 10, learning_rate 11, steps 12; then what is added.
DEEP = DRAWN.replace("layers = [2, 1]", "layers = [2, 3, 1]")
EPOCHS = DRAWN.replace("steps = 5", "epochs = 5")


def network(lines, text=DRAWN):
    """Add lines to [network]; the first of them is line 4 of the file."""
    return text.replace("[network]", f"[network]\n{lines}")


def training(lines, text=DRAWN):
    """Add lines to [training], at the end of the file; the first of them is line 13."""
    return f"{text}{lines}\n"


def data(lines, text=DRAWN):
    """Add lines to [data], the first of them being line 7."""
    return text.replace("[data]", f"[data]\n{lines}")


def problem_of_plan(text, *overrides):
    with pytest.raises(SweepError) as caught:
        Plan(loads(text, "f.toml", overrides))
    (problem,) = caught.value.problems
    return str(problem)


SOFTMAX_INSIDE = "softmax is an activation of the last layer alone; name it as output_activation"
BOTH_LENGTHS = "steps and epochs both say how long a run is; keep one of the two"
TRACE = "a trace needs steps over all samples; remove batch_size, or set trace = false"
OF_HISTORY = "is what a history holds; set history = true, history_every or history_log"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Activations
        (
            network('activation = ["tanh", "relu"]'),
            "4: network.activation: has 2 activations but layers [2, 1] have 1 layers of weights; "
            "give one for each",
        ),
        (
            training('[[grid]]\nactivation = ["tanh", ["tanh"], ["tanh", "relu"]]', DEEP),
            "14: grid[0].activation[1]: has 1 activations but layers [2, 3, 1] have 2 layers of weights; "
            "give one for each",
        ),
        (
            network("activation = []"),
            "4: network.activation: is an empty list; give a name, or one name for each layer of weights",
        ),
        (
            network('activation = ["tahn"]'),
            '4: network.activation[0]: unknown activation "tahn" (did you mean tanh?); known: '
            + ", ".join(ACTIVATIONS),
        ),
        (network('activation = "softmax"', DEEP), f"4: network.activation: {SOFTMAX_INSIDE}"),
        (network('activation = ["softmax", "tanh"]', DEEP), f"4: network.activation: {SOFTMAX_INSIDE}"),
        (network('hidden_activation = "softmax"', DEEP), f"4: network.hidden_activation: {SOFTMAX_INSIDE}"),
        (
            training('[[grid]]\nlayers = [[2, 1], [2, 3, 1]]\nactivation = ["tanh", "softmax"]'),
            f"15: grid[0].activation[1]: {SOFTMAX_INSIDE}",
        ),
        # Losses
        (
            training('loss = "binary_cross_entropy"', network('activation = "tanh"')),
            "14: training.loss: binary_cross_entropy goes with the output activation sigmoid, not tanh; "
            'set output_activation = "sigmoid"',
        ),
        (
            training('loss = "cross_entropy"', data("one_hot = true", DRAWN.replace("[2, 1]", "[2, 2]"))),
            "14: training.loss: cross_entropy goes with the output activation softmax, not sigmoid; "
            'set output_activation = "softmax"',
        ),
        (
            training('[[grid]]\nloss = ["mse", "binary_cross_entropy"]\nactivation = ["sigmoid", "tanh"]'),
            "14: grid[0].loss[1]: binary_cross_entropy goes with the output activation sigmoid, not tanh; "
            'set output_activation = "sigmoid"',
        ),
        # Lengths
        (training("epochs = 3"), f"13: training.epochs: {BOTH_LENGTHS}"),
        (training("[[grid]]\nepochs = [3, 4]"), f"14: grid[0].epochs: {BOTH_LENGTHS}"),
        (
            training("epochs = -1", DRAWN.replace("steps = 5\n", "")),
            "12: training.epochs: must be a whole number",
        ),
        # Schedules
        (
            training('schedule = "step"'),
            "13: training.schedule: the schedule step needs decay_steps; set it in [training] or make it an axis",
        ),
        (
            training('schedule = "exponential"\ndecay_steps = 2'),
            "13: training.schedule: the schedule exponential needs decay_rate; "
            "set it in [training] or make it an axis",
        ),
        (
            training('[[grid]]\nschedule = ["constant", "inverse_time"]\ndecay_rate = [1]'),
            "14: grid[0].schedule[1]: the schedule inverse_time needs decay_steps; "
            "set it in [training] or make it an axis",
        ),
        # What means nothing without another
        (
            training('batch_order = "in_order"'),
            "13: training.batch_order: means nothing without batch_size; set batch_size in [training], "
            "or remove this",
        ),
        (
            training("batch_seed = 3"),
            "13: training.batch_seed: means nothing without batch_size; set batch_size in [training], "
            "or remove this",
        ),
        (
            training("stop_at_target = true"),
            "13: training.stop_at_target: means nothing without target_loss; set target_loss in [training], "
            "or remove this",
        ),
        (
            training("[[grid]]\nstop_at_target = [false, true]"),
            "14: grid[0].stop_at_target: means nothing without target_loss; set target_loss in [training], "
            "or remove this",
        ),
        (
            training("patience = 3"),
            "13: training.patience: means nothing without validation; set validation in [data], or remove this",
        ),
        (
            training("patience = 3", data("validation = 0")),
            "14: training.patience: means nothing without validation; set validation in [data], or remove this",
        ),
        (
            training("min_delta = 0.5"),
            "13: training.min_delta: means nothing without patience; set patience in [training], or remove this",
        ),
        (
            training("validate_every = 2"),
            "13: training.validate_every: means nothing without patience; set patience in [training], "
            "or remove this",
        ),
        # Freezing
        (
            network('freeze = ["W2"]'),
            "4: network.freeze: W2 does not exist; layers [2, 1] have 1 layers of weights",
        ),
        (network('freeze = ["b"]\nbias = false'), "4: network.freeze: b does not exist: bias is false"),
        (
            training('[[grid]]\nfreeze = [["W"], ["b2"]]'),
            "14: grid[0].freeze[1]: b2 does not exist; layers [2, 1] have 1 layers of weights",
        ),
        (
            network('freeze = ["W1", "w1"]'),
            '4: network.freeze[1]: unknown name "w1"; known: W1, b1, W2, b2 ..., "W" and "b" for all',
        ),
        (network('freeze = ["W01"]'), '4: network.freeze[0]: unknown name "W01"; known: W1,'),
        (network('freeze = "W"'), '4: network.freeze: must be a list such as ["W1", "b"], not the text "W"'),
        # The record
        (
            training("[record]\nhistory = true\nhistory_every = 2"),
            "15: record.history_every: history is set too; keep one of the two",
        ),
        (
            training("[record]\nhistory_every = 2\nhistory_log = 3"),
            "15: record.history_log: history_every is set too; keep one of the two",
        ),
        (
            training("[record]\nhistory_every = 0"),
            "14: record.history_every: must be a whole number of at least 1",
        ),
        (training('[record]\nmeasures = ["score"]'), f"14: record.measures: {OF_HISTORY}"),
        (training("batch_size = 1\n[record]\ntrace = true"), f"15: record.trace: {TRACE}"),
        (training("[record]\ntrace = true\n[[grid]]\nbatch_size = [1, 2]"), f"14: record.trace: {TRACE}"),
        (
            training('[record]\nhistory = true\nmeasures = ["loss", "validation_score"]'),
            "15: record.measures: validation_score needs samples kept for it; set validation in [data]",
        ),
        (
            training('[record]\nhistory = true\nmeasures = ["validation_loss"]', data("validation = 0")),
            "16: record.measures: validation_loss needs samples kept for it; set validation in [data]",
        ),
        (
            training('[record]\nhistory = true\nmeasures = ["losses"]'),
            '15: record.measures[0]: unknown measure "losses" (did you mean loss?); known: '
            + ", ".join(MEASURES),
        ),
        (
            training('[record]\nhistory = true\nmeasures = "loss"'),
            '15: record.measures: must be a list of names such as ["loss"], not the text "loss"',
        ),
        (
            training("[record]\nhistory = true\nmeasures = []"),
            '15: record.measures: must be a list of names such as ["loss"], not ',
        ),
        # Single values
        (training("clip_norm = 0"), "13: training.clip_norm: must be more than 0, not 0"),
        (training("clip_norm = -1"), "13: training.clip_norm: must be more than 0, not -1"),
        (training("clip_norm = inf"), "13: training.clip_norm: must be a finite number, not inf"),
        (training("weight_decay = -0.1"), "13: training.weight_decay: must be at least 0, not -0.1"),
        (training("warmup_steps = 1.5"), "13: training.warmup_steps: must be a whole number, not 1.5"),
        (training("batch_size = 0"), "13: training.batch_size: must be a whole number of at least 1, not 0"),
        (training("patience = 0"), "13: training.patience: must be a whole number of at least 1, not 0"),
        (
            training('stop_at_target = "yes"'),
            '13: training.stop_at_target: must be true or false, not the text "yes"',
        ),
        (
            training('schedule = "cosin"'),
            '13: training.schedule: unknown schedule "cosin" (did you mean cosine?); known: '
            + ", ".join(SCHEDULES),
        ),
        (
            training('batch_order = "sorted"'),
            '13: training.batch_order: unknown batch_order "sorted"',
        ),
        (network('bias_init = "orthogonal"'), '4: network.bias_init: unknown bias_init "orthogonal"'),
        (network("init_scale = nan"), "4: network.init_scale: must be a finite number, not nan"),
        (network("seed = -1"), "4: network.seed: must be a whole number of at least 0, not -1"),
        (
            training('optimizer = "momentum"\nmomentum = 1'),
            "14: training.momentum: must be at least 0 and below 1, not 1",
        ),
        (
            training('optimizer = "adam"\nbeta_2 = -0.1'),
            "14: training.beta_2: must be at least 0 and below 1, not -0.1",
        ),
        (
            training('optimizer = "rmsprop"\n[[grid]]\nrho = { linspace = [0, 1, 3] }'),
            "15: grid[0].rho.linspace: must be at least 0 and below 1, not 1.0",
        ),
        # Names
        (
            SMALL.replace("[init.a]", "[init.normal]"),
            "6: init.normal: normal is the name of a rule that draws weights; choose another",
        ),
        (
            network('init = "he_norml"'),
            '4: network.init: unknown init "he_norml" (did you mean he_normal?); known: zeros, constant',
        ),
    ],
)
def test_what_does_not_fit_is_told_once_with_line_and_key(text, expected):
    (problem,) = problems(text)
    assert problem.startswith(f"f.toml:{expected}")


@pytest.mark.parametrize("override", ["epochs=3", "stop_at_target=true", "history_every=2", "freeze=['W9']"])
def test_what_an_override_makes_unfit_is_told_of_it(override):
    (problem,) = problems(training("[record]\nhistory = true"), override)
    key = override.split("=")[0]
    section = PARAMETERS[key].section if key in PARAMETERS else "record"
    assert problem.startswith(f"--set {override}: {section}.{key}: ")


@pytest.mark.parametrize(
    "text",
    [
        network('hidden_activation = "tanh"\noutput_activation = "softmax"', DEEP),
        network('activation = ["tanh", "softmax"]', DEEP),
        network('activation = "softmax"'),
        # In a zip only what meets has to fit.
        training(
            '[[grid]]\nzip = ["loss", "activation"]\nloss = ["mse", "binary_cross_entropy"]\n'
            'activation = ["tanh", "sigmoid"]'
        ),
        training('[[grid]]\nschedule = ["constant", "step"]\ndecay_steps = [2]'),
        training('schedule = "cosine"'),
        training("epochs = 3", DRAWN.replace("steps = 5\n", "")),
        training("[[grid]]\nepochs = [3]\n[[grid]]\nsteps = [2]", DRAWN.replace("steps = 5\n", "")),
        training("[random]\nsamples = 2\nepochs = { integers = [1, 3] }", DRAWN.replace("steps = 5\n", "")),
        training("stop_at_target = true\ntarget_loss = 0"),
        training("patience = 3\n[[grid]]\nvalidation = [0, 1]"),
        training("batch_size = 1\nbatch_seed = 3"),
        training('[record]\nhistory = true\nmeasures = ["validation_loss"]\n[[grid]]\nvalidation = [0, 1]'),
        network('freeze = ["W", "b1", "b"]'),
    ],
)
def test_what_fits(text):
    Plan(loads(text))
    assert loads(dumps(loads(text))) == loads(text)


def test_frozen_names_and_measures_are_kept_once():
    sweep = loads(
        network('freeze = ["b1", "W", "b1"]') + '[record]\nhistory = true\nmeasures = ["loss", "loss"]\n'
    )
    assert sweep.network.freeze == ("W", "b1")
    assert sweep.record.measures == ("loss",)


# What the plan finds

TWO = "is larger than the 2 to train on; take at most 2"
LONG = "make 33554432 steps; a run may have 16777216, so take at most 8388608 epochs"
ODD = "but one is 2; change the targets, or choose another loss"
CLASSES = (
    "cross_entropy takes targets that are classes, or the probabilities of at least two classes, "
    "which add up to 1; set one_hot = true in [data], or choose another loss"
)
SIGMOID, SOFTMAX = (network(f'output_activation = "{name}"') for name in ("sigmoid", "softmax"))


def targets(y, text=DRAWN):
    return text.replace("[[1], [0]]", y)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (training("batch_size = 3"), f"13: training.batch_size: a batch of 3 samples {TWO}"),
        (training("[[grid]]\nbatch_size = [1, 3]"), f"14: grid[0].batch_size[1]: a batch of 3 samples {TWO}"),
        (
            training("[[grid]]\nbias = [true]\n[[grid]]\nbatch_size = { arange = [1, 4, 1] }"),
            f"16: grid[1].batch_size[2]: a batch of 3 samples {TWO}",
        ),
        (
            training("[random]\nsamples = 9\nbatch_size = { choice = [1, 3] }"),
            f"15: random.batch_size.choice[1]: a batch of 3 samples {TWO}",
        ),
        (
            training("batch_size = 2", data("validation = 1")),
            "14: training.batch_size: a batch of 2 samples is larger than the 1 to train on; take at most 1",
        ),
        (
            training("batch_size = 1", EPOCHS.replace("epochs = 5", "epochs = 16777216")),
            f"12: training.epochs: {LONG}",
        ),
        (
            training("batch_size = 1\n[[grid]]\nepochs = [1, 16777216]", EPOCHS.replace("epochs = 5\n", "")),
            f"14: grid[0].epochs[1]: {LONG}",
        ),
        (
            targets("[[1], [2]]", training('loss = "binary_cross_entropy"', SIGMOID)),
            f"14: training.loss: binary_cross_entropy takes targets from 0 to 1, {ODD}",
        ),
        (
            targets("[[1], [2]]", training('[[grid]]\nloss = ["mse", "binary_cross_entropy"]', SIGMOID)),
            f"15: grid[0].loss[1]: binary_cross_entropy takes targets from 0 to 1, {ODD}",
        ),
        (
            targets("[[1], [-0.5]]", training('loss = "binary_cross_entropy"', SIGMOID)),
            "14: training.loss: binary_cross_entropy takes targets from 0 to 1, but one is -0.5;",
        ),
        (
            targets("[[1], [2]]", training('loss = "hinge"')),
            f"13: training.loss: hinge takes targets -1 and 1, or 0 and 1, {ODD}",
        ),
        (
            # Either of the two, not a mixture of them.
            targets("[[0], [-1]]", training('loss = "hinge"')),
            "13: training.loss: hinge takes targets -1 and 1, or 0 and 1, but one is 0;",
        ),
        (
            targets("[[1], [0.5]]", training('loss = "cross_entropy"', SOFTMAX)),
            f"14: training.loss: {CLASSES}",
        ),
        (targets("[[0], [0]]", training('loss = "cross_entropy"', SOFTMAX)), f"14: training.loss: {CLASSES}"),
        (
            targets(
                "[[1, 0], [0.5, 0.4]]",
                training('loss = "cross_entropy"', SOFTMAX.replace("[2, 1]", "[2, 2]")),
            ),
            f"14: training.loss: {CLASSES}",
        ),
        (
            targets(
                "[[1, 0], [1.5, -0.5]]",
                training('loss = "cross_entropy"', SOFTMAX.replace("[2, 1]", "[2, 2]")),
            ),
            f"14: training.loss: {CLASSES}",
        ),
    ],
)
def test_what_the_plan_refuses_is_told_where_it_stands(text, expected):
    assert problem_of_plan(text).startswith(f"f.toml:{expected}")


def test_what_the_plan_refuses_of_an_override_is_told_of_it():
    assert problem_of_plan(DRAWN, "batch_size=3").startswith(
        "--set batch_size=3: training.batch_size: a batch of 3"
    )
    expected = "--set grid.loss=['hinge']: grid[0].loss[0]: hinge takes"
    assert problem_of_plan(targets("[[1], [2]]"), "grid.loss=['hinge']").startswith(expected)


@pytest.mark.parametrize(
    ("y", "loss", "output"),
    [
        ("[[1], [0]]", "binary_cross_entropy", "sigmoid"),
        ("[[0.25], [0.5]]", "binary_cross_entropy", "sigmoid"),
        ("[[1], [-1]]", "hinge", "tanh"),
        ("[[1], [0]]", "hinge", "identity"),
        ("[[0.25, 0.75], [1, 0]]", "cross_entropy", "softmax"),
    ],
)
def test_targets_that_a_loss_takes(y, loss, output):
    text = targets(y, training(f'loss = "{loss}"', network(f'output_activation = "{output}"')))
    Plan(loads(text.replace("[2, 1]", "[2, 2]") if loss == "cross_entropy" else text))


def test_a_target_of_the_validation_part_is_held_against_the_loss_too():
    text = training('loss = "binary_cross_entropy"', data("validation = 1", SIGMOID))
    for y in ("[[1], [2]]", "[[2], [1]]"):
        assert "takes targets from 0 to 1, but one is 2" in problem_of_plan(targets(y, text))


# Weights of a file

NPZ = SMALL.replace("W1 = [[0.5], [0.25]]\nb1 = [0]\n", 'file = "w.npz"\n')  # file on line 7
GOOD = {"W1": np.array([[0.5], [0.25]]), "b1": np.array([0.0])}
NOT_PLAIN = '"w.npz" is no .npz file of plain numbers; save it anew with numpy.savez'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems_of_file(folder, text=NPZ):
    (folder / "f.toml").write_text(text)
    with pytest.raises(SweepError) as caught:
        load("f.toml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int8"])
def test_weights_of_a_file_are_those_that_stand_in_a_sweep(folder, dtype):
    (folder / "below").mkdir()
    integers = {name: np.round(4 * values).astype(dtype) for name, values in GOOD.items()}
    np.savez(folder / "below" / "w.npz", **integers)
    (folder / "below" / "f.toml").write_text(NPZ)
    sweep = load("below/f.toml")  # relative to the sweep file
    assert sweep == loads(SMALL.replace("[[0.5], [0.25]]", "[[2], [1]]"))
    assert sweep.fingerprint() == loads(dumps(sweep)).fingerprint()
    np.savez(folder / "below" / "w.npz", **GOOD)
    assert load("below/f.toml") == loads(SMALL) != sweep


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"w1": GOOD["W1"]}, '7: init.a.file: holds an array "w1"; known: W1, b1, W2, b2 ...'),
        ({"W1": np.ones(2)}, "7: init.a.file: W1 must be a matrix of numbers, not float64 of shape (2,)"),
        ({"b1": np.ones((1, 1))}, "7: init.a.file: b1 must be a row of numbers, not float64 of shape (1, 1)"),
        (
            {"W1": np.ones((2, 0))},
            "7: init.a.file: W1 must be a matrix of numbers, not float64 of shape (2, 0)",
        ),
        (
            {"W1": np.array([["1"]])},
            "7: init.a.file: W1 must be a matrix of numbers, not <U1 of shape (1, 1)",
        ),
        ({"W1": np.array([[1j]])}, "7: init.a.file: W1 must be a matrix of numbers, not complex128"),
        ({"W1": np.array([[True]])}, "7: init.a.file: W1 must be a matrix of numbers, not bool"),
        ({"W1": np.array([[np.nan], [1]])}, "7: init.a.file: W1 holds numbers that are not finite"),
        ({"b1": np.array([np.inf])}, "7: init.a.file: b1 holds numbers that are not finite"),
        ({"W1": np.array([[print]], object)}, f"7: init.a.file: {NOT_PLAIN}"),
        ({}, f"7: init.a.file: {NOT_PLAIN}"),
        (GOOD | {"W1": np.ones((3, 1))}, "6: init.a.W1: has shape 3 x 1; layers [2, 1] need shape 2 x 1"),
        ({"W1": GOOD["W1"]}, "6: init.a.b1: is missing; layers [2, 1] need length 1"),
        (
            GOOD | {"W2": np.ones((1, 1))},
            "6: init.a.W2: no run needs it; remove it, or change layers or bias",
        ),
    ],
)
def test_a_wrong_file_of_weights(folder, arrays, expected):
    np.savez(folder / "w.npz", **arrays)
    (problem,) = problems_of_file(folder)
    assert problem.startswith(f"f.toml:{expected}")


def archive_of(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npy(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def claimed(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def damaged():
    stream = io.BytesIO()
    np.savez_compressed(stream, W1=np.ones((50, 50)))
    content = bytearray(stream.getvalue())
    for place in range(60, 100):
        content[place] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", NOT_PLAIN),
        (b"weights", NOT_PLAIN),
        (npy(GOOD["W1"]), NOT_PLAIN),  # of numpy.save
        (damaged(), NOT_PLAIN),
        (archive_of({"W1.npy": claimed((10**7, 10**7))}), NOT_PLAIN),  # 728 TiB
        (archive_of({"W1.npy": npy(GOOD["W1"])[:-3]}), NOT_PLAIN),
        (archive_of({"W1": "0.5"}), "W1 is no array; save the arrays with numpy.savez"),
        (archive_of({"README": "0.5"}), 'holds an array "README"; known: W1, b1, W2, b2 ...'),
    ],
    ids=["empty", "text", "npy", "damaged", "claims", "cut", "member", "readme"],
)
def test_a_file_of_weights_that_is_none(folder, content, message):
    (folder / "w.npz").write_bytes(content)
    assert problems_of_file(folder) == [f"f.toml:7: init.a.file: {message}"]


class Loud:
    """An object whose pickle would run code as it is read."""

    def __reduce__(self):
        return open, ("read", "w")


def test_nothing_in_a_file_of_weights_is_run(folder):
    np.savez(folder / "w.npz", W1=np.array([[Loud()]], object))
    assert problems_of_file(folder) == [f"f.toml:7: init.a.file: {NOT_PLAIN}"]
    assert not (folder / "read").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('file = "w.npz"', '"w.npz" cannot be read: No such file or directory'),
        ('file = "."', '"." is no .npz file; save the arrays with numpy.savez'),
        ('file = "w.npy"', '"w.npy" is no .npz file; save the arrays with numpy.savez'),
        ("file = 3", "must be a text in quotes, not 3"),
        ('file = "\\u0000.npz"', "is no .npz file of plain numbers"),
        ('file = "w.npz"\nb1 = [0]', "holds all weights; remove b1, or the file"),
        ('b1 = [0]\nfile = "w.npz"', "holds all weights; remove b1, or the file"),
    ],
)
def test_a_wrong_name_of_a_file_of_weights(folder, line, message):
    (problem,) = problems_of_file(folder, NPZ.replace('file = "w.npz"', line))
    place = 6 + [part.startswith("file") for part in line.split("\n")].index(True) + 1
    assert problem.startswith(f"f.toml:{place}: init.a.file: ")
    assert message in problem


# On the command line


@pytest.mark.parametrize("command", ["sweep", "plan", "check"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (training("epochs = 3"), "f.toml:13: training.epochs: "),
        (training('optimizer = "momentum"\nmomentum = 1'), "f.toml:14: training.momentum: "),
        (training("batch_size = 3"), "f.toml:13: training.batch_size: "),
        (targets("[[1], [2]]", training('loss = "hinge"')), "f.toml:13: training.loss: "),
        (NPZ, "f.toml:7: init.a.file: "),
        (NPZ.replace("w.npz", "npy.npz"), "f.toml:7: init.a.file: "),
    ],
    ids=["epochs", "momentum", "batch", "targets", "missing", "npy"],
)
def test_the_command_line_says_it_and_exits_with_2(folder, command, text, expected):
    (folder / "f.toml").write_text(text)
    (folder / "npy.npz").write_bytes(npy(GOOD["W1"]))
    result = CliRunner().invoke(app, [command, "f.toml"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(expected)
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "results").exists()


def test_every_parameter_of_the_vocabulary_is_a_key_of_the_sweep_file():
    tables = {"network": (ACTIVATIONS,), "training": (LOSSES, OPTIMIZERS, SCHEDULES)}
    for section, entries in tables.items():
        for entry in (entry for table in entries for entry in table.values()):
            assert all(PARAMETERS[name].section == section for name in entry.defaults)

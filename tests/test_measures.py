import numpy as np
import pytest
import reference
from agreement import TOLERANCE, is_well_conditioned
from hypothesis import assume, given
from hypothesis import strategies as st
from runs import (
    DTYPES,
    MACHINES,
    assert_close,
    combinations,
    examples,
    on,
    pack,
    random_experiment,
    reference_of,
    run,
    unpack,
    width_of,
)

from fastbp.kernels.lanes import rows
from fastbp.kernels.metrics import METRICS, SCORES, add_score

MEASURES = ("loss_last", "gradient_norm", "weight_norm", "score", "validation_loss", "validation_score")

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def measures_of(experiment, r, expected):
    """Give the measures of each step of a run by the textbook; NaN is what is not measured."""
    (x, y), shape = experiment.data(r), experiment.structure
    own = reference.OWN | {name: float(values[r]) for name, values in experiment.own.items()}
    n, names = shape.n_samples, [f"{kind}{layer}" for layer in range(1, len(shape.layers)) for kind in "Wb"]
    kept = reference.split(shape.layers, shape.bias, np.arange(shape.n_parameters))
    parts = dict(zip(names, [part.ravel() for pair in kept for part in pair], strict=True))
    trained = [
        p
        for name, part in parts.items()
        if name not in shape.frozen and (shape.bias or "W" in name)
        for p in part
    ]
    found = {name: np.full(experiment.steps + 1, np.nan) for name in MEASURES}
    for t, w in enumerate(expected.w):
        parameters = reference.split(shape.layers, shape.bias, w)
        for prefix, part in (("", slice(0, n)), ("validation_", slice(n, None))):
            if len(x[part]) == 0:
                continue
            X, Y = x[part].astype(float), y[part].astype(float)
            zs, outputs = reference.forward(parameters, shape.activations, X, experiment.scales[r], own)
            name = prefix + "loss" if prefix else "loss_last"
            found[name][t] = reference.LOSS[shape.loss](zs[-1], outputs[-1], Y, own)
            if shape.score is not None:
                found[prefix + "score"][t] = reference.score_of(shape.loss, outputs[-1], Y)
        found["weight_norm"][t] = np.linalg.norm(w)
        if t < experiment.steps:
            found["gradient_norm"][t] = np.linalg.norm(expected.g[t][trained])
    found["gradient_norm"][-1] = found["gradient_norm"][-2]  # no update follows the last weights
    return found


def is_a_count(experiment):
    return reference.OUTPUT.get(experiment.loss) or experiment.loss == "hinge"


@dtypes
@examples(80)
@given(st.data(), st.integers(1, 4))
def test_history_of_any_combination(dtype, data, every):
    experiment = data.draw(combinations(dtype))
    expected = {r: reference_of(experiment, r) for r in range(len(experiment.w))}
    expected = {r: e for r, e in expected.items() if is_well_conditioned(experiment, r, e)}
    assume(expected)
    steps_kept = sorted({*range(0, experiment.steps, every), experiment.steps})
    for machine in MACHINES:
        result = run(experiment, machine, history=steps_kept, measures=MEASURES, trace=False)
        for r, of_run in expected.items():
            for name, numbers in measures_of(experiment, r, of_run).items():
                for got, number in zip(result.history[name][r], numbers[steps_kept], strict=True):
                    if np.isnan(number):
                        continue
                    if "score" in name and is_a_count(experiment) and got != pytest.approx(number, rel=1e-5):
                        assert tie_is_near(experiment, r, of_run, dtype), name
                        continue
                    assert_close(got, number, 3 * TOLERANCE[dtype], name, abs(number))


def tie_is_near(experiment, r, expected, dtype):
    """Whether some output of some step is so near to another count that rounding decides."""
    x, _ = experiment.data(r)
    own = reference.OWN | {name: float(values[r]) for name, values in experiment.own.items()}
    for w in expected.w:
        parameters = reference.split(experiment.layers, experiment.bias, w)
        a = reference.forward(parameters, experiment.activations, x.astype(float), experiment.scales[r], own)[
            1
        ][-1]
        if experiment.loss == "cross_entropy" and a.shape[1] > 1:
            best = np.sort(a, axis=1)
            distance = (best[:, -1] - best[:, -2]).min()
        else:
            distance = np.abs(a - 0.5 * (experiment.loss == "binary_cross_entropy")).min()
        if distance < 10 * TOLERANCE[dtype]:
            return True
    return False


@machines
@dtypes
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("batch_size", [0, 3])
def test_what_is_measured_changes_nothing(batch_size, stops, dtype, machine):
    options = {"n_validation": 3, "batch_size": batch_size, "stops_at_target": stops, "optimizer": "adam"}
    experiment = random_experiment(5, [2, 3, 2], ["silu", "tanh"], "huber", True, 7, 5, 30, dtype, **options)
    plain = run(experiment, machine, history=False, trace=False)
    for measures, every in ((MEASURES, 1), (MEASURES, 7), (("loss_last",), 4), (tuple(METRICS), 3)):
        result = run(experiment, machine, history=range(0, 31, every), measures=measures, trace=False)
        np.testing.assert_array_equal(result.final, plain.final)
        for name in METRICS:
            np.testing.assert_array_equal(result.metrics[name], plain.metrics[name], name)


# Scores


def scored(name, loss, activation, machine, dtype=np.float64, n_outputs=3):
    """Give outputs and targets of trained runs, and the scores."""
    experiment = random_experiment(
        9, [2, 4, n_outputs], ["tanh", activation], loss, True, 20, 8, 5, dtype, rate=0.3
    )
    assert experiment.structure.score == name
    result = run(experiment, machine)
    a = result.a[:, -1, :, -n_outputs:].astype(float)
    return a, experiment.y.astype(float), result.metrics["score"]


@machines
@dtypes
def test_scores_are_those_of_scikit_learn(machine, dtype):
    metrics = pytest.importorskip("sklearn.metrics")
    tolerance = {"rel": 1e-12 if dtype == np.float64 else 1e-5}
    a, y, scores = scored("r2", "mse", "identity", machine, dtype)
    assert scores == pytest.approx([metrics.r2_score(y, outputs) for outputs in a], **tolerance)
    a, y, scores = scored("accuracy", "cross_entropy", "softmax", machine, dtype)
    labels = [metrics.accuracy_score(y.argmax(axis=1), outputs.argmax(axis=1)) for outputs in a]
    assert scores == pytest.approx(labels, **tolerance)
    a, y, scores = scored("binary_accuracy", "binary_cross_entropy", "sigmoid", machine, dtype)
    shares = [metrics.accuracy_score((y > 0.5).ravel(), (outputs > 0.5).ravel()) for outputs in a]
    assert scores == pytest.approx(shares, **tolerance)
    a, y, scores = scored("sign_accuracy", "hinge", "tanh", machine, dtype)
    shares = [metrics.accuracy_score((y > 0).ravel(), (outputs > 0).ravel()) for outputs in a]
    assert scores == pytest.approx(shares, **tolerance)
    assert len(set(scores)) > 1


@machines
def test_r2_of_targets_that_are_all_the_same_is_not_defined(machine):
    experiment = random_experiment(9, [2, 2], ["tanh"], "mse", True, 6, 3, 2)
    y = experiment.y.copy()
    y[:, 1] = 0.5
    assert np.isnan(run(experiment.with_(y=y), machine).metrics["score"]).all()


def score_loop(kind, a, y, s, n_outputs):
    for block in range(len(a)):
        add_score(kind, (rows(a, block), rows(y, block), rows(s, block), 0, 0, n_outputs))


def added(machine, kind, a, y, dtype):
    """Give the total of the score of one sample a run, (n_runs,); it is 0 before."""
    width = width_of(machine, dtype)
    blocks = [pack(np.array(v, float), width, dtype) for v in (a, y, np.zeros((len(a), 1 + 3 * len(a[0]))))]
    on(machine, score_loop)(kind, *blocks, len(a[0]))
    return unpack(blocks[-1], len(a))[:, 0]


@machines
@dtypes
def test_counts_at_a_tie(machine, dtype):
    # The first of equal outputs is taken, as by argmax; an output at the threshold is on the lower side.
    a, y = [[1, 1, 0], [1, 1, 0], [0, 0, 2]], [[1, 0, 0], [0, 1, 0], [0.5, 0, 0.5]]
    kinds = list(SCORES)
    np.testing.assert_array_equal(added(machine, kinds.index("accuracy"), a, y, dtype), [1, 0, 1])
    halves, targets = [[0.5, 0.5], [0.6, 0.4]], [[1, 0], [1, 1]]
    np.testing.assert_array_equal(
        added(machine, kinds.index("binary_accuracy"), halves, targets, dtype), [1, 1]
    )
    signs, targets = [[0.0, 0.0], [3.0, -3.0]], [[1, -1], [1, 0]]
    np.testing.assert_array_equal(added(machine, kinds.index("sign_accuracy"), signs, targets, dtype), [1, 2])


@machines
@pytest.mark.parametrize("kind", [-1, len(SCORES), 2**40])
def test_a_score_outside_the_table_is_not_a_number(kind, machine):
    assert np.isnan(added(machine, kind, [[1.0, 0.0]] * 3, [[1.0, 0.0]] * 3, np.float64)).all()


def test_every_score_says_its_formula():
    assert all(score.formula for score in SCORES.values())
    assert set(MEASURES) <= set(METRICS)

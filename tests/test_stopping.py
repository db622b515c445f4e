import numpy as np
import pytest
from agreement import (
    assert_agrees,
    assert_all_machines_agree_with_the_textbook,
    assert_metrics,
)
from hypothesis import given
from hypothesis import strategies as st
from runs import (
    DTYPES,
    MACHINES,
    combinations,
    examples,
    random_experiment,
    reference_of,
    run,
    with_own,
)

MEASURES = ("loss_last", "gradient_norm", "weight_norm", "validation_loss")

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def with_targets(experiment, share):
    """Give the experiment with each run's target at a share, of its own, of its first loss."""
    first = [reference_of(experiment.with_(steps=0), r).losses[0] for r in range(len(experiment.w))]
    shares = np.linspace(share, 0.987, len(experiment.w))  # not at the first loss itself, a tie
    return experiment.with_(targets=(shares * first).astype(experiment.w.dtype))


def assert_same_until_the_end(result, place, alone):
    """Hold a run of one result to the only run of another, to the bit."""
    steps = alone.steps[0]
    assert result.steps[place] == steps
    np.testing.assert_array_equal(result.final[place], alone.final[0])
    for name, values in alone.metrics.items():
        np.testing.assert_array_equal(result.metrics[name][place], values[0], name)
    for name, values in alone.history.items():
        # What follows the end of a run depends on its neighbours, and is shown to nobody.
        np.testing.assert_array_equal(result.history[name][place, : steps + 1], values[0, : steps + 1], name)


@dtypes
@examples(150)
@given(st.data())
def test_any_combination_ends_where_the_textbook_does(dtype, data):
    experiment = data.draw(combinations(dtype, max_steps=25, stops=True))
    experiment = with_targets(experiment, data.draw(st.sampled_from([0.73, 0.91, 0.97])))
    assert_all_machines_agree_with_the_textbook(experiment)


@dtypes
@examples(200)
@given(st.data())
def test_a_run_that_stops_is_to_the_bit_that_run_alone(dtype, data):
    experiment = data.draw(combinations(dtype, max_runs=6, max_steps=30, stops=True))
    experiment = with_targets(experiment, data.draw(st.sampled_from([0.5, 0.8, 0.97])))
    wild = np.array(data.draw(st.lists(st.booleans(), min_size=6, max_size=6)))[: len(experiment.w)]
    rates = np.where(wild[:, None], dtype(1e6), experiment.learning_rates).astype(dtype)
    experiment = experiment.with_(learning_rates=rates)
    # In other lanes and blocks, among others.
    index = st.integers(0, len(experiment.w) - 1)
    order = data.draw(st.lists(index, min_size=1, max_size=70))
    together = run(experiment.pick(order), measures=MEASURES, trace=False)
    for r in set(order):
        alone = run(experiment.pick([r]), measures=MEASURES, trace=False)
        for place in np.flatnonzero(np.array(order) == r):
            assert_same_until_the_end(together, place, alone)


def plain(n_runs=5, steps=40, **options):
    return random_experiment(7, [2, 3, 1], ["tanh", "identity"], "mse", True, 6, n_runs, steps, **options)


@machines
def test_at_its_target(machine):
    experiment = plain(stops_at_target=True)
    whole = run(experiment.with_(options={}), machine)
    # One between two losses, one met at the start, one never met, one met exactly, one that is no number.
    targets = [whole.losses[0, 10:12].mean(), np.inf, -1.0, whole.losses[3, 7], np.nan]
    experiment = experiment.with_(targets=np.array(targets))
    result = run(experiment, machine)
    assert result.steps.tolist() == [11, 0, 40, 7, 40]
    for r, steps in enumerate(result.steps):
        np.testing.assert_array_equal(result.final[r], whole.w[r, steps])
        assert result.metrics["loss_last"][r] == whole.losses[r, steps]
        assert result.metrics["step_converged"][r] == (-1 if steps == 40 else steps)
        assert_metrics(result, r, reference_of(experiment, r), 1e-12)


@machines
@dtypes
def test_at_its_divergence(machine, dtype):
    experiment = random_experiment(
        1, [2, 2, 1], ["identity"] * 2, "half_sse", True, 3, 3, 40, dtype, stops_on_divergence=True
    )
    rates = np.array([[0.1, 0.1], [1e4, 1e4], [0.1, 0.05]], dtype)
    experiment = experiment.with_(learning_rates=rates)
    whole = run(experiment.with_(options={}), machine)
    result = run(experiment, machine)
    step = int(whole.metrics["step_diverged"][1])
    assert 0 < step < 20
    assert result.steps.tolist() == [40, step, 40]
    np.testing.assert_array_equal(result.final[1], whole.w[1, step])
    assert result.metrics["step_diverged"].tolist() == [-1, step, -1]
    for r in (0, 2):
        np.testing.assert_array_equal(result.final[r], whole.final[r])
        np.testing.assert_array_equal(result.losses[r], whole.losses[r])
    if dtype == np.float64:
        assert reference_of(experiment, 1).steps == step


@machines
@pytest.mark.parametrize("validate_every", [0, 1, 3])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_out_of_patience(patience, validate_every, machine):
    options = {"n_validation": 4, "patient": True, "validate_every": validate_every, "batch_size": 4}
    experiment = with_own(plain(steps=60, rate=0.6, **options), 1)
    own = {"patience": np.full(5, float(patience)), "min_delta": np.linspace(0, 0.02, 5)}
    experiment = experiment.with_(own=own)
    result = run(experiment, machine)
    expected = [reference_of(experiment, r) for r in range(5)]
    assert result.steps.tolist() == [e.steps for e in expected]
    assert len({steps for steps in result.steps.tolist() if steps < 60}) >= 2
    for r, of_run in enumerate(expected):
        assert (result.steps[r] == 60) or result.steps[r] % (validate_every or 2) == 0
        assert_agrees(result, r, of_run, 1e-10, ["losses"])


@machines
def test_whichever_comes_first(machine):
    options = {"n_validation": 4, "patient": True, "stops_at_target": True, "stops_on_divergence": True}
    experiment = plain(n_runs=4, steps=60, **options)
    target = reference_of(experiment.with_(options={"n_validation": 4}), 0).losses[9]
    experiment = experiment.with_(
        own={"patience": np.array([50.0, 3.0, 50.0, 50.0]), "min_delta": np.array([0, 1e3, 0, 0])},
        targets=np.array([target, -1, -1, -1]),
        learning_rates=np.array([experiment.learning_rates[0], [0.01, 0.01], [1e9, 1e9], [0.01, 0.01]]),
    )
    result = run(experiment, machine)
    expected = [reference_of(experiment, r) for r in range(4)]
    assert [e.steps for e in expected][1:2] == [3]
    assert result.steps.tolist() == [e.steps for e in expected]
    assert 0 < result.steps[0] < 60
    assert result.steps[3] == 60
    assert result.metrics["step_diverged"][2] == result.steps[2]


@machines
@pytest.mark.parametrize("steps", [0, 1, 19, 20, 21, 50])
def test_the_tail_of_a_run_that_can_stop_is_that_of_one_that_cannot(steps, machine):
    whole = run(plain(steps=steps), machine)
    result = run(plain(steps=steps, stops_at_target=True), machine)
    np.testing.assert_array_equal(result.final, whole.final)
    for name, values in whole.metrics.items():
        np.testing.assert_allclose(result.metrics[name], values, rtol=1e-13, err_msg=name)
    assert (result.steps == steps).all()

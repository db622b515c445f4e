import numpy as np
import pytest
import reference
from agreement import (
    ARRAYS,
    STEPS,
    TOLERANCE,
    assert_agrees,
    assert_all_machines_agree_with_the_textbook,
    is_well_conditioned,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from runs import (
    DTYPES,
    MACHINES,
    assert_close,
    assert_same_bits,
    combinations,
    distance_to_kink,
    examples,
    experiments,
    random_experiment,
    reference_of,
    run,
    with_own,
)

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS


@pytest.mark.parametrize("dtype", DTYPES)
@examples(60)
@given(st.data(), st.booleans())
def test_interpreter_and_lanes_agree_with_the_textbook(dtype, data, per_run):
    experiment = data.draw(experiments(dtype, per_run=per_run))
    expected = [reference_of(experiment, r) for r in range(len(experiment.w))]
    assume(all(is_well_conditioned(experiment, r, e) for r, e in enumerate(expected)))
    for machine in MACHINES:
        result = run(experiment, machine)
        for r, of_run in enumerate(expected):
            assert_agrees(result, r, of_run, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@examples(250)
@given(st.data())
def test_any_combination_agrees_with_the_textbook(dtype, data):
    experiment = data.draw(combinations(dtype))
    assert_all_machines_agree_with_the_textbook(experiment)


PAIRS = [
    pytest.param(activation, loss, id=f"{activation}-{loss}")
    for activation in ACTIVATIONS
    for loss in LOSSES
    if LOSSES[loss].output in ("", activation)
]


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_gradient_of_each_activation_and_loss(activation, loss):
    hidden = "tanh" if ACTIVATIONS[activation].over_layer else activation
    experiment = random_experiment(1, [2, 3, 2], [hidden, activation], loss, True, 4, 3, 1)
    experiment = with_own(experiment, seed=1)
    for machine in MACHINES:
        gradients = run(experiment, machine).g[:, 0]
        for r in range(3):
            expected = reference_of(experiment, r)
            if distance_to_kink(experiment, expected) > 5e-3:
                assert_slopes(experiment, r, gradients[r])
    assert any(distance_to_kink(experiment, reference_of(experiment, r)) > 5e-3 for r in range(3))


@examples(100)
@given(experiments(max_runs=1, max_steps=1), st.sampled_from(MACHINES))
def test_gradient_is_the_slope_of_the_loss(experiment, machine):
    assume(distance_to_kink(experiment, reference_of(experiment, 0)) > 5e-3)
    assert_slopes(experiment, 0, run(experiment, machine).g[0, 0])


def assert_slopes(experiment, r, gradient):
    """Hold the first gradient of a run to differences of the reference's loss."""
    # Four points of distance 1e-4: the error of the formula is 1e-16 of the fifth derivative.
    h, w, (x, y) = 1e-4, experiment.w[r], experiment.data(r)
    own = reference.OWN | {name: float(values[r]) for name, values in experiment.own.items()}

    def loss(p, distance):
        moved = w.copy()
        moved[p] += distance
        e = experiment
        return reference.loss_of(e.layers, e.activations, e.loss, e.bias, x, y, moved, e.scales[r], own)

    slopes = [
        (8 * (loss(p, h) - loss(p, -h)) - (loss(p, 2 * h) - loss(p, -2 * h))) / (12 * h)
        for p in range(len(w))
    ]
    assert np.abs(gradient - slopes).max() < 1e-6 * np.abs(slopes).max() + 1e-10


@examples(60)
@given(st.data(), st.sampled_from(MACHINES))
def test_convergence_is_noticed_at_its_step(data, machine):
    experiment = data.draw(experiments(max_steps=30, max_runs=4))
    targets = []
    for r in range(len(experiment.w)):
        losses = np.sort(reference_of(experiment, r).losses)
        between = data.draw(st.integers(0, len(losses) - 2))
        assume(losses[between + 1] > losses[between] * (1 + 1e-6))
        targets.append((losses[between] + losses[between + 1]) / 2)
    experiment = experiment.with_(targets=np.array(targets))
    result = run(experiment, machine)
    for r in range(len(experiment.w)):
        expected = reference_of(experiment, r)
        assume(distance_to_kink(experiment, expected) > 1e-6)
        assert expected.metrics["step_converged"] >= 0
        for name in STEPS:
            assert result.metrics[name][r] == expected.metrics[name]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("steps", [1, 19, 20, 21, 50])
def test_convergence_measure_of_falling_and_rising_losses(steps, machine):
    experiment = random_experiment(3, [2, 3, 1], ["tanh", "identity"], "mse", True, 4, 6, steps)
    # The last rates overshoot, but not for so long that rounding matters.
    rates = np.array([0.0, 0.01, 0.1, 0.2, 1.1, 1.3])[:, None] * np.ones(2)
    experiment = experiment.with_(learning_rates=rates)
    result = run(experiment, machine)
    signs = set()
    for r in range(1, 6):
        expected = reference_of(experiment, r).metrics
        for name in ("convergence", "loss_tail", "loss_min"):
            assert result.metrics[name][r] == pytest.approx(expected[name], rel=1e-9), (name, r)
        signs.add(np.sign(expected["convergence"]))
    assert steps < 20 or signs == {-1.0, 1.0}
    # Without learning every ratio is exactly 1, which does not count as converged.
    assert result.metrics["convergence"][0] == steps
    assert len(set(result.losses[0])) == 1


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("dtype", DTYPES)
@examples(30)
@given(st.data())
def test_divergence_is_noticed_at_its_step_and_disturbs_no_neighbour(dtype, machine, data):
    experiment = data.draw(experiments(dtype, activations=("identity", "relu"), max_runs=4, max_steps=12))
    wild = data.draw(st.lists(st.booleans(), min_size=len(experiment.w), max_size=len(experiment.w)))
    absurd = experiment.with_(
        learning_rates=np.where(np.array(wild)[:, None], dtype(1e6), experiment.learning_rates).astype(dtype)
    )
    result = run(absurd, machine)
    limit = np.finfo(dtype).max
    for r, is_wild in enumerate(wild):
        if not is_wild:
            alone = run(experiment.pick([r]), machine)
            for name in ARRAYS:
                assert np.array_equal(getattr(result, name)[r], getattr(alone, name)[0], equal_nan=True)
            continue
        losses = result.losses[r]
        expected = reference_of(absurd, r)
        ended = np.flatnonzero(~np.isfinite(losses))
        assert result.metrics["step_diverged"][r] == (ended[0] if len(ended) else -1)
        assert result.metrics["loss_first"][r] == losses[0]
        assert not np.isfinite(losses[ended]).any()
        assert result.metrics["loss_min"][r] == np.nanmin(losses)
        # The textbook's run, in float64, tells the step too unless it comes close to the largest number, or
        # relu saves it from a sum that overflows: which of infinities of both signs wins, fma decides.
        seen = np.abs(np.concatenate([expected.losses, expected.w.ravel(), expected.g.ravel()]))
        is_clear = not ((seen > limit / 1e9) & np.isfinite(seen)).any()
        is_clear &= (np.isfinite(expected.losses) <= np.isfinite(expected.z).all(axis=(1, 2))).all()
        if dtype == np.float64 and is_clear and distance_to_kink(absurd, expected) > 1e-6:
            assert result.metrics["step_diverged"][r] == expected.metrics["step_diverged"]


@pytest.mark.parametrize("machine", MACHINES)
def test_a_diverged_run_counts_as_a_million_from_then_on(machine):
    experiment = random_experiment(1, [2, 2, 1], ["identity", "identity"], "half_sse", True, 3, 3, 40)
    experiment = experiment.with_(learning_rates=np.array([[0.1, 0.1], [1e9, 1e9], [0.1, 0.05]]))
    result = run(experiment, machine)
    step = int(result.metrics["step_diverged"][1])
    expected = reference_of(experiment, 1).metrics
    assert 0 < step < 20
    assert step == expected["step_diverged"]
    assert result.metrics["convergence"][1] == pytest.approx(expected["convergence"], rel=1e-9)
    assert not np.isfinite(result.metrics["loss_tail"][1])
    assert result.metrics["step_diverged"][[0, 2]].tolist() == [-1, -1]
    for r in (0, 2):
        assert_agrees(result, r, reference_of(experiment, r), 1e-12)


@pytest.mark.parametrize("machine", MACHINES)
def test_no_steps_evaluate_the_initial_network(machine):
    experiment = random_experiment(2, [3, 2, 2], ["tanh", "sigmoid"], "mse", True, 2, 3, steps=0)
    result = run(experiment, machine)
    for r in range(3):
        expected = reference_of(experiment, r)
        assert_close(result.losses[r], expected.losses, 1e-12)
        assert_close(result.z[r], expected.z, 1e-12)
        for name in ("loss_first", "loss_last", "loss_min"):
            assert result.metrics[name][r] == result.losses[r, 0]
    assert (result.final == experiment.w).all()
    assert np.isnan(result.metrics["loss_tail"]).all()
    assert (result.metrics["step_diverged"] == -1).all()


@pytest.mark.parametrize("machine", MACHINES)
def test_each_layer_learns_at_its_own_rate(machine):
    experiment = random_experiment(5, [2, 3, 4, 1], ["tanh"] * 3, "mse", True, 3, 4, steps=1)
    experiment = experiment.with_(learning_rates=np.vstack([np.zeros(3), np.diag([0.5, 0.25, 0.125])]))
    result = run(experiment, machine)
    moved = result.final != experiment.w
    layer = np.repeat([0, 1, 2], [9, 16, 5])
    assert not moved[0].any()
    for r in range(3):
        assert moved[1 + r, layer == r].all()
        assert not moved[1 + r, layer != r].any()
        step = -experiment.learning_rates[1 + r, r] * result.g[1 + r, 0]
        assert_close((result.final - experiment.w)[1 + r], np.where(layer == r, step, 0), 1e-12)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_frozen_stays(optimizer, machine):
    names = ["W1", "b1", "W2", "b2"]
    place = np.repeat([0, 1, 2, 3], [6, 3, 3, 1])
    for frozen in ([], ["W1"], ["b1", "W2"], names):
        options = {"frozen": tuple(frozen), "optimizer": optimizer, "decays": True, "clips": True}
        experiment = random_experiment(2, [2, 3, 1], ["tanh"] * 2, "mse", True, 4, 3, 3, **options)
        experiment = with_own(experiment, 3)
        moved = run(experiment, machine).final != experiment.w
        assert (moved == ~np.isin(place, [names.index(name) for name in frozen])).all()


@pytest.mark.parametrize("dtype", DTYPES)
@examples(30)
@given(st.data())
def test_shared_and_repeated_data_give_the_same_bits(dtype, data):
    shared = data.draw(experiments(dtype, max_runs=5))
    n_runs = len(shared.w)
    repeated = shared.with_(x=np.repeat(shared.x[None], n_runs, 0), y=np.repeat(shared.y[None], n_runs, 0))
    for machine in MACHINES:
        assert_same_bits(run(shared, machine), run(repeated, machine), ["final", *ARRAYS])


def test_the_textbook_gives_the_published_example():
    # M. Mazur, A step by step backpropagation example: the error before and the weights after one update.
    W1, W2 = np.array([[0.15, 0.25], [0.20, 0.30]]), np.array([[0.40, 0.50], [0.45, 0.55]])
    w = np.concatenate([W1.ravel(), [0.35, 0.35], W2.ravel(), [0.60, 0.60]])
    trained = reference.train(
        [2, 2, 2], ["sigmoid"] * 2, "half_sse", True, [[0.05, 0.10]], [[0.01, 0.99]], w, [0.5, 0.5], 1, -1.0
    )
    assert trained.losses[0] == pytest.approx(0.298371109, abs=1e-9)
    expected_W1 = [0.149780716, 0.24975114, 0.19956143, 0.29950229]
    expected_W2 = [0.35891648, 0.511301270, 0.408666186, 0.561370121]
    assert trained.w[1][[0, 1, 2, 3]] == pytest.approx(expected_W1, abs=1e-8)
    assert trained.w[1][[6, 7, 8, 9]] == pytest.approx(expected_W2, abs=1e-8)

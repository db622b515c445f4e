"""When a run has to agree with the textbook's, and how closely."""

import numpy as np
from hypothesis import assume
from runs import (
    MACHINES,
    assert_close,
    distance_to_a_tie,
    distance_to_kink,
    error_of,
    is_full,
    reference_of,
    run,
)

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
MARGIN = {np.float64: 1e-9, np.float32: 1e-4}
STEPS = ["step_converged", "step_diverged"]
ARRAYS = ["losses", "w", "g", "z", "a", "delta"]


def arrays_of(experiment):
    """Give the arrays of a trace that mean something: delta is that of one sample after another."""
    return ARRAYS[:-1] if not is_full(experiment.structure) else ARRAYS


def is_well_conditioned(experiment, run, expected):
    """Whether rounding changes this run by little: no kink nearby, no growing loss, no amplified rounding."""
    dtype = experiment.w.dtype.type
    margin = MARGIN[dtype]
    # Only the loss of all samples is the first loss to the bit; that of a batch of them can be next to it.
    is_exactly_one = experiment.steps == 1 and is_full(experiment.structure)
    tail_is_clear = abs(expected.tail_ratio - 1) > margin or is_exactly_one or expected.steps == 0
    smallest = min(expected.losses.min(), expected.metrics["loss_min"])
    tame = expected.losses.max() < 1.5 * expected.losses[0] and smallest > 1e-2
    clear = min(distance_to_kink(experiment, expected), distance_to_a_tie(experiment, run, expected)) > margin
    if not (tame and tail_is_clear and clear):
        return False
    # The same run from weights and data a rounding or two away, with gradients rounded too, by the textbook alone.
    random, eps = np.random.default_rng(0), np.finfo(dtype).eps

    def rounded(values):
        return values * (1 + 2.0 * eps * random.choice([-1.0, 1.0], values.shape))

    near = experiment.with_(w=rounded(experiment.w), x=rounded(experiment.x))
    moved = reference_of(near, run, rounding=4.0 * eps)
    if moved.steps != expected.steps:
        return False
    arrays = arrays_of(experiment)
    moves = [error_of(getattr(moved, name), getattr(expected, name)) for name in arrays]
    return max(moves) < TOLERANCE[dtype] / 5


def assert_agrees(result, run, expected, tolerance, arrays=ARRAYS):
    """Hold a run, up to its last step, to the textbook's."""
    assert result.steps[run] == expected.steps
    for name in arrays:
        of_run = getattr(expected, name)
        assert_close(getattr(result, name)[run][: len(of_run)], of_run, tolerance, name)
    assert_close(result.final[run], expected.w[-1], tolerance, "final")
    assert_metrics(result, run, expected, tolerance)


def assert_metrics(result, run, expected, tolerance):
    for name, number in expected.metrics.items():
        got = result.metrics[name][run]
        if name in STEPS:
            assert got == number, name
        elif np.isnan(number):
            assert np.isnan(got) or expected.steps == 0, name
        else:
            loss = name.startswith("loss") or name == "validation_loss"
            assert_close(got, number, tolerance, name, expected.losses.max() if loss else abs(number))


def assert_all_machines_agree_with_the_textbook(experiment):
    """Hold the well-conditioned runs of an experiment, of which there has to be one, to the textbook's."""
    expected = {r: reference_of(experiment, r) for r in range(len(experiment.w))}
    expected = {r: e for r, e in expected.items() if is_well_conditioned(experiment, r, e)}
    assume(expected)
    for machine in MACHINES:
        result = run(experiment, machine, trace=True)
        for r, of_run in expected.items():
            tolerance = TOLERANCE[experiment.w.dtype.type]
            assert_agrees(result, r, of_run, tolerance, arrays_of(experiment))

import itertools

import numpy as np
import pytest
from runs import HIDDEN

from fastbp.kernels.activations import ACTIVATIONS, HYPERPARAMETERS, OFFSETS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.metrics import SCORES
from fastbp.kernels.optimizers import N_COEFFICIENTS, OPTIMIZERS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.kernels.structure import Structure, network_of

PLAIN = Structure((2, 3, 1), True, ("tanh", "identity"), "mse", "sgd", 10, "float64", 8)


def names(structure):
    return [name for name, _, _ in structure.hyperparameters()]


def test_rows_of_a_plain_run():
    assert list(PLAIN.hyperparameters()) == [
        ("target_loss", None, -np.inf),
        ("learning_rate", 0, None),
        ("learning_rate", 1, None),
        ("scale", 0, 1.0),
        ("scale", 1, 1.0),
    ]


def test_rows_of_everything():
    structure = PLAIN._replace(
        activations=("leaky_relu", "elu"),
        loss="huber",
        optimizer="adamw",
        schedule="cosine",
        clips=True,
        decays=True,
        patient=True,
        n_validation=2,
    )
    assert list(structure.hyperparameters())[5:] == [
        ("huber_delta", None, 1.0),
        ("beta_1", None, 0.9),
        ("beta_2", None, 0.999),
        ("epsilon", None, 1e-8),
        ("warmup_steps", None, 0.0),
        ("decay_steps", None, 0.0),
        ("final_factor", None, 0.0),
        ("clip_norm", None, np.inf),
        ("weight_decay", None, 0.01),
        ("patience", None, None),
        ("min_delta", None, 0.0),
        ("negative_slope", None, 0.01),
        ("elu_alpha", None, 1.0),
    ]


def test_a_part_that_is_off_has_no_rows():
    assert "weight_decay" not in names(PLAIN._replace(optimizer="adamw"))
    assert names(PLAIN._replace(warms_up=True))[5:] == ["warmup_steps"]
    assert names(PLAIN._replace(activations=("elu", "elu")))[5:] == list(HYPERPARAMETERS)


@pytest.mark.parametrize(
    ("hidden", "loss", "optimizer", "schedule"),
    [
        pytest.param(*chosen, id="-".join(chosen))
        for chosen in itertools.zip_longest(HIDDEN, LOSSES, OPTIMIZERS, SCHEDULES, fillvalue="")
    ],
)
def test_the_network_finds_its_rows(hidden, loss, optimizer, schedule):
    loss, optimizer, schedule = loss or "huber", optimizer or "nadam", schedule or "step"
    output = LOSSES[loss].output or "leaky_relu"
    structure = PLAIN._replace(
        activations=(hidden, output),
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        warms_up=True,
        clips=True,
        decays=True,
        patient=True,
    )
    network, found = network_of(structure), names(structure)
    assert len(found) == len(set(found)) + 2  # two layers have a learning rate and a scale

    def part(row, defaults):
        assert found[row : row + len(defaults)] == list(defaults)

    part(network.loss_row, LOSSES[loss].defaults)
    part(network.optimizer_row, [name for name in OPTIMIZERS[optimizer].defaults if name != "weight_decay"])
    part(network.schedule_row, ["warmup_steps", *SCHEDULES[schedule].defaults])
    part(network.clip_row, ["clip_norm"])
    part(network.decay_row, ["weight_decay"])
    part(network.patience_row, ["patience", "min_delta"])
    for name in structure.activations:
        if any(ACTIVATIONS[other].defaults for other in structure.activations):
            part(network.activation_row + OFFSETS[name], ACTIVATIONS[name].defaults)
    assert list(LOSSES)[network.loss] == loss
    assert list(OPTIMIZERS)[network.optimizer] == optimizer
    assert list(SCHEDULES)[network.schedule] == schedule
    assert [list(ACTIVATIONS)[kind] for kind in network.activations] == [hidden, output]
    assert list(SCORES)[network.score] == LOSSES[loss].score
    assert list(ACTIVATIONS)[network.slopes[-1]] == ("identity" if LOSSES[loss].output else output)
    assert network.decoupled == OPTIMIZERS[optimizer].decoupled
    moments = 9 + 4  # parameters
    assert network.n_state == (N_COEFFICIENTS + OPTIMIZERS[optimizer].n_moments * moments) * (
        optimizer != "sgd"
    )


def test_scheduled_only_where_the_rate_changes():
    assert not network_of(PLAIN).scheduled
    assert network_of(PLAIN._replace(warms_up=True)).scheduled
    assert network_of(PLAIN._replace(schedule="linear")).scheduled


# Stretches of parameters that are trained: W1 0-6, b1 6-9, W2 9-12, b2 12-13.


@pytest.mark.parametrize(
    ("frozen", "expected"),
    [
        ((), [(0, 0, 9), (1, 9, 13)]),
        (("W1",), [(0, 6, 9), (1, 9, 13)]),
        (("b1",), [(0, 0, 6), (1, 9, 13)]),
        (("W1", "b1"), [(1, 9, 13)]),
        (("b1", "b2"), [(0, 0, 6), (1, 9, 12)]),
        (("W1", "W2"), [(0, 6, 9), (1, 12, 13)]),
        (("W1", "b1", "W2", "b2"), []),
    ],
)
def test_ranges(frozen, expected):
    structure = PLAIN._replace(frozen=frozen)
    network = network_of(structure)
    assert structure.ranges() == expected
    columns = network.range_layers, network.range_first, network.range_last
    assert [tuple(map(int, row)) for row in zip(*columns, strict=True)] == expected
    assert all(column.dtype == np.int64 for column in columns)


def test_ranges_without_bias():
    assert PLAIN._replace(bias=False).ranges() == [(0, 0, 6), (1, 6, 9)]
    assert PLAIN._replace(bias=False, frozen=("W2",)).ranges() == [(0, 0, 6)]


@pytest.mark.parametrize(
    ("batch_size", "order", "expected"),
    [
        (0, "shuffled", (8, 1, 8)),
        (3, "shuffled", (3, 3, 8)),
        (3, "with_replacement", (3, 3, 9)),
        (4, "in_order", (4, 2, 8)),
        (8, "with_replacement", (8, 1, 8)),
        (8, "shuffled", (8, 1, 8)),
        (100, "shuffled", (8, 1, 8)),
    ],
)
def test_batches(batch_size, order, expected):
    network = network_of(PLAIN._replace(batch_size=batch_size, batch_order=order))
    assert network.full == (batch_size in (0, 8, 100) and order != "with_replacement")
    assert (network.batch_size, network.n_batches, network.epoch_size) == expected
    assert network.validate_every == network.n_batches
    assert network_of(PLAIN._replace(batch_size=batch_size, validate_every=5)).validate_every == 5


def test_one_sample_has_no_r2():
    assert PLAIN._replace(n_samples=1).score is None
    assert network_of(PLAIN._replace(n_samples=1)).score == -1
    assert PLAIN._replace(n_samples=1, loss="hinge").score == "sign_accuracy"


def test_numbers():
    assert (PLAIN.n_parameters, PLAIN.n_units) == (13, 4)
    assert PLAIN._replace(bias=False).n_parameters == 9


def chunk(layers, n_samples, batch_size=0):
    shape = Structure((*layers,), True, ("tanh",) * (len(layers) - 1), "mse", "sgd", 1, "float64", n_samples)
    return shape._replace(batch_size=batch_size).chunk


def test_a_chunk_is_of_an_even_number_of_samples_that_the_caches_hold():
    assert chunk([2, 2, 2], 1) == 2  # tiles of two
    assert chunk([2, 2, 2], 32) == 32
    # 384 / (3 * 4) = 32 samples of 4 units: 100 in chunks of 25, made even.
    assert chunk([2, 2, 2], 100) == 26
    # 384 / (3 * 17) = 7, but 16 where the second-level cache holds them.
    assert chunk([16, 16, 1], 272) == 16
    assert chunk([64, 32, 10], 1797, 32) == 16
    # A small batch, but all samples are evaluated now and then.
    assert chunk([64, 32, 10], 1797, 1) == 16
    # 8192 / (3 * 512) = 5.
    assert chunk([16] * 33, 1000) == 6
    assert chunk([5000, 5000], 7) == 2

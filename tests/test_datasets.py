"""The built-in sets, held against oracles that share no code with them."""

import itertools
import math
import socket
import statistics
import subprocess
import sys

import numpy as np
import pytest
from sweeps_of_data import arrays, sweep_of

from fastbp.datasets import DATASETS, INPUTS, NOISE, SET_PARAMETERS, TEACHER, normal, raw, shuffled
from fastbp.sweep import PARAMETERS, Data

REAL = [name for name, entry in DATASETS.items() if entry.extra]
MADE = [name for name in DATASETS if name not in REAL]


def made(name, **given):
    if DATASETS[name].extra:
        pytest.importorskip("sklearn")
    return DATASETS[name].arrays(given)


# What holds for every entry


@pytest.mark.parametrize("name", DATASETS)
def test_an_entry_says_what_it_makes(name):
    entry = DATASETS[name]
    x, y = made(name)
    assert x.shape == entry.extent(entry.values({}))
    assert y.shape == (len(x),)
    assert x.dtype == y.dtype == np.float64
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    if entry.n_classes:
        assert set(y) == set(range(entry.n_classes))
    else:
        assert len(set(y)) > 10


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_entry_says_what_it_makes_of_its_parameters(name, size):
    entry = DATASETS[name]
    given = {"size": size, "features": size, "teacher_units": size, "coefficients": (1.0,) * size}
    assert made(name, **given)[0].shape == entry.extent(entry.values(given))


@pytest.mark.parametrize("name", DATASETS)
def test_parameters_are_those_of_the_sweep_file(name):
    assert {"noise", "data_seed"} <= set(DATASETS[name].parameters) <= set(SET_PARAMETERS)
    assert set(SET_PARAMETERS) <= set(Data.model_fields)
    for parameter, default in DATASETS[name].parameters.items():
        if parameter in PARAMETERS:
            assert PARAMETERS[parameter].check(default) == default


@pytest.mark.parametrize("name", DATASETS)
def test_the_same_values_give_the_same_bits_and_no_noise_changes_nothing(name):
    clean, again = made(name), made(name, noise=0.0, data_seed=0, size=None)
    for one, other in zip(clean, again, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", DATASETS)
def test_noise_is_normal_of_the_deviation_asked_for_and_scales(name):
    given = {"size": 2000, "features": 7}
    clean, noisy, noisier = (made(name, noise=noise, **given) for noise in (0.0, 0.5, 1.0))
    part = 0 if DATASETS[name].n_classes else 1
    assert np.array_equal(noisy[1 - part], clean[1 - part])
    added = noisy[part] - clean[part]
    assert statistics.fmean(added.ravel()) == pytest.approx(0, abs=5 * 0.5 / math.sqrt(added.size))
    assert statistics.pstdev(added.ravel()) == pytest.approx(0.5, rel=5 / math.sqrt(added.size))
    assert noisier[part] - clean[part] == pytest.approx(2 * added, abs=1e-12)
    assert not np.array_equal(made(name, noise=0.5, data_seed=1, **given)[part], noisy[part])


@pytest.mark.parametrize("name", ["spirals", "circles", "moons"])
@pytest.mark.parametrize("size", [10, 11])
def test_classes_are_balanced_in_the_first_samples_as_well(name, size):
    _, y = made(name, size=size)
    assert all(abs(y[:n].sum() - n / 2) <= 0.5 for n in range(size + 1))


# One by one


def test_xor():
    x, y = made("xor", size=9)
    corners = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    assert [(*map(int, row), int(target)) for row, target in zip(x, y, strict=True)] == [
        *corners,
        *corners,
        corners[0],
    ]
    assert len(made("xor")[0]) == 4


@pytest.mark.parametrize("features", [1, 2, 3, 8])
def test_parity_counts_bits(features):
    x, y = made("parity", features=features)
    assert [tuple(row) for row in x] == list(itertools.product([0, 1], repeat=features))
    assert list(y) == [number.bit_count() % 2 for number in range(2**features)]


def test_spirals_are_those_of_lang_and_witbrock():
    x, y = made("spirals")
    assert len(x) == 194
    for i in range(97):
        radius, angle = 6.5 * (104 - i) / 104, i * math.pi / 16
        assert x[2 * i] == pytest.approx([radius * math.sin(angle), radius * math.cos(angle)], abs=1e-12)
    assert np.array_equal(x[0::2], -x[1::2])
    assert list(y[:4]) == [0, 1, 0, 1]


@pytest.mark.parametrize("size", [2, 20, 21])
def test_spirals_begin_and_end_where_they_should(size):
    x, _ = made("spirals", size=size)
    radii = [math.hypot(*point) for point in x[0::2]]
    assert radii[0] == pytest.approx(6.5)
    assert radii == sorted(radii, reverse=True)
    if size > 2:
        assert radii[-1] == pytest.approx(0.5)


def test_circles_have_their_radii_and_are_evenly_spaced():
    x, y = made("circles", size=20)
    for target, radius in ((0, 1.0), (1, 0.5)):
        points = x[y == target]
        assert [math.hypot(*point) for point in points] == pytest.approx([radius] * 10)
        chord = 2 * radius * math.sin(math.pi / 10)
        assert [math.dist(points[k - 1], points[k]) for k in range(10)] == pytest.approx([chord] * 10)


@pytest.mark.parametrize(("name", "maker"), [("moons", "make_moons"), ("circles", "make_circles")])
@pytest.mark.parametrize("size", [10, 40])
def test_shapes_are_those_of_scikit_learn(name, maker, size):
    datasets = pytest.importorskip("sklearn.datasets")
    options = {"factor": 0.5} if name == "circles" else {}
    theirs_x, theirs_y = getattr(datasets, maker)(size, shuffle=False, noise=None, **options)
    x, y = made(name, size=size)
    for target in (0, 1):
        assert x[y == target] == pytest.approx(theirs_x[theirs_y == target], abs=1e-12)


def test_a_teacher_is_a_network_of_its_seed():
    x, y = made("teacher", size=5, features=3, teacher_units=4, data_seed=7)
    assert np.array_equal(x, normal((5, 3), 7, INPUTS))
    drawn = list(normal((20,), 7, TEACHER))
    for row, target in zip(x, y, strict=True):
        total = 0.0
        for j in range(4):
            net = sum(row[i] * drawn[4 * i + j] / math.sqrt(3) for i in range(3)) + drawn[12 + j]
            total += drawn[16 + j] / math.sqrt(4) * math.tanh(net)
        assert target == pytest.approx(total, rel=1e-12)
    assert not np.array_equal(made("teacher", data_seed=1)[1], made("teacher", data_seed=2)[1])


def test_a_larger_teacher_set_begins_with_the_smaller_one():
    small, large = made("teacher", size=7, features=3), made("teacher", size=30, features=3)
    assert np.array_equal(large[0][:7], small[0])
    assert large[1][:7] == pytest.approx(small[1], rel=1e-12)


def test_a_polynomial():
    x, y = made("polynomial", size=5, coefficients=(1.0, -2.0, 0.0, 4.0))
    assert list(x[:, 0]) == [-1, -0.5, 0, 0.5, 1]
    assert list(y) == [1 - 2 * t + 4 * t**3 for t in (-1, -0.5, 0, 0.5, 1)]


def test_a_sine():
    x, y = made("sine", size=5)
    assert list(x[:, 0]) == pytest.approx([-math.pi, -math.pi / 2, 0, math.pi / 2, math.pi])
    assert list(y) == pytest.approx([0, -1, 0, 1, 0], abs=1e-12)


@pytest.mark.parametrize("name", REAL)
def test_real_sets_are_those_of_scikit_learn(name):
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = getattr(datasets, f"load_{name}")()
    x, y = made(name)
    assert np.array_equal(x, bunch.data)
    assert np.array_equal(y, bunch.target)
    if DATASETS[name].n_classes:
        assert DATASETS[name].n_classes == len(bunch.target_names)


def test_scikit_learn_is_not_imported_before_it_is_needed():
    code = (
        "import sys; from fastbp.datasets import DATASETS; DATASETS['moons'].arrays({}); "
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sweep_of_built_in_data_reads_no_file_and_no_net(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(socket, "socket", None)
    sweep = sweep_of(tmp_path, 'dataset = "iris"\none_hot = true', n_in=4, n_out=3)
    made = arrays(sweep)
    assert made.y.sum(axis=0).tolist() == [50, 50, 50]


# Random numbers


def philox_4x64(counter, key):
    """Philox4x64-10 of Salmon et al. (2011), as their paper states it, in whole numbers."""
    word = 2**64
    for _ in range(10):
        low0, high0 = counter[0] * 0xD2E7470EE14C6C93 % word, counter[0] * 0xD2E7470EE14C6C93 // word
        low1, high1 = counter[2] * 0xCA5A826395121157 % word, counter[2] * 0xCA5A826395121157 // word
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B97F4A7C15) % word, (key[1] + 0xBB67AE8584CAA73B) % word]
    return counter


@pytest.mark.parametrize("seed", [0, 3, 2**63 - 1])
def test_the_raw_stream_is_philox(seed):
    expected = [number for block in (1, 2) for number in philox_4x64([block, 0, 0, 0], [seed, NOISE])]
    assert raw(8, seed, NOISE).tolist() == expected


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    z = normal((200, 501), 1, NOISE)
    n = z.size
    assert z.mean() == pytest.approx(0, abs=5 / math.sqrt(n))
    assert (z**2).mean() == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    assert (z**3).mean() == pytest.approx(0, abs=5 * math.sqrt(15 / n))
    assert (z**4).mean() == pytest.approx(3, abs=5 * math.sqrt(96 / n))
    inside = (np.abs(z) < 1).mean()
    assert inside == pytest.approx(math.erf(1 / math.sqrt(2)), abs=5 * 0.5 / math.sqrt(n))
    assert np.corrcoef(z.ravel()[0::2][:50_000], z.ravel()[1::2][:50_000])[0, 1] == pytest.approx(0, abs=0.03)


def test_streams_and_seeds_differ_and_a_longer_draw_begins_with_the_shorter_one():
    draws = [tuple(normal((4,), seed, stream)) for seed in (0, 1) for stream in (INPUTS, TEACHER, NOISE)]
    assert len(set(draws)) == 6
    assert np.array_equal(normal((9,), 5, NOISE)[:4], normal((4,), 5, NOISE))


def test_shuffled_is_a_permutation_that_the_seed_decides():
    orders = [tuple(shuffled(20, seed)) for seed in range(5)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len(set(orders)) == 5
    first = [shuffled(5, seed)[0] for seed in range(2000)]
    assert all(abs(first.count(k) - 400) < 5 * math.sqrt(2000 * 0.16) for k in range(5))

"""The built-in data sets: each an entry of `DATASETS`, with its formula or source and its parameters.

A new set is one entry here: the sweep file, its schema, the errors, the tests and the README's table walk
`DATASETS`. Imports NumPy and the standard library, and scikit-learn only when one of its sets is asked for.

Random numbers are made of the raw 64-bit stream of Philox, because NumPy keeps only the raw streams of its bit
generators the same from version to version.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# One seed gives each purpose a stream of its own: more noise leaves the inputs as they are.
INPUTS, TEACHER, NOISE, SPLIT = range(4)

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class BuiltIn:
    """A built-in data set: inputs (n_samples, n_inputs) and one column of targets.

    Parameters
    ----------
    summary : str
        What it is: its formula or its source.
    make : callable
        Takes the parameters but `noise` by name, as far as it needs them; returns x, (n_samples, n_inputs), and
        y, (n_samples,), both float64.
    parameters : dict
        The names of the parameters that the set has, and their defaults.
    extent : callable
        Takes the parameters as a mapping; returns the numbers of samples and of inputs.
    n_classes : int
        The targets are the classes 0 to ``n_classes - 1``, and noise is added to x; 0 for a regression, whose
        targets are numbers, and whose noise is added to y.
    extra : str
        The extra of fastbp that must be installed; empty where none is needed.
    """

    summary: str
    make: Callable[..., Arrays]
    parameters: Mapping[str, Any]
    extent: Callable[[Mapping[str, Any]], tuple[int, int]]
    n_classes: int
    extra: str = ""

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Give the value of each parameter of the set: the given one, the default where that is None."""
        return {
            name: default if given.get(name) is None else given[name]
            for name, default in self.parameters.items()
        }

    def arrays(self, given: Mapping[str, Any]) -> Arrays:
        """Make the set.

        Parameters
        ----------
        given : mapping
            Values of parameters; those that the set does not have are overlooked, None stands for the default.

        Returns
        -------
        x, y : float64 (n_samples, n_inputs), (n_samples,)

        Raises
        ------
        ImportError
            If the package that brings the set is not installed.
        """
        values = self.values(given)
        noise, seed = values.pop("noise"), values["data_seed"]
        if self.make not in _SEEDED:
            del values["data_seed"]
        x, y = self.make(**values)
        if not noise:
            return x, y
        if self.n_classes:
            return x + noise * normal(x.shape, seed, NOISE), y
        return x, y + noise * normal(y.shape, seed, NOISE)


def raw(n: int, seed: int, stream: int) -> np.ndarray:
    """Give the first `n` 64-bit numbers of one stream of a seed, uint64 (n,)."""
    return np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(n)


def normal(shape: tuple[int, ...], seed: int, stream: int) -> np.ndarray:
    """``sqrt(-2 ln u) cos(2 pi v), sqrt(-2 ln u) sin(2 pi v)``: standard normal numbers, float64 of `shape`.

    Box and Muller (1958) with u in (0, 1] and v in [0, 1). A longer draw begins with the shorter one.
    """
    n = math.prod(shape)
    bits = (raw(n + n % 2, seed, stream) >> np.uint64(11)).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((bits[0::2] + 1.0) * 2.0**-53))
    angle = 2.0 * np.pi * (bits[1::2] * 2.0**-53)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:n].reshape(shape)


def shuffled(n: int, seed: int) -> np.ndarray:
    """Give the numbers 0 to n - 1 in an order that the seed decides, int64 (n,)."""
    return np.argsort(raw(n, seed, SPLIT), kind="stable")


def xor(size: int) -> Arrays:
    """``y = x0 xor x1`` at the four corners of the unit square, over and over."""
    index = np.arange(size) % 4
    x = np.stack([index // 2, index % 2], axis=1).astype(np.float64)
    return x, (index // 2 != index % 2).astype(np.float64)


def parity(features: int) -> Arrays:
    """``y = (x0 + x1 + ...) mod 2`` at every corner of the unit cube, in the order of counting."""
    bits = np.arange(2**features)[:, None] >> np.arange(features)[::-1] & 1
    return bits.astype(np.float64), (bits.sum(axis=1) % 2).astype(np.float64)


def spirals(size: int) -> Arrays:
    """``x = (r sin t, r cos t)`` and its negative, r from 6.5 to 0.5 while t runs through three turns.

    Lang and Witbrock (1988), "Learning to tell two spirals apart"; `size` = 194 gives their points.
    """
    first, second = _halves(size, lambda n: np.linspace(0.0, 96.0, n))

    def points(i: np.ndarray) -> np.ndarray:
        radius, angle = 6.5 * (104.0 - i) / 104.0, i * np.pi / 16.0
        return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)

    return _in_turns(points(first), -points(second))


def circles(size: int) -> Arrays:
    """``x = r (cos t, sin t)``, r = 1 for class 0 and 0.5 for class 1, t evenly spaced on a turn."""
    first, second = _halves(size, lambda n: np.linspace(0.0, 2.0 * np.pi, n, endpoint=False))
    outer = np.stack([np.cos(first), np.sin(first)], axis=1)
    return _in_turns(outer, 0.5 * np.stack([np.cos(second), np.sin(second)], axis=1))


def moons(size: int) -> Arrays:
    """``x = (cos t, sin t)`` for class 0, ``(1 - cos t, 1/2 - sin t)`` for class 1, t evenly spaced on [0, pi]."""
    first, second = _halves(size, lambda n: np.linspace(0.0, np.pi, n))
    outer = np.stack([np.cos(first), np.sin(first)], axis=1)
    return _in_turns(outer, np.stack([1.0 - np.cos(second), 0.5 - np.sin(second)], axis=1))


def _halves(size: int, spaced: Callable[[int], np.ndarray]) -> Arrays:
    """Give the places of the points of class 0, which has one more where `size` is odd, and of class 1."""
    return spaced(size - size // 2), spaced(size // 2)


def _in_turns(zero: np.ndarray, one: np.ndarray) -> Arrays:
    """Give points of class 0 and of class 1 in turns, so that the first n samples are balanced."""
    x = np.empty((len(zero) + len(one), 2))
    x[0::2], x[1::2] = zero, one
    return x, np.arange(len(x)) % 2.0


def teacher(size: int, features: int, teacher_units: int, data_seed: int) -> Arrays:
    """``y = tanh(x @ W1 + b1) @ W2``: x and b1 are N(0, 1), W1 is N(0, 1 / features), W2 N(0, 1 / units)."""
    x = normal((size, features), data_seed, INPUTS)
    drawn = normal(((features + 2) * teacher_units,), data_seed, TEACHER)
    W1 = drawn[: features * teacher_units].reshape(features, teacher_units) / math.sqrt(features)
    b1, W2 = drawn[features * teacher_units :].reshape(2, teacher_units)
    y = np.zeros(size)
    for j in range(
        teacher_units
    ):  # one at a time: all hidden units of all samples could be more than memory holds
        y += W2[j] / math.sqrt(teacher_units) * np.tanh(x @ W1[:, j] + b1[j])
    return x, y


def polynomial(size: int, coefficients: tuple[float, ...]) -> Arrays:
    """``y = c0 + c1 x + c2 x^2 + ...``, x evenly spaced on [-1, 1]."""
    x = np.linspace(-1.0, 1.0, size)
    y = np.zeros(size)
    for c in reversed(coefficients):
        y = y * x + c
    return x[:, None], y


def sine(size: int) -> Arrays:
    """``y = sin x``, x evenly spaced on [-pi, pi]."""
    x = np.linspace(-np.pi, np.pi, size)
    return x[:, None], np.sin(x)


def _from_sklearn(name: str) -> Callable[[], Arrays]:
    """Return the function that reads a set from the files that scikit-learn brings along."""

    def load() -> Arrays:
        import sklearn.datasets  # a second of import, and an extra

        x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        return np.array(x, np.float64), np.array(y, np.float64)

    return load


_SEEDED = (teacher,)  # what they make depends on the seed, noise or not
_RANDOM = {"noise": 0.0, "data_seed": 0}


def _classes(make: Callable[..., Arrays], size: int, summary: str) -> BuiltIn:
    """Return the entry of a set of two classes of points in the plane."""
    return BuiltIn(summary, make, {"size": size, **_RANDOM}, lambda p: (p["size"], 2), 2)


def _real(name: str, n_samples: int, n_inputs: int, n_classes: int, summary: str) -> BuiltIn:
    """Return the entry of a set that scikit-learn brings."""
    extent = n_samples, n_inputs
    return BuiltIn(summary, _from_sklearn(name), _RANDOM, lambda p: extent, n_classes, "sklearn")


DATASETS = {
    "xor": _classes(xor, 4, "x0 xor x1 at the 4 corners of the unit square, repeated up to `size`"),
    "parity": BuiltIn(
        "whether the number of ones is odd, at all 2^features corners of the unit cube",
        parity,
        {"features": 3, **_RANDOM},
        lambda p: (2 ** p["features"], p["features"]),
        2,
    ),
    "spirals": _classes(spirals, 194, "two spirals of three turns (Lang and Witbrock 1988)"),
    "circles": _classes(circles, 100, "circles of radius 1 (class 0) and 0.5 (class 1)"),
    "moons": _classes(moons, 100, "half circles (cos t, sin t) and (1 - cos t, 1/2 - sin t)"),
    "teacher": BuiltIn(
        "regress tanh(x W1 + b1) W2, a network drawn from `data_seed`; x is N(0, 1)",
        teacher,
        {"size": 100, "features": 2, "teacher_units": 3, **_RANDOM},
        lambda p: (p["size"], p["features"]),
        0,
    ),
    "polynomial": BuiltIn(
        "regress c0 + c1 x + c2 x^2 + ..., x evenly spaced on [-1, 1]",
        polynomial,
        {"size": 50, "coefficients": (0.0, 0.0, 1.0), **_RANDOM},
        lambda p: (p["size"], 1),
        0,
    ),
    "sine": BuiltIn(
        "regress sin x, x evenly spaced on [-pi, pi]",
        sine,
        {"size": 50, **_RANDOM},
        lambda p: (p["size"], 1),
        0,
    ),
    "iris": _real("iris", 150, 4, 3, "flowers of 3 species (Fisher 1936)"),
    "wine": _real("wine", 178, 13, 3, "wines of 3 growers, by chemical analysis (UCI)"),
    "breast_cancer": _real(
        "breast_cancer", 569, 30, 2, "malignant (0) or benign (1) tumours (UCI, Wisconsin)"
    ),
    "digits": _real("digits", 1797, 64, 10, "8 x 8 images of handwritten digits, 0 to 16 (UCI)"),
    "diabetes": _real("diabetes", 442, 10, 0, "regress the progression of diabetes (Efron et al. 2004)"),
}
# The parameters that some data set has and the others have not.
SET_PARAMETERS = tuple(dict.fromkeys(name for entry in DATASETS.values() for name in entry.parameters))

"""exp and tanh as scalar source: the same text runs on Lanes and in the interpreter.

PyPI's llvmlite brings no vector mathematics library, and one libm call a lane costs ten times the polynomial.
May import ``lanes`` and NumPy alone. At most 2 units in the last place off over the whole range, exact at the
limits, NaN in, NaN out: ``tests/test_mathematics.py`` holds them against mpmath.

Method: Cody and Waite, Software Manual for the Elementary Functions (1980), chapters 6 and 12. With
``x = k ln2 + r``, ``|r| <= ln2 / 2``, both functions need ``p = e^r - 1 = r + r^2 Q(r)``, where Q is the Chebyshev
interpolant of ``(e^r - 1 - r) / r^2``, recomputed from its definition in the tests.
"""

import numpy as np
from numba.core import types
from numba.extending import overload

from fastbp.kernels.lanes import (
    INLINED,
    LaneType,
    copysign,
    fma,
    kernel,
    nearest,
    power_of_two,
    where,
)

LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first ends in so many zeros that k times it is exact.
LN2_HIGH_64, LN2_LOW_64 = 0.6931471805598903, 5.497923018708371e-14
LN2_HIGH_32, LN2_LOW_32 = 0.693145751953125, 1.428606765330187e-06


@kernel
def _expm1_64(x):
    """``k, p`` with ``e^x = 2^k (1 + p)`` in float64."""
    k = nearest(x * LOG2_E)
    r = fma(-k, LN2_LOW_64, fma(-k, LN2_HIGH_64, x))
    q = fma(r, 2.510038549551032e-08, 2.7620088445409746e-07)
    q = fma(r, q, 2.7557268459997064e-06)
    q = fma(r, q, 2.4801521295954376e-05)
    q = fma(r, q, 0.00019841269863053618)
    q = fma(r, q, 0.0013888888917213717)
    q = fma(r, q, 0.008333333333330062)
    q = fma(r, q, 0.04166666666662413)
    q = fma(r, q, 0.16666666666666669)
    q = fma(r, q, 0.5)
    return k, fma(r * r, q, r)


@kernel
def _expm1_32(x):
    """``k, p`` with ``e^x = 2^k (1 + p)`` in float32."""
    k = nearest(x * LOG2_E)
    r = fma(-k, LN2_LOW_32, fma(-k, LN2_HIGH_32, x))
    q = fma(r, 0.0013926183587713494, 0.008363179052722578)
    q = fma(r, q, 0.041666554617204574)
    q = fma(r, q, 0.16666576989698775)
    q = fma(r, q, 0.5)
    return k, fma(r * r, q, r)


@kernel
def _exp_64(x):
    # Beyond these the result is infinite or zero all the same; a NaN passes both comparisons.
    x = where(x > 710.0, 710.0, where(x < -746.0, -746.0, x))
    k, p = _expm1_64(x)
    # In two factors, each a normal number: the second multiplication rounds once into the subnormals.
    half = nearest(k * 0.5)
    return (1.0 + p) * power_of_two(half) * power_of_two(k - half)


@kernel
def _exp_32(x):
    x = where(x > 89.0, 89.0, where(x < -104.0, -104.0, x))
    k, p = _expm1_32(x)
    half = nearest(k * 0.5)
    return (1.0 + p) * power_of_two(half) * power_of_two(k - half)


@kernel
def _ratio(e):
    """``e / (e + 2)``, the rounding of the sum and of the quotient made good by one step of Newton's method."""
    d = e + 2.0
    lost = where(e > 2.0, 2.0 - (d - e), e - (d - 2.0))
    inverse = 1.0 / d
    t = e * inverse
    return fma(fma(-t, lost, fma(-t, d, e)), inverse, t)


@kernel
def _tanh_64(x):
    y = abs(x) * 2.0
    k, p = _expm1_64(where(y > 40.0, 40.0, y))
    return copysign(_ratio(fma(power_of_two(k), p, power_of_two(k) - 1.0)), x)


@kernel
def _tanh_32(x):
    y = abs(x) * 2.0
    k, p = _expm1_32(where(y > 20.0, 20.0, y))
    return copysign(_ratio(fma(power_of_two(k), p, power_of_two(k) - 1.0)), x)


def exp(x):
    """``e^x``."""
    return _exp_32(x) if isinstance(x, np.float32) else _exp_64(x)


def tanh(x):
    """``(e^x - e^-x) / (e^x + e^-x)``, from ``e = e^(2|x|) - 1`` as ``e / (e + 2)``."""
    return _tanh_32(x) if isinstance(x, np.float32) else _tanh_64(x)


def _by_dtype(function, single, double):
    @overload(function, jit_options=INLINED)
    def choose(x):
        if isinstance(x, LaneType):
            return single if x.dtype == types.float32 else double
        return None


_by_dtype(exp, _exp_32, _exp_64)
_by_dtype(tanh, _tanh_32, _tanh_64)

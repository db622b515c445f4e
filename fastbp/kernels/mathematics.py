"""exp, expm1, log, log1p and tanh as scalar source: the same text runs on Lanes and in the interpreter.

PyPI's llvmlite brings no vector mathematics library, and one libm call a lane costs ten times the polynomial.
May import ``lanes``, ``bits`` and ``symbols`` alone. At most 2 units in the last place off over the whole range,
exact at the limits, NaN in, NaN out, the sign of zero kept: ``tests/test_mathematics.py`` compares with mpmath.
All coefficients are Chebyshev interpolants, recomputed from their definitions in the tests.

Method: Cody and Waite, Software Manual for the Elementary Functions (1980), chapters 5, 6 and 12.

- exponentials: with ``x = k ln2 + r``, ``|r| <= ln2 / 2``, all need ``p = e^r - 1 = r + r^2 Q(r)``, where Q is the
  interpolant of ``(e^r - 1 - r) / r^2``;
- logarithms: with ``x = 2^k (1 + f)``, ``s = f / (2 + f)`` and ``z = s^2``, ``log(1 + f) = 2 atanh(s)``, which is
  ``2 s + s z Q(z)``, where Q is the interpolant of ``2 (atanh(s) / s - 1) / z``.
"""

import math

from numba.core import types
from numba.extending import overload

from fastbp.kernels.bits import exponent, mantissa
from fastbp.kernels.lanes import (
    INLINED,
    LaneType,
    copysign,
    fma,
    isfinite,
    kernel,
    nearest,
    power_of_two,
    times_power_of_two,
    where,
)
from fastbp.kernels.symbols import is_single

LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453
# ln 2 in two parts; the first ends in so many zeros that k times it is exact.
LN2_HIGH_64, LN2_LOW_64 = 0.6931471805598903, 5.497923018708371e-14
LN2_HIGH_32, LN2_LOW_32 = 0.693145751953125, 1.428606765330187e-06


@kernel
def clamp(x, low, high):
    """`x`, cut to between `low` and `high`; a NaN stays one."""
    x = where(x > high, high, x)
    return where(x < low, low, x)


@kernel
def _quotient_64(r):
    """The polynomial Q in float64.

    Estrin's scheme: half as long a chain of operations as Horner's, for one multiplication more.
    """
    r2 = r * r
    q0 = fma(r, 0.16666666666666669, 0.5)
    q2 = fma(r, 0.008333333333330062, 0.04166666666662413)
    q4 = fma(r, 0.00019841269863053618, 0.0013888888917213717)
    q6 = fma(r, 2.7557268459997064e-06, 2.4801521295954376e-05)
    q8 = fma(r, 2.510038549551032e-08, 2.7620088445409746e-07)
    r4 = r2 * r2
    return fma(r4, fma(r4, q8, fma(r2, q6, q4)), fma(r2, q2, q0))


@kernel
def _quotient_32(r):
    """The polynomial Q in float32."""
    r2 = r * r
    q2 = fma(r2, 0.0013926183587713494, fma(r, 0.008363179052722578, 0.041666554617204574))
    return fma(r2, q2, fma(r, 0.16666576989698775, 0.5))


@kernel
def exp_parts_64(x):
    """``k, r, q`` with ``e^x = 2^k (1 + r + r^2 q)`` in float64."""
    k = nearest(x * LOG2_E)
    r = fma(-k, LN2_LOW_64, fma(-k, LN2_HIGH_64, x))
    return k, r, _quotient_64(r)


@kernel
def exp_parts_32(x):
    """``k, r, q`` with ``e^x = 2^k (1 + r + r^2 q)`` in float32."""
    k = nearest(x * LOG2_E)
    r = fma(-k, LN2_LOW_32, fma(-k, LN2_HIGH_32, x))
    return k, r, _quotient_32(r)


@kernel
def _expm1_parts_64(x):
    """``k, p`` with ``e^x = 2^k (1 + p)`` in float64."""
    k, r, q = exp_parts_64(x)
    return k, fma(r * r, q, r)


@kernel
def _expm1_parts_32(x):
    """``k, p`` with ``e^x = 2^k (1 + p)`` in float32."""
    k, r, q = exp_parts_32(x)
    return k, fma(r * r, q, r)


@kernel
def _exp_64(x):
    k, p = _expm1_parts_64(clamp(x, -746.0, 710.0))  # beyond, the result is infinite or zero all the same
    return times_power_of_two(1.0 + p, k)


@kernel
def _exp_32(x):
    k, p = _expm1_parts_32(clamp(x, -104.0, 89.0))
    return times_power_of_two(1.0 + p, k)


@kernel
def _minus_one(x, k, p):
    """``2^k (1 + p) - 1``, with the sign of `x`."""
    # Halved, for 2^k itself may be too large; p as it is where k = 0, for half a subnormal is not.
    half = power_of_two(k - 1.0)
    return copysign(where(k == 0.0, p, 2.0 * fma(half, p, half - 0.5)), x)


@kernel
def _expm1_64(x):
    k, p = _expm1_parts_64(clamp(x, -40.0, 710.0))
    return _minus_one(x, k, p)


@kernel
def _expm1_32(x):
    k, p = _expm1_parts_32(clamp(x, -20.0, 89.0))
    return _minus_one(x, k, p)


@kernel
def _log_quotient_64(z):
    q = fma(z, 0.14617270076255864, 0.15331655208184797)
    q = fma(z, q, 0.18182891123236233)
    q = fma(z, q, 0.22222211107364268)
    q = fma(z, q, 0.28571428626143575)
    q = fma(z, q, 0.39999999999899133)
    return fma(z, q, 0.666666666666667)


@kernel
def _log_sum_64(k, f):
    """``k ln2 + log(1 + f)`` in float64."""
    s = f / (f + 2.0)
    z = s * s
    # 2 s = f - s f, and s f = f^2 / 2 - s f^2 / 2: only small terms are rounded twice.
    h = 0.5 * f * f
    return fma(k, LN2_HIGH_64, f - (h - fma(s, fma(z, _log_quotient_64(z), h), k * LN2_LOW_64)))


@kernel
def _log_quotient_32(z):
    q = fma(z, 0.29580575835003714, 0.3998876675945259)
    return fma(z, q, 0.6666668507331804)


@kernel
def _log_sum_32(k, f):
    """``k ln2 + log(1 + f)`` in float32."""
    s = f / (f + 2.0)
    z = s * s
    h = 0.5 * f * f
    return fma(k, LN2_HIGH_32, f - (h - fma(s, fma(z, _log_quotient_32(z), h), k * LN2_LOW_32)))


@kernel
def _at_limits(u, x, y):
    """`y` for a finite ``u > 0``, `x` for an infinite one, -inf at ``u = 0``, NaN below and for a NaN."""
    return where(u > 0.0, where(isfinite(u), y, x), where(u == 0.0, -math.inf, math.nan))


@kernel
def _log_64(x):
    small = x < 2.0**-1000
    y = where(small, x * 2.0**54, x)  # no longer subnormal
    k = exponent(y) - where(small, 54.0, 0.0)
    return _at_limits(x, x, _log_sum_64(k, mantissa(y) - 1.0))


@kernel
def _log_32(x):
    small = x < 2.0**-100
    y = where(small, x * 2.0**25, x)
    k = exponent(y) - where(small, 25.0, 0.0)
    return _at_limits(x, x, _log_sum_32(k, mantissa(y) - 1.0))


@kernel
def _one_plus(x):
    """``k, f`` with ``1 + x = 2^k (1 + f)``, the rounding of the sum made good in `f`."""
    u = 1.0 + x
    lost = where(x > 1.0, 1.0 - (u - x), x - (u - 1.0))
    k = exponent(u)
    # Nothing is lost that counts beyond 2^60, where 2^-k may be subnormal.
    return k, fma(lost, power_of_two(-where(k > 60.0, 60.0, k)), mantissa(u) - 1.0)


@kernel
def _log1p_64(x):
    k, f = _one_plus(x)
    return copysign(_at_limits(1.0 + x, x, _log_sum_64(k, f)), x)


@kernel
def _log1p_32(x):
    k, f = _one_plus(x)
    return copysign(_at_limits(1.0 + x, x, _log_sum_32(k, f)), x)


@kernel
def _ratio(e):
    """``e / (e + 2)``, the rounding of the sum and of the quotient made good by one step of Newton's method."""
    d = e + 2.0
    lost = e - (d - 2.0)  # d - 2 is exact up to 2^54, in float32 up to 2^25, and beyond nothing counts
    inverse = 1.0 / d
    t = e * inverse
    return fma(fma(-t, lost, fma(-t, d, e)), inverse, t)


@kernel
def _tanh_64(x):
    y = abs(x) * 2.0
    y = where(y > 40.0, 40.0, y)
    k = nearest(y * LOG2_E)
    r = fma(-k, LN_2, y)  # the more k counts here, the less the result hangs on r
    s = power_of_two(k)
    return copysign(_ratio(fma(s, fma(r * r, _quotient_64(r), r), s - 1.0)), x)


@kernel
def _tanh_32(x):
    y = abs(x) * 2.0
    y = where(y > 20.0, 20.0, y)
    k = nearest(y * LOG2_E)
    r = fma(-k, LN_2, y)
    s = power_of_two(k)
    return copysign(_ratio(fma(s, fma(r * r, _quotient_32(r), r), s - 1.0)), x)


def exp(x):
    """``e^x``."""
    return _exp_32(x) if is_single(x) else _exp_64(x)


def expm1(x):
    """``e^x - 1``."""
    return _expm1_32(x) if is_single(x) else _expm1_64(x)


def log(x):
    """The natural logarithm: -inf at 0, NaN below."""
    return _log_32(x) if is_single(x) else _log_64(x)


def log1p(x):
    """``log(1 + x)``: -inf at -1, NaN below."""
    return _log1p_32(x) if is_single(x) else _log1p_64(x)


def tanh(x):
    """``(e^x - e^-x) / (e^x + e^-x)``, from ``e = e^(2|x|) - 1`` as ``e / (e + 2)``."""
    return _tanh_32(x) if is_single(x) else _tanh_64(x)


def by_dtype(function, single, double):
    """Have `function` of a Lane compiled as `single` or `double`."""

    @overload(function, jit_options=INLINED)
    def choose(x):
        if isinstance(x, LaneType):
            return single if x.dtype == types.float32 else double
        return None


by_dtype(exp, _exp_32, _exp_64)
by_dtype(expm1, _expm1_32, _expm1_64)
by_dtype(log, _log_32, _log_64)
by_dtype(log1p, _log1p_32, _log1p_64)
by_dtype(tanh, _tanh_32, _tanh_64)

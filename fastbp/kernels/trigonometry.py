"""sin and cos as scalar source: the same text runs on Lanes and in the interpreter.

May import ``lanes``, ``mathematics`` and ``symbols`` alone. At most 2 units in the last place off over the whole
range, NaN for infinities and NaN: ``tests/test_mathematics.py`` holds them against mpmath.

Method: Cody and Waite, Software Manual for the Elementary Functions (1980), chapter 8. With ``x = k pi/2 + r``,
``|r| <= pi/4``, the result is the sine or the cosine of r or minus that, as k says. ``sin r = r + r z S(z)`` and
``cos r = 1 - z/2 + z^2 C(z)`` with ``z = r^2``, where S and C are the Chebyshev interpolants of
``(sin(r) / r - 1) / z`` and ``(cos r - 1 + z/2) / z^2``, recomputed from their definitions in the tests.

Beyond `LARGEST_64` and `LARGEST_32` the C library is called, for a whole block where one of its runs is there: ten
times as slow, and the last bit is that library's.
"""

from fastbp.kernels.lanes import any_of, fma, kernel, libm_cos, libm_sin, nearest, where
from fastbp.kernels.mathematics import by_dtype
from fastbp.kernels.symbols import is_single

TWO_BY_PI = 0.6366197723675814
# pi/2 in parts. Each but the last is so short that k times it is exact, in the interpreter too.
HALF_PI_64 = (1.5707963267923333, 2.5633441515839558e-12, 1.0562999066987428e-23)
HALF_PI_32 = (1.5707931518554688, 3.1749368645250797e-06, 2.5633440682570896e-12)
LARGEST_64, LARGEST_32 = 1e5, 100.0


@kernel
def _sine_64(r, z):
    q = fma(z, 1.5917988979397435e-10, -2.5051129896450185e-08)
    q = fma(z, q, 2.7557316093198404e-06)
    q = fma(z, q, -0.00019841269836740532)
    q = fma(z, q, 0.008333333333330936)
    q = fma(z, q, -0.16666666666666666)
    return fma(r * z, q, r)


@kernel
def _cosine_64(z):
    q = fma(z, -1.138254464534925e-11, 2.087614504941318e-09)
    q = fma(z, q, -2.755731726587808e-07)
    q = fma(z, q, 2.48015872987544e-05)
    q = fma(z, q, -0.0013888888888887389)
    q = fma(z, q, 0.041666666666666664)
    return fma(z, fma(z, q, -0.5), 1.0)


@kernel
def _sine_32(r, z):
    q = fma(z, -0.0001958763909873762, 0.00833274710466453)
    q = fma(z, q, -0.16666664656312208)
    return fma(r * z, q, r)


@kernel
def _cosine_32(z):
    q = fma(z, 2.454768977246003e-05, -0.001388830186756237)
    q = fma(z, q, 0.04166666465348879)
    return fma(z, fma(z, q, -0.5), 1.0)


@kernel
def _reduced(x, half_pi):
    """``k, r`` with ``x = k pi/2 + r``."""
    k = nearest(x * TWO_BY_PI)
    return k, fma(-k, half_pi[2], fma(-k, half_pi[1], fma(-k, half_pi[0], x)))


@kernel
def _turned(k, sine, cosine):
    """``sin(k pi/2 + r)``, the ends of four quarters, from those of r."""
    half = nearest(0.5 * k - 0.25)  # rounded down
    y = where(half * 2.0 == k, sine, cosine)
    return where(nearest(0.5 * half) * 2.0 == half, y, -y)


@kernel
def _sin_64(x):
    k, r = _reduced(x, HALF_PI_64)
    # Taking 0 pi/2 from -0.0 would lose its sign.
    y = where(x == 0.0, x, _turned(k, _sine_64(r, r * r), _cosine_64(r * r)))
    large = abs(x) > LARGEST_64
    if any_of(large):
        return where(large, libm_sin(x), y)
    return y


@kernel
def _sin_32(x):
    k, r = _reduced(x, HALF_PI_32)
    y = where(x == 0.0, x, _turned(k, _sine_32(r, r * r), _cosine_32(r * r)))
    large = abs(x) > LARGEST_32
    if any_of(large):
        return where(large, libm_sin(x), y)
    return y


@kernel
def _cos_64(x):
    k, r = _reduced(x, HALF_PI_64)
    y = _turned(k + 1.0, _sine_64(r, r * r), _cosine_64(r * r))
    large = abs(x) > LARGEST_64
    if any_of(large):
        return where(large, libm_cos(x), y)
    return y


@kernel
def _cos_32(x):
    k, r = _reduced(x, HALF_PI_32)
    y = _turned(k + 1.0, _sine_32(r, r * r), _cosine_32(r * r))
    large = abs(x) > LARGEST_32
    if any_of(large):
        return where(large, libm_cos(x), y)
    return y


def sin(x):
    """``sin x``, of radians."""
    return _sin_32(x) if is_single(x) else _sin_64(x)


def cos(x):
    """``cos x``, of radians."""
    return _cos_32(x) if is_single(x) else _cos_64(x)


by_dtype(sin, _sin_32, _sin_64)
by_dtype(cos, _cos_32, _cos_64)

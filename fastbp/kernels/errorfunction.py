"""erf as scalar source: the same text runs on Lanes and in the interpreter.

May import ``lanes``, ``mathematics`` and ``symbols`` alone. At most 2 units in the last place off over the whole
range, exact at the limits, NaN in, NaN out: ``tests/test_mathematics.py`` holds it against mpmath.

Method: for ``x >= 0``, ``erf(x) = -expm1(-y)`` with ``y = -log(1 - erf(x)) = x + x Q(x)``. The larger x is, the
less an error of y counts, so that one polynomial Q does for all x up to END, where erf rounds to 1: that of n
coefficients of least squares of ``y / x - 1`` at 4 n Chebyshev nodes of [0, END], weighted by
``x (1 - erf(x)) / erf(x)``, which is what an error of Q makes of the result. Recomputed from this in the tests.
"""

from fastbp.kernels.lanes import copysign, fma, kernel, power_of_two, where
from fastbp.kernels.mathematics import by_dtype, exp_parts_32, exp_parts_64
from fastbp.kernels.symbols import is_single

END_64, END_32 = 6.0, 4.0


@kernel
def _one_minus(k, r, s):
    """``1 - 2^k (1 + r + s)``, where s is small and holds what r lost by rounding."""
    return fma(-power_of_two(k), r + s, 1.0 - power_of_two(k))


@kernel
def _erf_quotient_64(y):
    q = fma(y, 7.625904048420253e-16, -3.7582121496776067e-14)
    q = fma(y, q, 8.655552710557009e-13)
    q = fma(y, q, -1.2369657500571988e-11)
    q = fma(y, q, 1.2272169338051268e-10)
    q = fma(y, q, -8.945576210181249e-10)
    q = fma(y, q, 4.930634803938772e-09)
    q = fma(y, q, -2.0706309709237107e-08)
    q = fma(y, q, 6.495933645272067e-08)
    q = fma(y, q, -1.3989808038327425e-07)
    q = fma(y, q, 1.3358786648599665e-07)
    q = fma(y, q, 3.419223356512873e-07)
    q = fma(y, q, -1.7484242470664146e-06)
    q = fma(y, q, 2.8419140386595386e-06)
    q = fma(y, q, 3.401998617777377e-06)
    q = fma(y, q, -2.972085302645756e-05)
    q = fma(y, q, 6.449037661986568e-05)
    q = fma(y, q, 2.5879121305443782e-05)
    q = fma(y, q, -0.0005901256837619686)
    q = fma(y, q, 0.0016962064088085942)
    q = fma(y, q, -0.00020919469750476453)
    q = fma(y, q, -0.019128447004886848)
    q = fma(y, q, 0.10277260330178228)
    q = fma(y, q, 0.6366197723675837)
    return fma(y, q, 0.12837916709551256)


@kernel
def _erf_64(x):
    y = where(abs(x) > END_64, END_64, abs(x))
    q = _erf_quotient_64(y)
    t = fma(y, q, y)
    k, r, e = exp_parts_64(-t)
    return copysign(_one_minus(k, r, fma(r * r, e, fma(-y, q, t - y))), x)


@kernel
def _erf_quotient_32(y):
    q = fma(y, 1.2533325396121633e-06, -2.193510640202446e-05)
    q = fma(y, q, 0.0001697566093853807)
    q = fma(y, q, -0.000745358445448603)
    q = fma(y, q, 0.0018047742319710544)
    q = fma(y, q, -0.0002566333468807897)
    q = fma(y, q, -0.019116419349196126)
    q = fma(y, q, 0.10277105785712995)
    q = fma(y, q, 0.6366198484713897)
    return fma(y, q, 0.12837916648985934)


@kernel
def _erf_32(x):
    y = where(abs(x) > END_32, END_32, abs(x))
    q = _erf_quotient_32(y)
    t = fma(y, q, y)
    k, r, e = exp_parts_32(-t)
    return copysign(_one_minus(k, r, fma(r * r, e, fma(-y, q, t - y))), x)


def erf(x):
    """``2 / sqrt(pi)`` times the integral of ``e^(-t^2)`` from 0 to `x`."""
    return _erf_32(x) if is_single(x) else _erf_64(x)


by_dtype(erf, _erf_32, _erf_64)

"""Random numbers of a run: NumPy's Philox, computed for all runs of a block at once.

Number n of the stream of a seed is a function of n and the seed alone, whatever the lane, block or thread. All are
float64. May import ``lanes``, ``mathematics``, ``trigonometry``, NumPy, Numba and llvmlite alone.

Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011: Philox4x64-10.
"""

import math

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastbp.kernels.lanes import LaneType, kernel, sqrt
from fastbp.kernels.mathematics import log1p
from fastbp.kernels.trigonometry import cos, sin

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
MASK = 2**64 - 1


def uniforms(n, key):
    """Give the numbers ``4 n`` to ``4 n + 3`` of ``np.random.Generator(np.random.Philox(key=seed)).random()``.

    Parameters
    ----------
    n : int
    key : float64 or Lane of float64
        Its bits are those of the seed, a uint64: a type for integers in lanes would serve for nothing else.

    Returns
    -------
    tuple of 4
        In [0, 1), multiples of 2**-53; equal to NumPy's to the bit.
    """
    # NumPy counts from 1.
    c, k = (n + 1, 0, 0, 0), (int(key.view(np.uint64)), 0)
    for _ in range(ROUNDS):
        a, b = c[0] * MULTIPLIERS[0], c[2] * MULTIPLIERS[1]
        c = (b >> 64) ^ c[1] ^ k[0], b & MASK, (a >> 64) ^ c[3] ^ k[1], a & MASK
        k = k[0] + KEY_STEPS[0] & MASK, k[1] + KEY_STEPS[1] & MASK
    return tuple(np.float64((number >> 11) * 2.0**-53) for number in c)


@type_callable(uniforms)
def _type_uniforms(context):
    def typer(n, key):
        fits = isinstance(n, types.Integer) and isinstance(key, LaneType) and key.dtype == types.float64
        return types.UniTuple(key, 4) if fits else None

    return typer


@lower_builtin(uniforms, types.Integer, LaneType)
def _lower_uniforms(context, builder, signature, args):
    key = builder.bitcast(args[1], ir.VectorType(ir.IntType(64), signature.args[1].width))
    counter = builder.add(context.cast(builder, args[0], signature.args[0], types.uint64), ir.IntType(64)(1))
    zero = _constant(key.type, 0)
    # c0 to c3, k0 and k1 in memory, which LLVM turns into registers: unrolled ten times it takes long to compile.
    state = [
        cgutils.alloca_once_value(builder, v) for v in (_splat(builder, counter, key.type), zero, zero, zero)
    ]
    keys = [cgutils.alloca_once_value(builder, v) for v in (key, zero)]
    with cgutils.for_range(builder, ir.IntType(64)(ROUNDS)):
        c, k = [builder.load(p) for p in state], [builder.load(p) for p in keys]
        a_high, a_low = _multiply(builder, c[0], MULTIPLIERS[0])
        b_high, b_low = _multiply(builder, c[2], MULTIPLIERS[1])
        c0 = builder.xor(builder.xor(b_high, c[1]), k[0])
        c2 = builder.xor(builder.xor(a_high, c[3]), k[1])
        for value, pointer in zip((c0, b_low, c2, a_low), state, strict=True):
            builder.store(value, pointer)
        for value, step, pointer in zip(k, KEY_STEPS, keys, strict=True):
            builder.store(builder.add(value, _constant(key.type, step)), pointer)
    numbers = []
    for pointer in state:
        integer = builder.lshr(builder.load(pointer), _constant(key.type, 11))
        number = builder.uitofp(integer, args[1].type)
        numbers.append(builder.fmul(number, _constant(args[1].type, 2.0**-53)))
    return cgutils.pack_array(builder, numbers)


def _constant(vector, value):
    return ir.Constant(vector, [value] * vector.count)


def _splat(builder, number, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _multiply(builder, a, multiplier):
    """Give the high and the low 64 bits of `a` times `multiplier`, from products of 32 bits.

    Processors multiply 32 bits by 32 in every lane, 64 by 64 not.
    """
    half, low = _constant(a.type, 32), _constant(a.type, 2**32 - 1)
    a0, a1 = builder.and_(a, low), builder.lshr(a, half)
    m0, m1 = _constant(a.type, multiplier % 2**32), _constant(a.type, multiplier >> 32)
    p00, p01, p10, p11 = (builder.mul(x, y) for x in (a0, a1) for y in (m0, m1))
    # No sum overflows: (2**32 - 1)**2 + 2 (2**32 - 1) is 2**64 - 1.
    middle = builder.add(builder.add(p10, builder.lshr(p00, half)), builder.and_(p01, low))
    high = builder.add(builder.add(p11, builder.lshr(p01, half)), builder.lshr(middle, half))
    return high, builder.or_(builder.shl(middle, half), builder.and_(p00, low))


@kernel
def box_muller(u, v):
    """``r cos(2 pi v), r sin(2 pi v)`` with ``r = sqrt(-2 log(1 - u))``: two normals of two uniforms.

    1 - u because u may be 0. Source: Box and Muller, A note on the generation of random normal deviates, 1958.
    """
    r = sqrt(-2.0 * log1p(-u))
    angle = 2.0 * math.pi * v
    return r * cos(angle), r * sin(angle)

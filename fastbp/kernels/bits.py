"""Exponent and mantissa of Lanes, from their bits: in Python for one run, as a few instructions for Lanes.

May import ``lanes``, llvmlite and the standard library alone.
"""

import math

from llvmlite import ir

from fastbp.kernels.lanes import instruction, llvm_call
from fastbp.kernels.symbols import operation

# Where a mantissa begins: near sqrt(1/2), so that its logarithm is small, and a number of float32 too.
LEAST_MANTISSA = 181 / 256


@operation
def exponent(x):
    """The `k` of ``|x| = 2^k m``, ``181/256 <= m < 181/128``, as a float; undefined unless `x` is normal."""
    m, k = math.frexp(x)
    return type(x)(k - (abs(m) < LEAST_MANTISSA))


@operation
def mantissa(x):
    """The `m` of `exponent`."""
    m = abs(math.frexp(x)[0])
    return type(x)(2.0 * m if m < LEAST_MANTISSA else m)


def _split(builder, x):
    """Give |x| and k as integers, and how many bits a mantissa has.

    With the bits of `LEAST_MANTISSA` subtracted, the exponent that IEEE 754 stores is k.
    """
    size, n_bits, bias = (32, 23, 127) if x.type.element == ir.FloatType() else (64, 52, 1023)
    integers = ir.VectorType(ir.IntType(size), x.type.count)

    def constant(value):
        return ir.Constant(integers, [value] * x.type.count)

    bits = builder.bitcast(llvm_call("llvm.fabs")(builder, x), integers)
    least = (bias - 1 << n_bits) + int((2.0 * LEAST_MANTISSA - 1.0) * 2.0**n_bits)
    return bits, builder.ashr(builder.sub(bits, constant(least)), constant(n_bits)), constant(n_bits)


def _build_exponent(builder, x):
    """Add k to the bits of 1.5 * 2**n_bits: not every processor can convert integers of 64 bits to floats."""
    bits, k, n_bits = _split(builder, x)
    anchor = ir.Constant(x.type, [1.5 * 2.0 ** n_bits.constant[0].constant] * x.type.count)
    anchored = builder.add(k, builder.bitcast(anchor, bits.type))
    return builder.fsub(builder.bitcast(anchored, x.type), anchor)


def _build_mantissa(builder, x):
    bits, k, n_bits = _split(builder, x)
    return builder.bitcast(builder.sub(bits, builder.shl(k, n_bits)), x.type)


instruction(exponent, 1, _build_exponent)
instruction(mantissa, 1, _build_mantissa)

"""Lane and LaneArray: the SIMD registers that scalar kernel source is compiled to.

Owns the two Numba types of the CPU and the handful of scalar operations that Python has no operator for
(``fma``, ``where``, …), each as a plain Python function beside its lowering. May import ``pipeline``, NumPy, Numba
and llvmlite alone.

A ``Lane`` is one number of each of the ``WIDTH`` runs of a block: an LLVM vector ``<WIDTH x double>``, which LLVM
cuts into as many machine registers as it takes. ``w[p]`` of a ``LaneArray`` loads a ``Lane``. A Python number
that meets a ``Lane`` takes the lane's dtype, so that a bare ``0.5`` never promotes float32.

No fast-math flag is set anywhere: products are fused only where the source says ``fma``. So the same run gives
the same bits in every lane, block and specialisation, and on every processor.

More than 400 lines: the types, and every operation on them beside its plain Python, are of use only together.
"""

import itertools
import math
import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.core.typeconv import Conversion
from numba.extending import (
    intrinsic,
    lower_builtin,
    lower_cast,
    models,
    overload,
    register_jitable,
    register_model,
    type_callable,
)

from fastbp.kernels.pipeline import KernelCompiler
from fastbp.kernels.symbols import BUILDERS, is_single, operation

# Two 512-bit registers (or four of 256 bits) a value hide the latency of a multiply-add.
WIDTH = {"float64": 16, "float32": 32}

# LLVM's own inliner stops at vectors passed as arguments, and then keeps nothing in registers.
# No kernel is called from Python or C by itself, so that it needs no wrapper for these.
INLINED = {
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": KernelCompiler,
}

# Every function of the kernels: plain Python when called from Python, compiled when called from compiled code.
kernel = register_jitable(**INLINED)


class LaneType(types.Type):
    """One number a run of a block, side by side in SIMD registers."""

    def __init__(self, dtype: types.Float):
        self.dtype = dtype
        self.width = WIDTH[dtype.name]
        super().__init__(name=f"Lane({dtype})")

    def can_convert_from(self, typingctx, other):
        """Let a plain number become a Lane (``acc = 0.0`` before a loop of Lanes)."""
        return Conversion.safe if isinstance(other, types.Number) else None

    def unify(self, typingctx, other):
        """Unite with a plain number: the Lane wins."""
        return self if isinstance(other, types.Number) else None


class MaskType(types.Type):
    """One truth value a run of a block: what a comparison of Lanes gives."""

    def __init__(self, lane: LaneType):
        self.lane = lane
        super().__init__(name=f"Mask({lane.dtype})")


class LaneArrayType(types.Type):
    """A pointer to rows of WIDTH numbers: row p holds number p of each run of a block."""

    def __init__(self, dtype: types.Float):
        self.dtype = dtype
        self.lane = LaneType(dtype)
        super().__init__(name=f"LaneArray({dtype})")


def _vector(lane: LaneType) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if lane.dtype == types.float32 else ir.DoubleType(), lane.width)


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type))


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lane.width))


@register_model(LaneArrayType)
class _LaneArrayModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type.lane).as_pointer())


# --- Numbers become Lanes where they meet one ---


def _as_lane(context, builder, value, ty, lane):
    if isinstance(ty, LaneType):
        return value
    number = context.cast(builder, value, ty, lane.dtype)
    undefined = ir.Constant(_vector(lane), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lane.width), [0] * lane.width)
    return builder.shuffle_vector(first, undefined, zeros)


@lower_cast(types.Number, LaneType)
def _cast_number(context, builder, fromty, toty, value):
    return _as_lane(context, builder, value, fromty, toty)


def _common(operands) -> LaneType | None:
    """Give the Lane type of an operation, or None when it has no Lane or mixes dtypes."""
    lanes = {ty for ty in operands if isinstance(ty, LaneType)}
    if len(lanes) != 1 or not all(isinstance(ty, LaneType | types.Number) for ty in operands):
        return None
    return lanes.pop()


def _typed(function, n_operands, result):
    """Tell Numba the type of `function`: `result(operand types)`, None where it does not apply."""

    @type_callable(function)
    def typing(context):
        # Numba reads the number of arguments off the typer's signature.
        return (
            lambda a: result((a,)),
            lambda a, b: result((a, b)),
            lambda a, b, c: result((a, b, c)),
        )[n_operands - 1]


def instruction(function, n_operands, build, result=lambda lane: lane):
    """Lower `function` of Lanes and numbers, at least one of them a Lane, to `build(builder, *lanes)`."""

    def result_type(operands):
        lane = _common(operands)
        return lane and result(lane)

    def lowering(context, builder, signature, args):
        lane = _common(signature.args)
        lanes = [_as_lane(context, builder, v, t, lane) for v, t in zip(args, signature.args, strict=True)]
        return build(builder, *lanes)

    BUILDERS[function] = build
    _typed(function, n_operands, result_type)
    for operands in itertools.product((LaneType, types.Number), repeat=n_operands):
        if LaneType in operands:
            lower_builtin(function, *operands)(lowering)


def _mask_instruction(function, n_operands, build, result=lambda mask: mask):
    """Lower `function` of Masks to `build(builder, *masks)`."""

    def result_type(operands):
        return result(operands[0]) if all(isinstance(ty, MaskType) for ty in operands) else None

    def lowering(context, builder, signature, args):
        return build(builder, *args)

    BUILDERS[function] = build
    _typed(function, n_operands, result_type)
    lower_builtin(function, *[MaskType] * n_operands)(lowering)


# --- LaneArray: rows(A, block), w[p], w[p] = value ---


@intrinsic
def _rows(typingctx, array, block):
    if not (isinstance(array, types.Array) and array.ndim == 3 and array.layout == "C"):
        return None
    result = LaneArrayType(array.dtype)

    def codegen(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, args[0])
        block = context.cast(builder, args[1], signature.args[1], types.intp)
        shape = cgutils.unpack_tuple(builder, struct.shape, 3)
        offset = builder.mul(block, shape[1])
        pointer = builder.bitcast(struct.data, _vector(result.lane).as_pointer())
        return builder.gep(pointer, [offset])

    return result(array, block), codegen


def rows(array, block):
    """Give block `block` of a (blocks, rows, WIDTH) array as a LaneArray; an array of another shape as it is.

    In the interpreter a block holds one run: the result is the 1-D array of its rows.
    """
    return array[block, :, 0] if array.ndim == 3 else array


@overload(rows, jit_options=INLINED)
def _overload_rows(array, block):
    if array.ndim == 3:
        return lambda array, block: _rows(array, block)
    return lambda array, block: array


@intrinsic
def _rows_from(typingctx, array, first):
    if not isinstance(array, LaneArrayType):
        return None

    def codegen(context, builder, signature, args):
        return _row_pointer(context, builder, args[0], args[1], signature.args[1])

    return array(array, first), codegen


def rows_from(array, first):
    """Give the rows of `array` from `first` on, as an array of their own that shares their memory."""
    return array[first:]


@overload(rows_from, jit_options=INLINED)
def _overload_rows_from(array, first):
    if isinstance(array, LaneArrayType):
        return lambda array, first: _rows_from(array, first)
    return lambda array, first: array[first:]


@type_callable(operator.getitem)
def _type_getitem(context):
    def typer(array, index):
        return array.lane if isinstance(array, LaneArrayType) and isinstance(index, types.Integer) else None

    return typer


def _row_pointer(context, builder, array, index, index_type):
    return builder.gep(array, [context.cast(builder, index, index_type, types.intp)])


@lower_builtin(operator.getitem, LaneArrayType, types.Integer)
def _lower_getitem(context, builder, signature, args):
    load = builder.load(_row_pointer(context, builder, args[0], args[1], signature.args[1]))
    load.align = signature.args[0].dtype.bitwidth // 8
    return load


@type_callable(operator.setitem)
def _type_setitem(context):
    def typer(array, index, value):
        fits = isinstance(array, LaneArrayType) and isinstance(index, types.Integer)
        return types.none if fits and isinstance(value, LaneType | types.Number) else None

    return typer


@lower_builtin(operator.setitem, LaneArrayType, types.Integer, LaneType)
@lower_builtin(operator.setitem, LaneArrayType, types.Integer, types.Number)
def _lower_setitem(context, builder, signature, args):
    array, index, value = signature.args
    store = builder.store(
        _as_lane(context, builder, args[2], value, array.lane),
        _row_pointer(context, builder, args[0], args[1], index),
    )
    store.align = array.dtype.bitwidth // 8
    return context.get_dummy_value()


# --- Plain arrays that all runs share, without Numba's counting of references ---


class BorrowedType(types.Type):
    """The numbers of a 1-D array that somebody else keeps alive.

    Numba counts the references to an array with atomic additions, wherever it is taken out of a tuple. In the loop
    of steps they cost as much as the arithmetic, and threads that share the array wait for each other's.
    """

    def __init__(self, dtype: types.Number):
        self.dtype = dtype
        super().__init__(name=f"Borrowed({dtype})")


@register_model(BorrowedType)
class _BorrowedModel(models.StructModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, [("data", types.CPointer(fe_type.dtype)), ("size", types.intp)])


@intrinsic
def _borrowed(typingctx, values):
    if not isinstance(values, types.BaseNamedTuple):
        return None

    def borrow(ty):
        return BorrowedType(ty.dtype) if isinstance(ty, types.Array) and ty.ndim == 1 else ty

    result = types.NamedTuple([borrow(ty) for ty in values.types], values.instance_class)

    def codegen(context, builder, signature, args):
        fields = []
        for number, (ty, new) in enumerate(zip(values.types, result.types, strict=True)):
            field = builder.extract_value(args[0], number)
            if ty != new:
                array = context.make_array(ty)(context, builder, field)
                borrowed_array = cgutils.create_struct_proxy(new)(context, builder)
                borrowed_array.data, borrowed_array.size = array.data, array.nitems
                field = borrowed_array._getvalue()
            else:
                context.nrt.incref(builder, ty, field)  # the new tuple holds it as well as the old one
            fields.append(field)
        return context.make_tuple(builder, result, fields)

    return result(values), codegen


def borrowed(values):
    """Give a named tuple with its 1-D arrays as ``BorrowedType``; in the interpreter as it is."""
    return values


@overload(borrowed, jit_options=INLINED)
def _overload_borrowed(values):
    return lambda values: _borrowed(values)


@type_callable(operator.getitem)
def _type_getitem_borrowed(context):
    def typer(array, index):
        return array.dtype if isinstance(array, BorrowedType) and isinstance(index, types.Integer) else None

    return typer


@lower_builtin(operator.getitem, BorrowedType, types.Integer)
def _lower_getitem_borrowed(context, builder, signature, args):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
    return builder.load(_row_pointer(context, builder, array.data, args[1], signature.args[1]))


@type_callable(operator.setitem)
def _type_setitem_borrowed(context):
    def typer(array, index, value):
        fits = isinstance(array, BorrowedType) and isinstance(index, types.Integer)
        return types.none if fits and isinstance(value, types.Number) else None

    return typer


@lower_builtin(operator.setitem, BorrowedType, types.Integer, types.Number)
def _lower_setitem_borrowed(context, builder, signature, args):
    ty, index, value = signature.args
    array = cgutils.create_struct_proxy(ty)(context, builder, value=args[0])
    pointer = _row_pointer(context, builder, array.data, args[1], index)
    builder.store(context.cast(builder, args[2], value, ty.dtype), pointer)
    return context.get_dummy_value()


@type_callable(len)
def _type_len(context):
    return lambda array: types.intp if isinstance(array, BorrowedType) else None


@lower_builtin(len, BorrowedType)
def _lower_len(context, builder, signature, args):
    return cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0]).size


# --- Operations that Python has no operator for: in Python for one run, as an instruction for Lanes ---


@operation
def fma(a, b, c):
    """``a * b + c``, rounded once; in the interpreter twice, float32 by way of float64."""
    if is_single(a) or is_single(b) or is_single(c):
        return np.float32(float(a) * float(b) + float(c))
    return a * b + c


@operation
def where(mask, a, b):
    """`a` for the runs where `mask` holds, `b` for the others; both are evaluated."""
    chosen, other = (a, b) if mask else (b, a)
    return type(other)(chosen) if isinstance(other, np.floating) else chosen


@operation
def copysign(x, y):
    """``|x|`` with the sign of `y`."""
    return type(x)(math.copysign(x, y))


@operation
def sqrt(x):
    """The square root of `x`, correctly rounded; NaN below zero."""
    return type(x)(math.sqrt(x)) if x >= 0.0 else x * math.nan


@operation
def isfinite(x):
    """Whether `x` is neither infinite nor NaN."""
    return math.isfinite(x)


@operation
def nearest(x):
    """The integer nearest to `x`, as a float; ties to even."""
    return type(x)(round(x)) if math.isfinite(x) else x


@operation
def power_of_two(k):
    """``2**k`` for an integral float `k` in the range of normal exponents; undefined elsewhere."""
    return type(k)(math.ldexp(1.0, int(k))) if math.isfinite(k) else k


@operation
def times_power_of_two(x, k):
    """``x * 2**k`` for an integral float `k`, rounded once, where it is infinite or subnormal too."""
    if not math.isfinite(k):
        return x * k
    half = int(k) // 2  # in two factors, each a normal number
    return x * type(x)(math.ldexp(1.0, half)) * type(x)(math.ldexp(1.0, int(k) - half))


@operation
def libm_sin(x):
    """``sin x`` by the C library, one run after another; NaN for infinities."""
    return type(x)(math.sin(x)) if math.isfinite(x) else x * math.nan


@operation
def libm_cos(x):
    """``cos x`` by the C library, one run after another; NaN for infinities."""
    return type(x)(math.cos(x)) if math.isfinite(x) else x * math.nan


@operation
def both(mask, other):
    """Where `mask` and `other` hold."""
    return mask and other


@operation
def negated(mask):
    """Where `mask` does not hold."""
    return not mask


def any_of(mask):
    """Whether `mask` holds for at least one run of the block."""
    return bool(mask)


def llvm_call(name):
    """Give a builder of the call of LLVM's intrinsic `name` on Lanes, such as ``llvm.fma.v16f64``."""

    def build(builder, *lanes):
        vector = lanes[0].type
        suffix = f"v{vector.count}f{'32' if vector.element == ir.FloatType() else '64'}"
        function_type = ir.FunctionType(vector, [vector] * len(lanes))
        return builder.call(
            cgutils.get_or_insert_function(builder.module, function_type, f"{name}.{suffix}"), lanes
        )

    return build


def _build_isfinite(builder, a):
    infinity = ir.Constant(a.type, [math.inf] * a.type.count)
    return builder.fcmp_ordered("<", llvm_call("llvm.fabs")(builder, a), infinity)


def _build_power_of_two(builder, k):
    """Add 1.5 * 2**m: k lands in the low bits; shift these into the exponent and add its bias."""
    single = k.type.element == ir.FloatType()
    mantissa, bias = (23, 127) if single else (52, 1023)
    integers = ir.VectorType(ir.IntType(32 if single else 64), k.type.count)

    def constant(type_, value):
        return ir.Constant(type_, [value] * k.type.count)

    bits = builder.bitcast(builder.fadd(k, constant(k.type, 1.5 * 2.0**mantissa)), integers)
    exponent = builder.shl(bits, constant(integers, mantissa))
    return builder.bitcast(builder.add(exponent, constant(integers, bias << mantissa)), k.type)


def _avx512(builder, name, lanes, *last):
    """Call AVX-512's `name` for each register of some Lanes; None where the processor has no AVX-512."""
    features = getattr(cpu_target.target_context.codegen(), "_tm_features", "")
    if "+avx512f" not in features.split(","):
        return None
    lane, single = lanes[0].type, lanes[0].type.element == ir.FloatType()
    n = 16 if single else 8
    register, mask = ir.VectorType(lane.element, n), ir.IntType(n)
    operands = [register] * (len(lanes) + 1) + [mask] + [value.type for value in last]
    instruction = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(register, operands), f"{name}.p{'sd'[not single]}.512"
    )

    def places(first, count):
        return ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))

    parts = []
    for first in range(0, lane.count, n):
        cut = [builder.shuffle_vector(v, ir.Constant(lane, ir.Undefined), places(first, n)) for v in lanes]
        parts.append(builder.call(instruction, [*cut, cut[0], mask(2**n - 1), *last]))
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [builder.shuffle_vector(a, b, places(0, 2 * a.type.count)) for a, b in pairs]
    return parts[0]


def _constant(type_, value):
    return ir.Constant(type_, [value] * type_.count)


def _build_times_power_of_two(builder, x, k):
    """AVX-512 has an instruction for it; elsewhere two factors, each a normal number, of which one rounds."""
    as_rounding_goes = ir.IntType(32)(4)
    scaled = _avx512(builder, "llvm.x86.avx512.mask.scalef", (x, k), as_rounding_goes)
    if scaled:
        return scaled
    half = llvm_call("llvm.rint")(builder, builder.fmul(k, _constant(k.type, 0.5)))
    halved = builder.fmul(x, _build_power_of_two(builder, half))
    return builder.fmul(halved, _build_power_of_two(builder, builder.fsub(k, half)))


def _build_any(builder, mask):
    bits = builder.bitcast(mask, ir.IntType(mask.type.count))
    return builder.icmp_unsigned("!=", bits, bits.type(0))


def _type_where(operands):
    mask, *values = operands
    return _common([mask.lane, *values]) if isinstance(mask, MaskType) else None


def _lower_where(context, builder, signature, args):
    lane = signature.return_type
    a, b = (_as_lane(context, builder, v, t, lane) for v, t in zip(args[1:], signature.args[1:], strict=True))
    return builder.select(args[0], a, b)


instruction(operator.add, 2, lambda builder, a, b: builder.fadd(a, b))
instruction(operator.iadd, 2, lambda builder, a, b: builder.fadd(a, b))
instruction(operator.sub, 2, lambda builder, a, b: builder.fsub(a, b))
instruction(operator.isub, 2, lambda builder, a, b: builder.fsub(a, b))
instruction(operator.mul, 2, lambda builder, a, b: builder.fmul(a, b))
instruction(operator.imul, 2, lambda builder, a, b: builder.fmul(a, b))
instruction(operator.truediv, 2, lambda builder, a, b: builder.fdiv(a, b))
instruction(operator.itruediv, 2, lambda builder, a, b: builder.fdiv(a, b))
instruction(operator.neg, 1, lambda builder, a: builder.fneg(a))
instruction(operator.lt, 2, lambda builder, a, b: builder.fcmp_ordered("<", a, b), MaskType)
instruction(operator.le, 2, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), MaskType)
instruction(operator.gt, 2, lambda builder, a, b: builder.fcmp_ordered(">", a, b), MaskType)
instruction(operator.ge, 2, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), MaskType)
instruction(operator.eq, 2, lambda builder, a, b: builder.fcmp_ordered("==", a, b), MaskType)
instruction(fma, 3, llvm_call("llvm.fma"))
instruction(abs, 1, llvm_call("llvm.fabs"))
instruction(copysign, 2, llvm_call("llvm.copysign"))
instruction(sqrt, 1, llvm_call("llvm.sqrt"))
instruction(nearest, 1, llvm_call("llvm.rint"))
instruction(power_of_two, 1, _build_power_of_two)
instruction(times_power_of_two, 2, _build_times_power_of_two)
instruction(libm_sin, 1, llvm_call("llvm.sin"))
instruction(libm_cos, 1, llvm_call("llvm.cos"))
instruction(isfinite, 1, _build_isfinite, MaskType)
_mask_instruction(both, 2, lambda builder, a, b: builder.and_(a, b))
_mask_instruction(negated, 1, lambda builder, a: builder.not_(a))
_mask_instruction(any_of, 1, _build_any, lambda mask: types.boolean)
BUILDERS[where] = lambda builder, mask, a, b: builder.select(mask, a, b)
_typed(where, 3, _type_where)
for operands in itertools.product((LaneType, types.Number), repeat=2):
    lower_builtin(where, MaskType, *operands)(_lower_where)


@overload(where, jit_options=INLINED)
def _overload_where(mask, a, b):
    """Choose between plain numbers in compiled code: data that all runs share are no Lanes."""
    if isinstance(mask, types.Boolean) and isinstance(a, types.Number) and isinstance(b, types.Number):
        return lambda mask, a, b: a if mask else b
    return None

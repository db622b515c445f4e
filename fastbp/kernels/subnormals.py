"""Subnormal numbers count as zero where kernels train.

A processor takes up to some hundred times as long for a multiply-add of a subnormal number as for another, and the
moments, weights and gradients of a run that has converged decay to such numbers. So the kernels change the mode of
their thread's arithmetic while they train, as JAX does, and change it back. May import Numba and llvmlite alone.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, 10.2.3 (MXCSR); Arm Architecture
Reference Manual for A-profile, FPCR.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

STATE, WORD, NOTHING = ir.IntType(64), ir.IntType(32), ir.VoidType()
FLUSH_RESULTS, OPERANDS_ARE_ZEROS = 1 << 15, 1 << 6  # of the MXCSR
FLUSH = 1 << 24  # of the FPCR
ARCHITECTURE = llvm.get_process_triple().split("-")[0]


def flush_subnormals():
    """Have subnormal numbers of this thread count as zero; give the state before, for `restore_subnormals`.

    In the interpreter nothing happens.
    """
    return 0


def restore_subnormals(state):
    """Go back to the state that `flush_subnormals` gave."""


def build_flush(builder: ir.IRBuilder) -> ir.Value:
    """Write `flush_subnormals`; on a processor that is not known here the state stays as it is."""
    if ARCHITECTURE == "x86_64":
        word = builder.alloca(WORD)
        _call(builder, "llvm.x86.sse.stmxcsr", NOTHING, word)
        state = builder.zext(builder.load(word), STATE)
        _set_mxcsr(builder, builder.or_(state, STATE(FLUSH_RESULTS | OPERANDS_ARE_ZEROS)))
        return state
    if ARCHITECTURE in ("aarch64", "arm64"):
        state = _call(builder, "llvm.aarch64.get.fpcr", STATE)
        _call(builder, "llvm.aarch64.set.fpcr", NOTHING, builder.or_(state, STATE(FLUSH)))
        return state
    return STATE(0)


def build_restore(builder: ir.IRBuilder, state: ir.Value) -> None:
    """Write `restore_subnormals`."""
    if ARCHITECTURE == "x86_64":
        _set_mxcsr(builder, state)
    elif ARCHITECTURE in ("aarch64", "arm64"):
        _call(builder, "llvm.aarch64.set.fpcr", NOTHING, state)


def _set_mxcsr(builder, state):
    word = builder.alloca(WORD)
    builder.store(builder.trunc(state, WORD), word)
    _call(builder, "llvm.x86.sse.ldmxcsr", NOTHING, word)


def _call(builder, name, result, *operands):
    pointer = ir.IntType(8).as_pointer()
    given = [builder.bitcast(o, pointer) if o.type.is_pointer else o for o in operands]
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [o.type for o in given]), name)
    return builder.call(function, given)


@intrinsic
def _flush(typingctx):
    return types.int64(), lambda context, builder, signature, args: build_flush(builder)


@intrinsic
def _restore(typingctx, state):
    def codegen(context, builder, signature, args):
        build_restore(builder, args[0])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


@overload(flush_subnormals)
def _overload_flush():
    return lambda: _flush()


@overload(restore_subnormals)
def _overload_restore(state):
    return lambda state: _restore(state)

"""Straight-line machine code for small networks, written by the kernels themselves.

The kernels that `cpu` compiles serve every network, and pay for it with loops, switches and numbers that pass
through memory. Where a network of few multiply-adds is trained very often, `Straight` calls `training.step` with
`symbols` instead: what it does with them, instruction after instruction, is compiled, which takes LLVM a second or
so, while the other kernels train already. The operations and their order are the same, and so is each bit of the
results.

May import the formulas of ``kernels``, ``batch``, Numba and llvmlite.
"""

import ctypes
import itertools
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastbp.kernels import metrics, training
from fastbp.kernels.batch import Batch
from fastbp.kernels.lanes import WIDTH
from fastbp.kernels.network import Network, multiply_adds, scale_row, sizes
from fastbp.kernels.subnormals import build_flush, build_restore
from fastbp.kernels.symbols import INDEX, Count, SymbolArray, UnwritableError, Writer
from fastbp.kernels.training import Order, Record, Run

# The size of a step up to which straight lines pay; beyond, the tiles are as fast.
LARGEST = 330
SECONDS, SECONDS_A_PIECE = 0.1, 0.008  # that compiling takes: for any network, and for each unit of its size
GAIN = 2.0  # over the root of the size: the share of the time that straight code saves
FIELDS = ("x", "y", "w", "hyper", "m", "state")
NOTHING = Record((), (), False, False, False, None, False, *[None] * 5)  # type: ignore[arg-type]  # is recorded
IN_ORDER = Order((), 0, 0)  # type: ignore[arg-type]

_compiler = ThreadPoolExecutor(1, thread_name_prefix="straight")
_ordered: dict[tuple, Future] = {}


def size(network: Network) -> int:
    """Give the multiply-adds of the layers in one step, and something for what the optimizer does beside."""
    return multiply_adds(network) * (network.n_samples + network.n_validation) + 2 * network.n_state


def is_possible(network: Network) -> bool:
    """Whether the control flow of a step hangs on the structure alone, and the step is short."""
    return network.full and not metrics.stopping(network) and size(network) <= LARGEST


def pays(network: Network, seconds: float) -> bool:
    """Whether straight code saves more of so many `seconds` of training than it takes to compile."""
    n = size(network)
    return seconds * GAIN / math.sqrt(n) > SECONDS + SECONDS_A_PIECE * n


def order(batch: Batch, seconds: float) -> Future | None:
    """Have straight code compiled, beside other work, where `seconds` of training make it worth while.

    Returns
    -------
    Future of a `Straight`, or of None where the network cannot be written so; None where nothing is compiled.
    """
    network = batch.network
    if config.DISABLE_JIT or not is_possible(network) or not pays(network, seconds):
        return None
    key = _key(batch)
    if key not in _ordered:
        _ordered[key] = _compiler.submit(straight, batch)
    return _ordered[key]


def straight(batch: Batch) -> "Straight | None":
    """Write and compile the steps of a batch's network; None where a kernel cannot be written."""
    try:
        return Straight(_written(batch))
    except UnwritableError:
        return None


def _key(batch):
    """Give all that the code depends on."""
    network = tuple(f.tobytes() if isinstance(f, np.ndarray) else f for f in batch.network)
    return network, batch.steps, batch.w.dtype.name, batch.x.ndim, batch.y.ndim, *_ones(batch)


def _ones(batch):
    """Give the rows of scales that are 1 in every run: to multiply by 1 changes nothing."""
    rows = [scale_row(batch.network, layer) for layer in range(len(batch.network.activations))]
    return [row for row in rows if (batch.hyper[:, row] == 1.0).all()]


class Straight:
    """The steps of one network as a function of machine code, compiled from what `_written` gives."""

    def __init__(self, module: ir.Module):
        self.engine = _compiled(module)
        address = self.engine.get_function_address("train")
        self.function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4, *[ctypes.c_void_p] * len(FIELDS))(
            address
        )

    def __call__(self, batch: Batch, first: int, last: int, start: int, stop: int) -> None:
        """Do the steps `start` to `stop` of the blocks `first` to `last`, as `training.train` does.

        Nothing is recorded of them.
        """
        arrays = (getattr(batch, name).ctypes.data for name in FIELDS)
        self.function(first, last, start, stop, *arrays)


@global_compiler_lock
def _compiled(module):
    codegen = cpu_target.target_context.codegen()  # for the processor that Numba compiles for
    parsed = llvm.parse_assembly(str(module).replace('target triple = "unknown-unknown-unknown"', ""))
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=codegen._get_host_cpu_name(), features=codegen._tm_features, opt=3, jit=True
    )
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return engine


def _written(batch):
    """Write ``train(first, last, start, stop, x, y, w, hyper, m, state)``."""
    network, steps, dtype = _with_lists(batch.network), batch.steps, batch.w.dtype
    module, builder = ir.Module(), ir.IRBuilder()
    writer = Writer(builder, dtype, WIDTH[dtype.name])
    shapes = {name: getattr(batch, name).shape for name in FIELDS}
    types = [(writer.vector if len(s) == 3 else writer.number).as_pointer() for s in shapes.values()]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INDEX] * 4 + types), "train")
    builder.position_at_end(function.append_basic_block())
    first, last, start, stop, *arrays = function.args
    for array in arrays:
        array.add_attribute("noalias")  # so that a loop of steps may keep in registers what it stores
    ends = builder.icmp_signed("==", stop, INDEX(steps))
    # After the last update the trained network is evaluated once more.
    beyond = builder.select(ends, INDEX(steps + 1), stop)

    def train_block(block):
        fields = {}
        for array, (name, shape) in zip(arrays, shapes.items(), strict=True):
            own = len(shape) == 3
            fields[name] = SymbolArray(
                writer, builder.gep(array, [builder.mul(block, INDEX(shape[1]))]) if own else array
            )
        fields["hyper"].constants = dict.fromkeys(_ones(batch), 1.0)
        scratch = {name: SymbolArray(writer) for name in Run._fields if name not in FIELDS}
        run: Any = Run(**fields, **scratch)  # type: ignore[arg-type]

        def flush():
            # What is measured of the forward pass first, then the weights with the backward pass.
            for array in (run.m, *run):
                array.flush()

        with builder.if_then(builder.icmp_signed("==", start, INDEX(0))):
            training.begin_run(network, run)
            flush()
        for now, begin, end in _stretches(network, steps):

            def step(t, now=now):
                training.step(network, run, NOTHING, IN_ORDER, now._replace(t=Count(t)), 0, False)
                flush()

            _loop(builder, _extreme(builder, ">", start, begin), _extreme(builder, "<", beyond, end), step)
        with builder.if_then(ends):
            metrics.finish(network, run.m, run.w, sizes(network)[0], steps)
            flush()

    state = build_flush(builder)
    _loop(builder, first, last, train_block)
    build_restore(builder, state)
    builder.ret_void()
    return module


def _with_lists(network):
    arrays = {name: f.tolist() for name, f in network._asdict().items() if isinstance(f, np.ndarray)}
    return network._replace(**arrays)


def _stretches(network, steps):
    """Give the steps in stretches of which each has the same to do: the `Moment`, begin and end."""
    edges = sorted({0, 1, max(0, steps - metrics.TAIL), max(0, steps - 1), steps, steps + 1})
    for begin, end in itertools.pairwise(edges):
        yield training.moment(network, begin, steps), begin, end


def _extreme(builder, sign, value, constant):
    """Give the greater (``>``) or the smaller (``<``) of the two."""
    return builder.select(builder.icmp_signed(sign, value, INDEX(constant)), value, INDEX(constant))


def _loop(builder: ir.IRBuilder, begin: ir.Value, end: ir.Value, body: Callable) -> None:
    """Write ``for i in range(begin, end): body(i)``."""
    before = builder.block
    head, inside, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(INDEX)
    i.add_incoming(begin, before)
    builder.cbranch(builder.icmp_signed("<", i, end), inside, after)
    builder.position_at_end(inside)
    body(i)
    i.add_incoming(builder.add(i, INDEX(1)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)

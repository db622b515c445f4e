"""Straight-line machine code for small networks, written by the kernels themselves.

The kernels that `cpu` compiles serve every network, and pay for it with loops, switches and numbers that pass
through memory. Where a network of few multiply-adds is trained very often, `Straight` calls `training.step` with
`symbols` instead: what it does with them, instruction after instruction, is compiled, which takes LLVM a second or
less. The operations and their order are the same, and so is each bit of the results.

May import the formulas of ``kernels``, ``batch`` and llvmlite.
"""

import ctypes
import itertools

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core.registry import cpu_target

from fastbp.kernels import metrics, training
from fastbp.kernels.batch import Batch
from fastbp.kernels.lanes import WIDTH
from fastbp.kernels.network import Network, scale_row, sizes
from fastbp.kernels.symbols import INDEX, Count, SymbolArray, Writer
from fastbp.kernels.training import Moment, Order, Record, Run

# Multiply-adds of a step of all its samples up to which straight lines pay; more would not fit the processor's
# cache of instructions.
MOST_PRODUCTS = 700
FIELDS = ("x", "y", "w", "hyper", "m", "state")


def multiply_adds(network: Network) -> int:
    """Give the multiply-adds that the layers take for one sample: forward, gradient and delta."""
    pairs = itertools.pairwise(int(n) for n in network.layers)
    return sum(n_in * n_out * (2 if layer == 0 else 3) for layer, (n_in, n_out) in enumerate(pairs))


def is_possible(network: Network) -> bool:
    """Whether the control flow of a step hangs on the structure alone, and the step is short."""
    short = multiply_adds(network) * (network.n_samples + network.n_validation) <= MOST_PRODUCTS
    return short and network.full and not metrics.stopping(network)


class Straight:
    """The steps of one network as a function of machine code.

    Parameters
    ----------
    batch : Batch
        Of the network; its data may be shared or of each run.

    Raises
    ------
    Unwritable
        If an operation of the network cannot be written.
    """

    def __init__(self, batch: Batch):
        module = ir.Module()
        self.steps = batch.steps
        _write(module, batch)
        self.engine = _compiled(module)
        address = self.engine.get_function_address("train")
        self.function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4, *[ctypes.c_void_p] * len(FIELDS))(address)

    def __call__(self, batch: Batch, first: int, last: int, start: int, stop: int) -> None:
        """Do the steps `start` to `stop` of the blocks `first` to `last`, as `training.train` does."""
        arrays = (getattr(batch, name).ctypes.data for name in FIELDS)
        self.function(first, last, start, stop, *arrays)


def _compiled(module):
    # As Numba compiles for this processor.
    codegen = cpu_target.target_context.codegen()
    parsed = llvm.parse_assembly(str(module).replace('target triple = "unknown-unknown-unknown"', ""))
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=codegen._get_host_cpu_name(), features=codegen._get_host_cpu_features(), opt=3, jit=True
    )
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return engine


def _moments(steps):
    """Give the steps in stretches in which there is the same to do: a Moment, begin and end."""
    network = _NOT_PATIENT
    edges = sorted({0, 1, max(0, steps - metrics.TAIL), max(0, steps - 1), steps, steps + 1})
    for begin, end in itertools.pairwise(edges):
        yield training.moment(network, begin, steps), begin, end


class _NotPatient:
    patient = False
    validate_every = 1


_NOT_PATIENT = _NotPatient()


def _write(module, batch):
    """Write ``train(first, last, start, stop, x, y, w, hyper, m, state)``."""
    network, steps, dtype = batch.network, batch.steps, batch.w.dtype
    network = network._replace(
        **{
            name: [int(n) for n in value]
            for name, value in network._asdict().items()
            if isinstance(value, np.ndarray)
        }
    )
    builder = ir.IRBuilder()
    writer = Writer(builder, dtype, WIDTH[dtype.name])
    types = [
        (writer.number if getattr(batch, name).ndim == 1 else writer.vector).as_pointer() for name in FIELDS
    ]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INDEX] * 4 + types), "train")
    builder.position_at_end(function.append_basic_block())
    first, last, start, stop, *arrays = function.args
    for array in arrays:
        array.add_attribute("noalias")  # so that a loop of steps may keep in registers what it stores
    # After the last update the trained network is evaluated once more.
    ends = builder.icmp_signed("==", stop, INDEX(steps))
    beyond = builder.select(ends, INDEX(steps + 1), stop)

    # To multiply by 1 changes nothing, so that scales of 1 need not be multiplied by.
    scales = [scale_row(network, layer) for layer in range(len(network.activations))]
    ones = [row for row in scales if (batch.hyper[:, row] == 1.0).all()]

    def body(block):
        fields = {}
        for name, array in zip(FIELDS, arrays, strict=True):
            values = getattr(batch, name)
            shared = values.ndim == 1
            pointer = array if shared else builder.gep(array, [builder.mul(block, INDEX(values.shape[1]))])
            fields[name] = SymbolArray(writer, pointer)
        fields["hyper"].constants = dict.fromkeys(ones, 1.0)
        run = Run(
            **fields, **{name: SymbolArray(writer) for name in ("g", "inputs", "z", "a", "delta", "scratch")}
        )

        def flush():
            # What is measured of the forward pass first, then the weights with the backward pass.
            for array in (run.m, *run):
                array.flush()

        with builder.if_then(builder.icmp_signed("==", start, INDEX(0))):
            training.begin_run(network, run)
            flush()
        for now, begin, end in _moments(steps):
            at_least = builder.select(builder.icmp_signed(">", start, INDEX(begin)), start, INDEX(begin))
            at_most = builder.select(builder.icmp_signed("<", beyond, INDEX(end)), beyond, INDEX(end))

            def one_step(t, now=now):
                training.step(network, run, NOTHING, ALL, now._replace(t=Count(t)), 0, False)
                flush()

            _loop(builder, at_least, at_most, one_step)
        with builder.if_then(ends):
            metrics.finish(network, run.m, run.w, sizes(network)[0], steps)
            flush()

    _loop(builder, first, last, body)
    builder.ret_void()


NOTHING = Record((), (), False, False, False, None, False, *[None] * 5)  # is recorded
ALL = Order((), 0, 0)  # samples, in order


def _loop(builder, begin, end, body):
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

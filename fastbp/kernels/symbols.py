"""Symbols: numbers that are not known yet. Kernels that meet them write machine code instead of computing.

The kernels are Python, and a network's structure is known before it is trained: called once with symbols in the
place of numbers, a kernel leaves behind the straight line of instructions that a step of that network takes, all
loops unrolled and all choices made. `lanes` has each operation written by the builder that Numba uses for it, so
that the bits are the same. May import NumPy and llvmlite alone.
"""

import functools
import operator
from collections.abc import Callable

import numpy as np
from llvmlite import ir

INDEX = ir.IntType(64)

# How to write each operation on Lanes: ``build(builder, *values)``; `lanes` fills it.
BUILDERS: dict[Callable, Callable] = {}


def operation(function: Callable) -> Callable:
    """Have `function` written where an operand is a Symbol, and called otherwise."""

    @functools.wraps(function)
    def written_or_called(*operands):
        for operand in operands:
            if isinstance(operand, Symbol):
                return operand.writer.write(written_or_called, operands)
        return function(*operands)

    return written_or_called


def is_single(x) -> bool:
    """Whether a number or a Symbol is a float32."""
    return getattr(x, "dtype", None) == np.float32


class UnwritableError(TypeError):
    """A kernel makes a choice that hangs on numbers of the runs, which straight code cannot."""


class Symbol:
    """One number, or one truth value, of each run of a block: an operation on others, written when it is needed.

    So an instruction stands next to the one that needs its result, which then need not leave the registers: a
    gradient next to the update, though the kernels compute all gradients before they update.
    """

    __slots__ = ("function", "operands", "value", "writer")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, writer: "Writer", function: Callable, operands: tuple = ()):
        self.writer, self.function, self.operands = writer, function, operands
        self.value: ir.Value | None = None

    @property
    def dtype(self) -> np.dtype:
        """Of the runs."""
        return self.writer.dtype

    def __bool__(self):
        raise UnwritableError("a choice of instructions cannot hang on the numbers of a run; `where` can")

    def __neg__(self):
        return self.writer.write(operator.neg, (self,))

    def __abs__(self):
        return self.writer.write(abs, (self,))


def _operator(function: Callable, swapped: bool = False) -> Callable:
    def write(self, other):
        return self.writer.write(function, (other, self) if swapped else (self, other))

    return write


for name in ("add", "sub", "mul", "truediv"):
    setattr(Symbol, f"__{name}__", _operator(getattr(operator, name)))
    setattr(Symbol, f"__r{name}__", _operator(getattr(operator, name), swapped=True))
for name in ("lt", "le", "gt", "ge", "eq"):
    setattr(Symbol, f"__{name}__", _operator(getattr(operator, name)))


class Count:
    """A whole number that all runs share, such as the step: a value of LLVM, plus a constant."""

    __slots__ = ("plus", "value")

    def __init__(self, value: ir.Value, plus: int = 0):
        self.value, self.plus = value, plus

    def __add__(self, other):
        return Count(self.value, self.plus + other) if isinstance(other, int) else NotImplemented

    def __sub__(self, other):
        return Count(self.value, self.plus - other) if isinstance(other, int) else NotImplemented


class Writer:
    """Writes what kernels do with Symbols of one dtype to a builder.

    Parameters
    ----------
    builder : ir.IRBuilder
    dtype : np.dtype
    width : int
        Runs a block.
    """

    def __init__(self, builder: ir.IRBuilder, dtype: np.dtype, width: int):
        self.builder, self.dtype = builder, np.dtype(dtype)
        self.number = ir.FloatType() if self.dtype == np.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.number, width)

    def write(self, function: Callable, operands: tuple) -> Symbol:
        """Give the Symbol of an operation on Symbols and numbers."""
        return Symbol(self, BUILDERS[function], operands)

    def value_of(self, operand) -> ir.Value:
        """Write all that an operand needs and itself, unless it is written already."""
        unwritten = [operand]
        while unwritten:
            symbol = unwritten[-1]
            if not isinstance(symbol, Symbol) or symbol.value is not None:
                unwritten.pop()
                continue
            needed = [o for o in symbol.operands if isinstance(o, Symbol) and o.value is None]
            if needed:
                unwritten.extend(reversed(needed))
            else:
                symbol.value = symbol.function(self.builder, *map(self._lanes, symbol.operands))
        return self._lanes(operand)

    def _lanes(self, operand):
        if isinstance(operand, Symbol):
            return operand.value
        if isinstance(operand, Count):
            shifted = self.builder.add(operand.value, INDEX(operand.plus))
            return self.splat(self.builder.sitofp(shifted, self.number))
        return ir.Constant(self.vector, [float(self.dtype.type(operand))] * self.vector.count)

    def splat(self, number: ir.Value) -> ir.Value:
        """Give one number to each run."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.vector.count), [0] * self.vector.count)
        return self.builder.shuffle_vector(
            self.builder.insert_element(undefined, number, ir.IntType(32)(0)), undefined, zeros
        )


class SymbolArray:
    """Rows of a block, or plain numbers that all runs share.

    Parameters
    ----------
    writer : Writer
    pointer : ir.Value, optional
        To the rows, or to plain numbers; None for what nobody needs after the step.
    constants : dict, optional
        Rows that are the same number in every run.
    """

    def __init__(self, writer: Writer, pointer: ir.Value | None = None, constants: dict | None = None):
        self.writer, self.pointer, self.constants, self.first = writer, pointer, constants or {}, 0
        self.loaded: dict[int, Symbol] = {}
        self.changed: dict[int, Symbol | float] = {}

    def __getitem__(self, place):
        if isinstance(place, slice):
            later = SymbolArray(self.writer, self.pointer, self.constants)
            later.first, later.loaded, later.changed = self.first + place.start, self.loaded, self.changed
            return later
        row = self.first + int(place)
        if row in self.changed:
            return self.changed[row]
        if row in self.constants:
            return self.constants[row]
        if row not in self.loaded:
            self.loaded[row] = Symbol(self.writer, lambda builder: self._load(builder, row))
        return self.loaded[row]

    def _load(self, builder, row):
        loaded = builder.load(builder.gep(self.pointer, [INDEX(row)]))
        loaded.align = self.writer.dtype.itemsize
        return loaded if loaded.type == self.writer.vector else self.writer.splat(loaded)

    def __setitem__(self, place, value):
        self.changed[self.first + int(place)] = value

    def flush(self):
        """Write the rows that changed and what they need, store them, and forget all."""
        if self.pointer is not None:
            for row, new in sorted(self.changed.items()):
                value, builder = self.writer.value_of(new), self.writer.builder
                if row in self.loaded:
                    self.writer.value_of(self.loaded[row])  # whoever needs it later needs the old number
                store = builder.store(value, builder.gep(self.pointer, [INDEX(row)]))
                store.align = self.writer.dtype.itemsize
        self.loaded.clear()
        self.changed.clear()

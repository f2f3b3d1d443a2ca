"""The CPU's innermost loops, written as LLVM vector instructions: a register-blocked product and a block transpose.

A tile of C is kept wholly in vector registers while two nested sums run over it; that one routine is matrix
multiplication, convolution and both of its gradients. The size of the tile follows the processor: 8 x 2 vectors
where there are 32 registers (AVX-512, NEON), 6 x 2 where there are 16 (AVX2). Words of CPU kernels: they are
compiled into their callers, for float32 and float64 alike. Strides count elements, never bytes.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import cfunc, types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic

from kernels.compiler import FAST


def _host() -> tuple[int, int, bool]:
    """Bytes of a vector register, how many there are, and whether a multiply-add is one instruction."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32, True
    if features.get("avx2"):
        return 32, 16, bool(features.get("fma"))
    return 16, 32 if platform.machine() in {"aarch64", "arm64"} else 16, platform.machine() in {"aarch64", "arm64"}


VECTOR_BYTES, _REGISTERS, _FUSED = _host()
ROWS = 8 if _REGISTERS == 32 else 6
"""Rows of a full tile: with two vectors each, the accumulators leave room for B's vectors and A's broadcast."""

VECTORS = 2
"""Vectors of a full tile's row."""

STRIP = 8
"""Vectors of a strip: enough sums side by side to hide the latency of a multiply-add where there is but one row."""

# Numba's own functions carry no types.
word: Any = intrinsic
cgutils: Any = _cgutils
_INDEX = ir.IntType(64)


def _element(context: Any, pointer: Any) -> Any:
    return context.get_value_type(pointer.dtype)


def _lanes(pointer: Any) -> int:
    return VECTOR_BYTES * 8 // int(pointer.dtype.bitwidth)


@word
def panel_width(_context: Any, pointer: Any) -> Any:
    """Columns of a full tile for the pointer's element type, a constant."""
    width = VECTORS * _lanes(pointer)
    return types.intp(pointer), lambda *_: ir.Constant(_INDEX, width)


@word
def strip_width(_context: Any, pointer: Any) -> Any:
    """Columns of a strip for the pointer's element type, a constant."""
    width = STRIP * _lanes(pointer)
    return types.intp(pointer), lambda *_: ir.Constant(_INDEX, width)


@word
def vector_width(_context: Any, pointer: Any) -> Any:
    """Elements of one vector register for the pointer's element type, a constant."""
    width = _lanes(pointer)
    return types.intp(pointer), lambda *_: ir.Constant(_INDEX, width)


@word
def tile_rows(context: Any, pointer: Any) -> Any:
    """Rows of a full tile for the pointer's element type, a constant."""
    rows = _rows(ir.FloatType() if pointer.dtype == types.float32 else ir.DoubleType())
    return types.intp(pointer), lambda *_: ir.Constant(_INDEX, rows)


@word
def shift(_context: Any, pointer: Any, count: Any) -> Any:
    """The pointer `count` elements on."""
    return pointer(pointer, types.intp), lambda _c, builder, _s, values: builder.gep(values[0], [values[1]])


@word
def pointer_like(_context: Any, pointer: Any, model: Any) -> Any:
    """The same address, read as elements of `model`'s type."""
    signature = model(pointer, model)
    return signature, lambda context, builder, sig, values: builder.bitcast(
        values[0], context.get_value_type(sig.return_type)
    )


@word
def number_like(context: Any, number: Any, model: Any) -> Any:
    """The number as one of `model`'s elements."""
    target = model.dtype
    return target(number, model), lambda c, builder, sig, values: c.cast(builder, values[0], sig.args[0], target)


@word
def copy_panel(_context: Any, target: Any, source: Any) -> Any:
    """Copy one full panel row, `panel_width` elements."""
    vector, width = VECTORS * _lanes(target), target

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        kind = ir.VectorType(_element(context, width), vector)
        _store(builder, _load(builder, values[1], kind), values[0])
        return context.get_dummy_value()

    return types.void(target, source), generate


@word
def transpose_block(_context: Any, target: Any, target_row: Any, source: Any, source_row: Any) -> Any:
    """target[j, i] = source[i, j] for one block of `vector_width` rows and columns."""
    count, model = _lanes(target), target

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        to, to_row, of, of_row = values
        kind = ir.VectorType(_element(context, model), count)
        rows = [_load(builder, _at(builder, of, of_row, i), kind) for i in range(count)]
        distance = 1
        while distance < count:
            rows = _exchange(builder, rows, distance)
            distance *= 2
        for j, row in enumerate(rows):
            _store(builder, row, _at(builder, to, to_row, j))
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), generate


def _exchange(builder: Any, rows: list[Any], distance: int) -> list[Any]:
    """One stage of Eklundh's transpose: swap the off-diagonal blocks of size `distance`."""
    count, made = len(rows), list(rows)
    high = [bool(lane & distance) for lane in range(count)]
    upper = [count + lane - distance if high[lane] else lane for lane in range(count)]
    lower = [count + lane if high[lane] else lane + distance for lane in range(count)]
    for i in range(count):
        if not i & distance:
            made[i] = _shuffle(builder, rows[i], rows[i + distance], upper)
            made[i + distance] = _shuffle(builder, rows[i], rows[i + distance], lower)
    return made


def _shuffle(builder: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _at(builder: Any, pointer: Any, stride: Any, count: int) -> Any:
    return builder.gep(pointer, [builder.mul(stride, ir.Constant(_INDEX, count))])


def _load(builder: Any, pointer: Any, kind: Any) -> Any:
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 4 if isinstance(kind.element, ir.FloatType) else 8
    return value


def _store(builder: Any, value: Any, pointer: Any) -> None:
    made = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    made.align = 4 if isinstance(value.type.element, ir.FloatType) else 8


@word
def _tile(
    _context: Any, rows: Any, columns: Any, depth: Any, hops: Any, a: Any, a_row: Any, a_step: Any, a_hop: Any, b: Any,
    b_step: Any, b_hop: Any, base: Any, base_row: Any, has_base: Any, c: Any, c_row: Any,
) -> Any:  # fmt: skip
    """One tile of `rows` (at most tile_rows) by `columns` (at most a panel): every size has code of its own.

    A single row may also be a strip wide.
    """
    number, model = types.intp, a
    signature = types.void(*[number] * 4, a, number, number, number, b, number, number, base, number, number, c, number)

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        element, (rows, columns) = _element(context, model), values[:2]
        end, lanes = builder.append_basic_block("tile.end"), VECTOR_BYTES // _bytes(element)
        narrow = builder.icmp_signed("<=", columns, ir.Constant(_INDEX, lanes))
        long = builder.icmp_signed(">", columns, ir.Constant(_INDEX, VECTORS * lanes))
        wide = builder.not_(builder.or_(narrow, long))
        for vectors, most, wanted in ((1, _rows(element), narrow), (VECTORS, _rows(element), wide), (STRIP, 1, long)):
            with builder.if_then(wanted):
                cases = builder.switch(rows, end)
                for count in range(1, most + 1):
                    block = builder.append_basic_block(f"tile.{count}x{vectors}")
                    cases.add_case(ir.Constant(_INDEX, count), block)
                    with builder.goto_block(block):
                        _Tile(builder, element, count, vectors, values[1:]).emit()
                        builder.branch(end)
                builder.position_at_end(builder.append_basic_block("tile.unreachable"))
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, generate


def _bytes(element: Any) -> int:
    return 4 if isinstance(element, ir.FloatType) else 8


def _rows(element: Any) -> int:
    # Gradient checks alone compute in float64: one row is enough, and seven times quicker to compile.
    return ROWS if isinstance(element, ir.FloatType) else 1


class _Tile:
    """Emits the product for one tile of `rows` x `vectors`. Names of the operands as in `multiply`."""

    def __init__(self, builder: Any, element: Any, rows: int, vectors: int, operands: Sequence[Any]) -> None:
        self.builder, self.lanes = builder, VECTOR_BYTES // _bytes(element)
        self.cells = [(i, j) for i in range(rows) for j in range(vectors)]
        self.rows, self.vectors, self.kind = rows, vectors, ir.VectorType(element, self.lanes)
        self.suffix = f"v{self.lanes}f{8 * _bytes(element)}"
        (self.columns, self.depth, self.hops, self.a, self.a_row, self.a_step, self.a_hop, self.b, self.b_step,
         self.b_hop, self.base, self.base_row, self.has_base, self.c, self.c_row) = operands  # fmt: skip
        # The optimiser promotes these cells to registers.
        self.sums = {cell: cgutils.alloca_once(builder, self.kind) for cell in self.cells}

    def emit(self) -> None:
        """Start from the base or from zero, sum, store."""
        builder = self.builder
        for cell in self.cells:
            builder.store(ir.Constant(self.kind, [0.0] * self.lanes), self.sums[cell])
        with builder.if_then(builder.icmp_signed("!=", self.has_base, ir.Constant(_INDEX, 0))):
            self._each_cell(self.base, self.base_row, self._start)
        with cgutils.for_range(builder, self.hops) as hop:
            a = builder.gep(self.a, [builder.mul(hop.index, self.a_hop)])
            b = builder.gep(self.b, [builder.mul(hop.index, self.b_hop)])
            with cgutils.for_range(builder, self.depth) as step:
                a_at = builder.gep(a, [builder.mul(step.index, self.a_step)])
                self._multiply_add(a_at, builder.gep(b, [builder.mul(step.index, self.b_step)]))
        self._each_cell(self.c, self.c_row, self._finish)

    def _multiply_add(self, a: Any, b: Any) -> None:
        builder = self.builder
        line = [_load(builder, builder.gep(b, [self._lane(j)]), self.kind) for j in range(self.vectors)]
        for i in range(self.rows):
            scalar = builder.load(_at(builder, a, self.a_row, i))
            lane = builder.insert_element(ir.Constant(self.kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
            spread = _shuffle(builder, lane, lane, [0] * self.lanes)
            for j in range(self.vectors):
                total = self._fused(spread, line[j], builder.load(self.sums[i, j]))
                builder.store(total, self.sums[i, j])

    def _fused(self, x: Any, y: Any, z: Any) -> Any:
        if not _FUSED:
            return self.builder.fadd(z, self.builder.fmul(x, y))
        return self._call(f"llvm.fma.{self.suffix}", self.kind, [x, y, z])

    def _each_cell(self, pointer: Any, row: Any, action: Any) -> None:
        """Do the action for every vector of the tile: whole where all columns count, masked otherwise."""
        builder = self.builder
        whole = builder.icmp_signed(">=", self.columns, self._lane(self.vectors))
        at = {(i, j): builder.gep(_at(builder, pointer, row, i), [self._lane(j)]) for i, j in self.cells}
        with builder.if_else(whole) as (then, otherwise):
            with then:
                for cell in self.cells:
                    action(cell, at[cell], None)
            with otherwise:
                masks = [self._mask(j) for j in range(self.vectors)]
                for cell in self.cells:
                    action(cell, at[cell], masks[cell[1]])

    def _start(self, cell: tuple[int, int], at: Any, mask: Any) -> None:
        if mask is None:
            value = _load(self.builder, at, self.kind)
        else:
            at = self.builder.bitcast(at, self.kind.as_pointer())
            zero, align = ir.Constant(self.kind, [0.0] * self.lanes), ir.Constant(ir.IntType(32), 4)
            value = self._call(f"llvm.masked.load.{self.suffix}.p0", self.kind, [at, align, mask, zero])
        self.builder.store(value, self.sums[cell])

    def _finish(self, cell: tuple[int, int], at: Any, mask: Any) -> None:
        value = self.builder.load(self.sums[cell])
        if mask is None:
            _store(self.builder, value, at)
            return
        at = self.builder.bitcast(at, self.kind.as_pointer())
        align = ir.Constant(ir.IntType(32), 4)
        self._call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), [value, at, align, mask])

    def _mask(self, vector: int) -> Any:
        builder, index = self.builder, ir.VectorType(_INDEX, self.lanes)
        left = builder.sub(self.columns, self._lane(vector))
        lane = builder.insert_element(ir.Constant(index, ir.Undefined), left, ir.Constant(ir.IntType(32), 0))
        spread = _shuffle(builder, lane, lane, [0] * self.lanes)
        return builder.icmp_signed("<", ir.Constant(index, list(range(self.lanes))), spread)

    def _call(self, name: str, result: Any, values: list[Any]) -> Any:
        kind = ir.FunctionType(result, [value.type for value in values])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), values)

    def _lane(self, vector: int) -> Any:
        return ir.Constant(_INDEX, vector * self.lanes)


def multiply_tiles(
    rows: int, columns: int, depth: int, hops: int, a: Any, a_row: int, a_step: int, a_hop: int, b: Any, b_step: int,
    b_hop: int, base: Any, base_row: int, has_base: int, c: Any, c_row: int,
) -> None:  # fmt: skip
    """c[i, j] = base[i, j] + sum over h < hops and s < depth of a(i, s, h) b(s, h, j), for j < columns <= panel_width.

    Where there is only one row, `columns` may also be strip_width.
    a(i, s, h) lies at i a_row + s a_step + h a_hop, row (s, h) of b at s b_step + h b_hop. Whole vectors of b are
    read, so its rows are packed with zeros to a full panel where `columns` is less; of c only `columns` are written.
    The base (a bias with base_row 0, or c itself to go on with a sum) counts only if `has_base`.
    Rows are split into nearly equal tiles. Every element is one chain of multiply-adds whatever the tiles.
    """
    most = tile_rows(a)
    tiles = (rows + most - 1) // most
    done = 0
    for tile in range(tiles):
        count = (rows - done) // (tiles - tile)
        _tile(count, columns, depth, hops, shift(a, done * a_row), a_row, a_step, a_hop, b, b_step, b_hop,
              shift(base, done * base_row), base_row, has_base, shift(c, done * c_row), c_row)  # fmt: skip
        done += count


def _pointer_to(element: Any) -> Any:
    kind: Any = types.CPointer
    return kind(element)


def _shared(function: Any, arguments: str) -> Any:
    """Compile a function once for each float type; kernels call it by its symbol instead of holding copies of it.

    `arguments` has a letter for each: p a pointer to elements, i an integer. The symbols must exist before a kernel
    that names them comes out of the disk cache, so both are made when this file is imported.
    """
    name = f"trainyard_{function.__name__}"

    def signature(element: Any) -> Any:
        return types.void(*[_pointer_to(element) if letter == "p" else types.intp for letter in arguments])

    for element in (types.float32, types.float64):
        made = cfunc(signature(element), cache=True, error_model="numpy", fastmath=FAST)(function)
        llvmlite.binding.add_symbol(f"{name}_{element}", made.address)
        _machine_code.append(made)

    def call(_context: Any, *given: Any) -> Any:
        element = given[arguments.index("p")].dtype

        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            callee = cgutils.get_or_insert_function(builder.module, kind, f"{name}_{element}")
            builder.call(callee, values)
            return context.get_dummy_value()

        return signature(element), generate

    # Numba asks for as many parameters by name as the kernel passes.
    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += inspect.signature(function).parameters.values()
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return word(call)


_machine_code: list[Any] = []
multiply = _shared(multiply_tiles, "iiii" + "piii" + "pii" + "pii" + "pi")

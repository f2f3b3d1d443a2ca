"""128-bit accesses for CUDA kernels, as Numba intrinsics: what a pointer of float32 alone cannot say.

A kernel names them through `Deferred("kernels.wide", …)`; the simulator has its own, which also check alignment.
Only the CUDA compiler imports this file.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.cuda import types
from numba.cuda.extending import intrinsic

_FOUR = types.UniTuple(types.float32, 4)
_VECTOR = ir.VectorType(ir.FloatType(), 4)


def _lane(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), number)


def _load(context: Any, builder: Any, pointer: Any) -> Any:
    space = pointer.type.addrspace
    vector = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer(space)), align=16)
    return context.make_tuple(builder, _FOUR, [builder.extract_element(vector, _lane(k)) for k in range(4)])


def _store(context: Any, builder: Any, pointer: Any, values: list[Any]) -> Any:
    vector = ir.Constant(_VECTOR, ir.Undefined)
    for k, value in enumerate(values):
        vector = builder.insert_element(vector, value, _lane(k))
    builder.store(vector, builder.bitcast(pointer, _VECTOR.as_pointer(pointer.type.addrspace)), align=16)
    return context.get_dummy_value()


@intrinsic
def load4(_typing: Any, pointer: Any, _index: Any) -> Any:
    """Four floats from element `index` of a global array on; their address must be a multiple of 16."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _load(context, builder, builder.gep(values[0], [values[1]]))

    return _FOUR(pointer, types.int32), generate


@intrinsic
def store4(_typing: Any, pointer: Any, _index: Any, _a: Any, _b: Any, _c: Any, _d: Any) -> Any:
    """Write four floats from element `index` of a global array on; their address must be a multiple of 16."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _store(context, builder, builder.gep(values[0], [values[1]]), values[2:])

    return types.void(pointer, types.int32, *[types.float32] * 4), generate


def _element(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The address of array[i, j, k] in a shared array of constant shape."""
    array_type = signature.args[0]
    array = context.make_array(array_type)(context, builder, values[0])
    indices = [builder.sext(v, ir.IntType(64)) for v in values[1:4]]
    return cgutils.get_item_pointer(context, builder, array_type, array, indices, wraparound=False)


@intrinsic
def tile4(_typing: Any, tile: Any, _i: Any, _j: Any, _k: Any) -> Any:
    """Four floats tile[i, j, k : k + 4] of a shared array; k and the row length must be multiples of 4."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _load(context, builder, _element(context, builder, signature, values))

    return _FOUR(tile, *[types.int32] * 3), generate


@intrinsic
def put4(_typing: Any, tile: Any, _i: Any, _j: Any, _k: Any, _a: Any, _b: Any, _c: Any, _d: Any) -> Any:
    """Write four floats to tile[i, j, k : k + 4] of a shared array; k and the row length must be multiples of 4."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _store(context, builder, _element(context, builder, signature, values), values[4:])

    return types.void(tile, *[types.int32] * 3, *[types.float32] * 4), generate

"""The gate before any GPU: every kernel compiles for four generations of GPUs, and its machine code is clean.

Compiled and disassembled, not run. A kernel that spills, keeps arrays in memory, slips into float64 or loses its
loads computes the right numbers in every simulator; only its machine code tells.
"""

from __future__ import annotations

import dis
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from kernels.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from kernels.conv_grid import Convolution
from kernels.cuda_compiler import TARGETS, Target, cubins, cuda_key, target_name
from kernels.gemm import matmul
from kernels.launch import Launch, each
from kernels.simulator import STATIC_SHARED
from kernels.source import cuda_sources
from tests.kernels.cuda_cases import every_launch
from tests.kernels.sass import count, opcodes

pytestmark = pytest.mark.timeout(900)

DOUBLES = ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX", "DMMA")
HOPPER = TARGETS[2]
REGISTERS = 65536
"""Registers of a multiprocessor: a block that needs more cannot start."""

CONVOLUTIONS = {
    "lenet first": Convolution(128, 28, 28, 1, 6, 5, 5, 28, 28, 1, 1, 1, 1, 2, 2, 1),
    "lenet second": Convolution(128, 14, 14, 6, 16, 5, 5, 10, 10, 1, 1, 1, 1, 0, 0, 1),
    "digits": Convolution(32, 8, 8, 16, 32, 3, 3, 8, 8, 1, 1, 1, 1, 1, 1, 1),
    "residual": Convolution(256, 32, 32, 64, 128, 3, 3, 16, 16, 2, 2, 1, 1, 1, 1, 0),
    "colours": Convolution(64, 32, 32, 3, 40, 3, 3, 32, 32, 1, 1, 2, 2, 2, 2, 1),
}
PRODUCTS = {
    "mlp first": (128, 512, 784),
    "mlp last": (128, 10, 256),
    "square": (4096, 4096, 4096),
    "odd": (2047, 1031, 777),
}


def real_sizes() -> Iterator[tuple[str, Launch]]:
    """Products and convolutions of common networks: tiles and wide accesses that small examples never choose."""
    x = np.zeros(1, np.float32)
    for name, (m, n, k) in PRODUCTS.items():
        yield f"{name}.forward", matmul(x, x, x, m, n, k, bias=x)
        yield f"{name}.dx", matmul(x, x, x, m, k, n, transpose_b=True)
        yield f"{name}.dw", matmul(x, x, x, k, n, m, transpose_a=True)
    for name, v in CONVOLUTIONS.items():
        yield f"{name}.forward", conv_forward(x, x, x, x, v)
        yield f"{name}.dx", conv_input_gradient(x, x, x, v)
        yield f"{name}.dw", conv_weight_gradient(x, x, x, v)


def distinct() -> dict[str, Launch]:
    """Every launch of the registries and of real sizes, each kernel once."""
    found: dict[str, tuple[str, Launch]] = {}
    for name, launch in (*every_launch(), *real_sizes()):
        found.setdefault(cuda_key(launch), (name, launch))
    return dict(found.values())


LAUNCHES = distinct()


FURTHER_SHAPES = 2
"""Shapes of a kernel, beside the first, that are compiled: its code differs by constants, and the gate has minutes."""


def cases() -> Iterator[tuple[str, Target]]:
    """The first launch of every kernel, and all real sizes, on every target; a few more shapes of each on Hopper."""
    real, seen = {name for name, _ in real_sizes()}, Counter[str]()
    for name, launch in LAUNCHES.items():
        everywhere = name in real or not seen[launch.kernel.name]
        seen[launch.kernel.name] += 1
        if everywhere or seen[launch.kernel.name] <= 1 + FURTHER_SHAPES:
            yield from ((name, target) for target in (TARGETS if everywhere else [HOPPER]))


CASES = list(cases())
READ = [(name, target) for name, target in CASES if target in (TARGETS[0], HOPPER)]
"""Instructions are read on the oldest target and on Hopper. Reading takes longer than compiling, and what the assembler
says of the others (spills, stack, registers), with the PTX that all share, leaves little to be found there."""


def parametrized(chosen: list[tuple[str, Target]]) -> pytest.MarkDecorator:
    """A test for each of the cases."""
    return pytest.mark.parametrize(("name", "target"), chosen, ids=[f"{target_name(t)}-{name}" for name, t in chosen])


@pytest.fixture(scope="module", autouse=True)
def inspected(request: pytest.FixtureRequest) -> None:
    """Compile and disassemble what the chosen tests will ask for on all processors; by themselves they use one."""
    ours = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    given = [item.callspec.params for item in ours if hasattr(item, "callspec")]
    chosen = {(p["name"], p["target"]) for p in given if "name" in p}
    if len(chosen) > 8:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            list(pool.map(inspect, sorted(chosen), chunksize=8))


def inspect(case: tuple[str, Target]) -> None:
    """Put one launch's kernels for one target, and their instructions where they are read, into the cache."""
    name, target = case
    for made in cubins(LAUNCHES[name], target):
        if target in (TARGETS[0], HOPPER):
            opcodes(made.code)


def reads_arrays(launch: Launch) -> bool:
    """Whether the kernel's source reads any element (a gradient that is zero everywhere reads none)."""
    if not isinstance(launch.kernel, each):
        return True
    return any(i.opname == "BINARY_SUBSCR" for i in dis.get_instructions(launch.kernel.body))


@parametrized(CASES)
def test_a_kernel_keeps_to_registers_and_to_float32(name: str, target: Target) -> None:
    launch = LAUNCHES[name]
    for made, source in zip(cubins(launch, target), cuda_sources(launch, lambda word: word), strict=True):
        assert (made.stack, made.spills) == (0, 0)
        assert made.doubles == 0, "its PTX computes in float64"
        assert made.registers * source.threads <= REGISTERS
        assert made.shared + source.shared <= STATIC_SHARED


@parametrized(READ)
def test_the_machine_code_of_a_kernel_is_clean(name: str, target: Target) -> None:
    for made in cubins(LAUNCHES[name], target):
        found = opcodes(made.code)
        assert count(found, "LDL", "STL") == 0, "it keeps an array in local memory"
        assert count(found, *DOUBLES) == 0, "it computes in float64"
        assert not [opcode for opcode in found if ".F64" in opcode], "it converts to float64"
        assert count(found, "STG") > 0, "it writes nothing"
        assert count(found, "LDG") > 0 or not reads_arrays(LAUNCHES[name]), "it reads nothing"


@parametrized([case for case in READ if LAUNCHES[case[0]].kernel.name.startswith(("gemm.", "conv."))])
def test_a_product_fuses_multiply_and_add_and_reads_from_shared_memory(name: str, target: Target) -> None:
    found = opcodes(cubins(LAUNCHES[name], target)[0].code)
    assert count(found, "FFMA") >= 16
    assert count(found, "LDS") > 0
    assert count(found, "STS") > 0
    assert count(found, "BAR") > 0
    assert count(found, "FADD") == 0, "a sum is not fused"
    assert count(found, "RED", "ATOMG", "ATOM") == 0, "its sums depend on chance"


@pytest.mark.parametrize("target", [TARGETS[0], HOPPER], ids=target_name)
def test_a_large_aligned_product_moves_four_floats_at_a_time(target: Target) -> None:
    found = opcodes(cubins(LAUNCHES["square.forward"], target)[0].code)
    assert found["LDG.E.128"] >= 4 or found["LDG.E.128.SYS"] >= 4
    assert any(opcode.startswith("LDS.") and "128" in opcode for opcode in found)
    assert any(opcode.startswith("STG.E.128") for opcode in found)
    assert count(found, "FFMA") >= 64

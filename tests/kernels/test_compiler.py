"""Compiled code is found again on disk by name, and called by symbol: neither may mean two functions."""

from __future__ import annotations

from kernels.compiler import _cpu_functions
from kernels.launch import Body, each
from kernels.ops.gru import gru_cell
from kernels.ops.lstm import lstm_cell
from kernels.source import identity
from tests.kernels.cuda_cases import every_launch


def test_closures_of_one_factory_become_different_symbols() -> None:
    sweeps = [lstm_cell("tanh", "sigmoid"), lstm_cell("tanh", "hard_sigmoid"), gru_cell("tanh", "sigmoid")]
    assert len({cell.forward.cpu.__qualname__ for cell in sweeps}) == 1, "these share a factory"
    symbols = {_cpu_functions.bound(cell.forward.cpu).__qualname__ for cell in sweeps}
    assert len(symbols) == len(sweeps)


def test_every_kernel_has_a_symbol_of_its_own_that_is_the_same_in_every_process() -> None:
    functions: dict[str, Body] = {}
    for _, launch in every_launch():
        body = launch.kernel.body if isinstance(launch.kernel, each) else launch.kernel.cpu
        assert " at 0x" not in repr(identity(body)), f"{launch.kernel.name} is told by an address"
        name = _cpu_functions.bound(body).__qualname__
        assert identity(functions.setdefault(name, body)) == identity(body)

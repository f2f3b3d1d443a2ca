"""What operators write against: `each` (one body), `pair` (two twins) and the `Launch` that both yield.

A launch is data: which kernel, how many items, which arrays and numbers. Nothing here runs or compiles;
`kernels.backend` turns launches into a program. Importing this file needs neither Numba nor a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

Body = Callable[..., None]


@final
class Deferred:
    """A name inside kernel code that is looked up only when the kernel is compiled.

    The CPU and CUDA vocabularies live in heavy or absent packages; a kernel's source may speak of them, a
    process that never compiles a kernel need not import them.
    """

    def __init__(self, module: str, name: str | None = None) -> None:
        self.module, self.name = module, name

    def resolve(self) -> Any:
        """Import the module and return the object meant."""
        module = importlib.import_module(self.module)
        return module if self.name is None else getattr(module, self.name)


cuda: Any = Deferred("numba.cuda")
"""The words of CUDA kernels: threadIdx, shared.array, syncthreads and so on."""


@final
class device:
    """A function that kernels call. It is compiled into its callers, on both backends."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any) -> Any:
        """Run the Python source: how the simulator and unit tests see it."""
        return self.function(*args)


@dataclass(frozen=True, slots=True)
class Grid:
    """How a CUDA twin is spread over the device: `blocks` of `threads`, each block with `shared` bytes on top.

    The kernel takes the launch's leading arrays, and after them one of `scratch` floats where it asks for any.
    `then` is a second kernel over the same arrays and scratch, started when the first is done.
    """

    kernel: Body
    blocks: tuple[int, int, int]
    threads: int
    shared: int = 0
    scratch: int = 0
    then: Grid | None = None


@final
class each:
    """One body for every item, on either backend.

    `each(body).over(n, *args)` means `body(i, *args)` for every i below n; `over((n, m), *args)` means
    `body(i, j, *args)`, where j runs over contiguous elements. Items may run in any order and at once, so no
    two of them may write the same element. Arrays arrive flat.
    """

    def __init__(self, body: Body, name: str | None = None) -> None:
        self.body = body
        self.name = name or f"{body.__module__.rpartition('.')[2]}.{body.__qualname__}"

    def over(self, items: int | tuple[int, int], *args: Any, work: int = 1) -> Launch:
        """Bind arrays and numbers; `work` is roughly how many arithmetic operations one item (i) takes."""
        n, m = items if isinstance(items, tuple) else (items, None)
        return Launch(self, n, m, args, work * (m or 1))


@final
class pair:
    """Two twins of one computation, where the fast algorithm really differs.

    `cpu(begin, end, scratch, *args)` does items begin..end-1; `scratch` is a private pointer to `scratch` floats.
    `grid(n, *numbers)` returns the `Grid` for the same work, shapes baked in; its kernel takes the arrays alone.
    Both must give every item the same value whatever the split, so bits never depend on the thread count.
    """

    def __init__(self, cpu: Body, grid: Callable[..., Grid], name: str | None = None) -> None:
        self.cpu, self.grid = cpu, grid
        self.name = name or f"{cpu.__module__.rpartition('.')[2]}.{cpu.__qualname__}"

    def over(self, n: int, *args: Any, work: int, scratch: int = 0) -> Launch:
        """Bind arrays and numbers for n items of `work` operations each, `scratch` floats per thread."""
        return Launch(self, n, None, args, work, scratch)


Kernel = each | pair


@final
@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """One kernel bound to its arrays and numbers: `n` items, or n rows of m contiguous items."""

    kernel: Kernel
    n: int
    m: int | None
    args: tuple[Any, ...]
    work: int
    scratch: int = 0

    @property
    def arrays(self) -> list[Any]:
        """The arrays among the arguments, in order."""
        return [a for a in self.args if not isinstance(a, int | float)]

    @property
    def numbers(self) -> list[int | float]:
        """The plain numbers among the arguments, in order."""
        return [a for a in self.args if isinstance(a, int | float)]

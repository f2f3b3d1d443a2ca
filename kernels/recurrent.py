"""What simple_rnn, lstm and gru share: Keras 3's arguments, the products over all steps, and both directions.

The input's share of every gate is one product over all rows and steps, and so is the gradient of every weight; only
the state's own share goes step by step (kernels.recurrent_sweep). Gradients through time are exact: no truncation.
"""

# Without postponed annotations: the models of the concrete layers read these fields' types as objects, not as names
# to be looked up in the concrete layers' files.

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

from annotated_types import Ge

from kernels.cell_activations import CellActivation
from kernels.gemm import matmul
from kernels.launch import Launch, each
from kernels.operator import Frame, Operator, Param, ShapeError, Signature
from kernels.recurrent_sweep import Cell, backward_scratch, forward_scratch
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec

FORWARD, BACKWARD = "", "backward_"
"""What the names of a direction's arrays begin with."""


@each
def add_scaled(i: int, a: Any, b: Any, out: Any, factor: Any) -> None:
    """out = (a + b) · factor."""
    out[i] = (a[i] + b[i]) * factor


@each
def scale(i: int, a: Any, out: Any, factor: Any) -> None:
    """out = a · factor."""
    out[i] = a[i] * factor


@each
def multiply_elements(i: int, a: Any, b: Any, out: Any) -> None:
    """out = a · b."""
    out[i] = a[i] * b[i]


@final
@dataclass(frozen=True, slots=True)
class Direction:
    """One sweep over time: the names of its arrays, which way it goes, and where its outputs lie in y."""

    prefix: str
    reverse: bool
    y: str
    y_row: int
    y_first: int
    y_step: int


@dataclass(frozen=True)
class Recurrent(Operator):
    """A layer that walks over a sequence with a state; concrete ones say what happens at one step (`cell`)."""

    units: Annotated[int, Ge(1)]
    activation: CellActivation = "tanh"
    use_bias: bool = True
    kernel_initializer: str = "glorot_uniform"
    recurrent_initializer: str = "orthogonal"
    bias_initializer: str = "zeros"
    return_sequences: bool = False
    go_backwards: bool = False
    bidirectional: Literal["concat", "sum", "ave", "mul"] | None = None

    noun: ClassVar[str]

    @abc.abstractmethod
    def cell(self) -> Cell:
        """The computation of one step."""

    def bias_start(self) -> str:
        """The initializer of the input's bias."""
        return self.bias_initializer

    def infer(self, x: TensorSpec) -> Signature:
        """(n, t, features) → (n, t, units) or (n, units); twice as wide where two directions are concatenated."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"{self.noun} expects (batch, time, features), got {x.shape}; give it a sequence: an embedding or a "
                f"reshape layer before it, or return_sequences in the recurrent layer before it"
            )
        if self.bidirectional and self.go_backwards:
            raise ShapeError(f"a bidirectional {self.noun} goes both ways already; leave go_backwards out")
        n, steps, features = x.shape
        width = self._width
        output = x.with_shape(n, steps, width) if self.return_sequences else x.with_shape(n, width)
        params: dict[str, Param] = {}
        saved: dict[str, TensorSpec] = {}
        scratch: dict[str, TensorSpec] = {}
        for prefix in self._prefixes:
            params |= {prefix + name: param for name, param in self._params(features).items()}
            saved |= {prefix + name: spec for name, spec in self._saved(x).items()}
            scratch |= {prefix + name: spec for name, spec in self._scratch(x).items()}
        if self._merges:
            saved |= {f"{prefix}y": output for prefix in ("forward_", BACKWARD)}
            scratch |= {f"{prefix}dy": output for prefix in ("forward_", BACKWARD)}
        if self.bidirectional:
            scratch["backward_dx"] = x
        return Signature(output, params, saved=saved, scratch=scratch)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """For each direction the input's share as one product, then the sweep; then both are merged."""
        cell, (n, steps, features), many = self.cell(), f.x.shape, self.cell().gates * self.units
        for d in self._directions(steps):
            p, own = d.prefix, vars(f)
            bias = own[f"{p}b"] if self.use_bias else None
            yield matmul(f.x, own[f"{p}w"], own[f"{p}sums"], n * steps, many, features, bias=bias)
            second = own[f"{p}c"] if cell.split and self.use_bias else own[f"{p}u"]
            kept = own[f"{p}kept"] if cell.remembers else own[f"{p}before"]
            # Arrays that a plan adds where the sequence goes on from an earlier one; `before` only fills the place.
            first, first_kept = own.get("first", own[f"{p}before"]), own.get("first_kept", own[f"{p}before"])
            yield cell.forward.over(
                n, own[f"{p}sums"], own[f"{p}u"], second, own[f"{p}before"], kept, first, first_kept, own[d.y], steps,
                self.units, int(d.reverse), d.y_row, d.y_first, d.y_step, int(self.use_bias), int("first" in own),
                work=2 * steps * self.units * many, scratch=forward_scratch(n, self.units, cell),
            )  # fmt: skip
        yield from self._merge(f)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The merge, the sweeps, and then every weight's gradient as one product over all rows and steps."""
        cell, (n, steps, features), many = self.cell(), f.x.shape, self.cell().gates * self.units
        yield from self._part(f)
        for d in self._directions(steps):
            p, own = d.prefix, vars(f)
            dy = f.dy if d.y == "y" else own[d.y.replace("y", "dy")]
            dsums = own[f"{p}dsums"]
            dhidden = own[f"{p}dhidden"] if cell.split else dsums
            kept = own[f"{p}kept"] if cell.remembers else own[f"{p}before"]
            yield cell.backward.over(
                n, dy, own[f"{p}sums"], own[f"{p}u"], own[f"{p}before"], kept, dsums, dhidden, steps, self.units,
                int(d.reverse), d.y_row, d.y_first, d.y_step,
                work=2 * steps * self.units * many, scratch=backward_scratch(n, self.units, cell),
            )  # fmt: skip
            yield matmul(f.x, dsums, own[f"d{p}w"], features, many, n * steps, transpose_a=True)
            yield matmul(own[f"{p}before"], dhidden, own[f"d{p}u"], self.units, many, n * steps, transpose_a=True)
            if self.use_bias:
                yield column_sums(dsums, own[f"d{p}b"], n * steps, many)
            if self.use_bias and cell.split:
                yield column_sums(dhidden, own[f"d{p}c"], n * steps, many)
            if f.dx is not None:
                dx = own["backward_dx"] if p == BACKWARD else f.dx
                yield matmul(dsums, own[f"{p}w"], dx, n * steps, features, many, transpose_b=True)
        if f.dx is not None and self.bidirectional:
            yield add_scaled.over(f.dx.size, f.dx, f.backward_dx, f.dx, 1.0, work=1)

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per weight, row and step, and about ten operations per gate."""
        n, steps, features = x.shape
        many = self.cell().gates * self.units
        return len(self._prefixes) * n * steps * many * (2 * (features + self.units) + 10)

    @property
    def _prefixes(self) -> tuple[str, ...]:
        return (FORWARD, BACKWARD) if self.bidirectional else (FORWARD,)

    @property
    def _merges(self) -> bool:
        return self.bidirectional not in {None, "concat"}

    @property
    def _width(self) -> int:
        return 2 * self.units if self.bidirectional == "concat" else self.units

    def _params(self, features: int) -> dict[str, Param]:
        cell = self.cell()
        many = cell.gates * self.units
        params = {
            "w": Param(TensorSpec((features, many)), self.kernel_initializer, features, many),
            "u": Param(TensorSpec((self.units, many)), self.recurrent_initializer, self.units, many),
        }
        if self.use_bias:
            params["b"] = Param(TensorSpec((many,)), self.bias_start(), features, many)
        if self.use_bias and cell.split:
            params["c"] = Param(TensorSpec((many,)), self.bias_initializer, self.units, many)
        return params

    def _saved(self, x: TensorSpec) -> dict[str, TensorSpec]:
        cell, (n, steps, _) = self.cell(), x.shape
        state = x.with_shape(n, steps, self.units)
        kept = {"kept": state} if cell.remembers else {}
        return {"sums": x.with_shape(n, steps, cell.gates * self.units), "before": state, **kept}

    def _scratch(self, x: TensorSpec) -> dict[str, TensorSpec]:
        cell, (n, steps, _) = self.cell(), x.shape
        sums = x.with_shape(n, steps, cell.gates * self.units)
        return {"dsums": sums, **({"dhidden": sums} if cell.split else {})}

    def _directions(self, steps: int) -> Iterator[Direction]:
        """Both directions' outputs stand at their inputs' times; a single one that goes backwards counts its own."""
        width = self._width
        row = steps * width if self.return_sequences else width
        hop = width if self.return_sequences else 0
        if not self.bidirectional:
            yield Direction(FORWARD, self.go_backwards, "y", row, 0, hop)
            return
        offset = self.units if self.bidirectional == "concat" else 0
        names = ("forward_y", "backward_y") if self._merges else ("y", "y")
        yield Direction(FORWARD, False, names[0], row, 0, hop)
        yield Direction(BACKWARD, True, names[1], row, offset + (steps - 1) * hop, -hop)

    def _merge(self, f: Frame) -> Iterator[Launch]:
        """y from both directions' outputs, where they are not simply neighbours."""
        if self.bidirectional == "mul":
            yield multiply_elements.over(f.y.size, f.forward_y, f.backward_y, f.y)
        elif self._merges:
            yield add_scaled.over(f.y.size, f.forward_y, f.backward_y, f.y, self._factor)

    def _part(self, f: Frame) -> Iterator[Launch]:
        """The gradient of each direction's output."""
        if self.bidirectional == "mul":
            yield multiply_elements.over(f.y.size, f.dy, f.backward_y, f.forward_dy)
            yield multiply_elements.over(f.y.size, f.dy, f.forward_y, f.backward_dy)
        elif self._merges:
            yield scale.over(f.y.size, f.dy, f.forward_dy, self._factor)
            yield scale.over(f.y.size, f.dy, f.backward_dy, self._factor)

    @property
    def _factor(self) -> float:
        return 0.5 if self.bidirectional == "ave" else 1.0

"""Multi-head self-attention: every position looks at every position, in several ways at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from annotated_types import Ge

from kernels.attention import attend, attend_back
from kernels.gemm import matmul
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class MultiHeadAttention(Operator):
    """Self-attention (Vaswani et al. 2017): y = concat_h(softmax(q_h·k_hᵀ / √key_dim)·v_h)·o + c.

    q, k, v = x·w + b, each with its own columns of w and b in this order, and in each of them `num_heads` heads of
    `key_dim` numbers. x and y (n, t, features), w (features, 3·num_heads·key_dim), o (num_heads·key_dim, features).
    `causal`: position i sees positions up to i alone (Keras's use_causal_mask). Every position is seen; there is no
    mask for padded sequences. Attention has no sense of order: add positions to its input
    (positional_encoding, position_embedding). Keras's `MultiHeadAttention` called as layer(x, x).
    """

    type: ClassVar[str] = "multi_head_attention"
    aliases: ClassVar[tuple[str, ...]] = ("MultiHeadAttention",)

    num_heads: Annotated[int, Ge(1)]
    key_dim: Annotated[int, Ge(1)]
    use_bias: bool = True
    causal: bool = False
    kernel_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"multi_head_attention expects (batch, time, features), got {x.shape}; give it a sequence: an "
                f"embedding or a reshape layer before it"
            )
        n, t, features = x.shape
        width = self.num_heads * self.key_dim
        params = {"w": Param(TensorSpec((features, 3 * width)), self.kernel_initializer, features, width)}
        if self.use_bias:
            params["b"] = Param(TensorSpec((3 * width,)), self.bias_initializer, features, width)
        params["o"] = Param(TensorSpec((width, features)), self.kernel_initializer, width, features)
        if self.use_bias:
            params["c"] = Param(TensorSpec((features,)), self.bias_initializer, width, features)
        shares = x.with_shape(n, self.num_heads, t, t)
        saved = {"qkv": x.with_shape(n, t, 3 * width), "shares": shares, "found": x.with_shape(n, t, width)}
        scratch = {"dqkv": saved["qkv"], "dshares": shares, "dfound": saved["found"]}
        return Signature(x, params, saved=saved, scratch=scratch)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """A product in, attention, a product out."""
        n, t, features = f.x.shape
        width, bias = self.num_heads * self.key_dim, self.use_bias
        yield matmul(f.x, f.w, f.qkv, n * t, 3 * width, features, bias=f.b if bias else None)
        yield attend(f.qkv, f.shares, f.found, n, t, self.num_heads, self.key_dim, self.causal)
        yield matmul(f.found, f.o, f.y, n * t, features, width, bias=f.c if bias else None)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The same three, backwards."""
        n, t, features = f.x.shape
        width = self.num_heads * self.key_dim
        yield matmul(f.dy, f.o, f.dfound, n * t, width, features, transpose_b=True)
        yield matmul(f.found, f.dy, f.do, width, features, n * t, transpose_a=True)
        yield attend_back(f.qkv, f.shares, f.dfound, f.dshares, f.dqkv, n, t, self.num_heads, self.key_dim, self.causal)
        yield matmul(f.x, f.dqkv, f.dw, features, 3 * width, n * t, transpose_a=True)
        if f.dx is not None:
            yield matmul(f.dqkv, f.w, f.dx, n * t, features, 3 * width, transpose_b=True)
        if self.use_bias:
            yield column_sums(f.dqkv, f.db, n * t, 3 * width)
            yield column_sums(f.dy, f.dc, n * t, features)

    @classmethod
    def examples(cls) -> list[Example]:
        """One head and several, seeing all or the past, no bias, one position, more positions than a tile has."""
        cases = [
            (cls(2, 3), (2, 4, 5)),
            (cls(1, 4, causal=True), (2, 5, 3)),
            (cls(3, 1, use_bias=False), (1, 3, 2)),
            (cls(2, 2, kernel_initializer="he_normal", bias_initializer="ones"), (2, 1, 4)),
            (cls(1, 17, causal=True), (1, 19, 2)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """Four products with weights, two with scores, and about ten operations per score."""
        n, t, features = x.shape
        width = self.num_heads * self.key_dim
        return n * t * (8 * features * width + t * (4 * width + 10 * self.num_heads))

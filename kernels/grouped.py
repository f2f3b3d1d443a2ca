"""Convolution in groups: each group of input channels has filters of its own, and is a convolution of its own.

With channels last a group's channels are not contiguous, so every group is copied out, convolved and copied back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kernels.columns import add_bias, put_columns, take_columns
from kernels.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from kernels.conv_grid import Convolution
from kernels.launch import Launch
from kernels.operator import Frame, ShapeError
from kernels.tensor import TensorSpec


def check_groups(kind: str, channels: int, filters: int, groups: int) -> None:
    """Raise ShapeError, in the name of a layer, where the groups do not come out even."""
    if channels % groups or filters % groups:
        raise ShapeError(
            f"{kind} cannot split {channels} channels and {filters} filters into {groups} equal groups; "
            "choose groups that divide both"
        )


def group_scratch(x: TensorSpec, output: TensorSpec, weights: TensorSpec, groups: int) -> Mapping[str, TensorSpec]:
    """Room for one group's input, output and filters; none where there is but one group."""
    if groups == 1:
        return {}
    shapes = {"x_part": x, "y_part": output, "w_part": weights}
    widths = {"x_part": x.shape[-1] // groups, "y_part": output.shape[-1] // groups}
    widths["w_part"] = widths["y_part"]
    return {name: TensorSpec((*spec.shape[:-1], widths[name])) for name, spec in shapes.items()}


def grouped_forward(f: Frame, v: Convolution, groups: int) -> Iterator[Launch]:
    """f.y = the groups' convolutions, side by side, plus f.b where `v` has a bias."""
    part = _one_group(v, groups)
    for g in range(groups):
        yield take_columns(f.x, f.x_part, v.n * v.h * v.w, part.c, v.c, g * part.c)
        yield _take_filters(f, part, v, g)
        yield conv_forward(f.x_part, f.w_part, f.y_part, f.y_part, part)
        yield put_columns(f.y_part, f.y, v.n * v.p * v.q, part.k, v.k, g * part.k)
    if v.has_bias:
        yield add_bias(f.b, f.y)


def grouped_backward(f: Frame, v: Convolution, groups: int) -> Iterator[Launch]:
    """f.dw and, unless None, f.dx, group by group."""
    part = _one_group(v, groups)
    for g in range(groups):
        yield take_columns(f.dy, f.y_part, v.n * v.p * v.q, part.k, v.k, g * part.k)
        yield take_columns(f.x, f.x_part, v.n * v.h * v.w, part.c, v.c, g * part.c)
        yield conv_weight_gradient(f.x_part, f.y_part, f.w_part, part)
        yield put_columns(f.w_part, f.dw, v.r * v.s * part.c, part.k, v.k, g * part.k)
        if f.dx is not None:
            yield _take_filters(f, part, v, g)
            yield conv_input_gradient(f.y_part, f.w_part, f.x_part, part)
            yield put_columns(f.x_part, f.dx, v.n * v.h * v.w, part.c, v.c, g * part.c)


def _one_group(v: Convolution, groups: int) -> Convolution:
    return replace(v, c=v.c // groups, k=v.k // groups, has_bias=0)


def _take_filters(f: Frame, part: Convolution, v: Convolution, group: int) -> Any:
    return take_columns(f.w, f.w_part, v.r * v.s * part.c, part.k, v.k, group * part.k)

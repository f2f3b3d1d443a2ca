"""The CUDA twins of attention: one block takes one row of one head's scores.

Simple rather than fast: a row of scores lies in shared memory, sums over it are trees of fixed shape. Arrays and
numbers as in kernels.attention.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.launch import Body, Grid, cuda, device

THREADS = 128
"""Threads of a block, a power of two: sums halve it."""

ZERO, ONE = np.float32(0), np.float32(1)


@device
def block_sum(partial: Any, thread: int, value: Any) -> Any:
    """The sum of every thread's value, as a tree; every thread gets it."""
    cuda.syncthreads()
    partial[thread] = value
    cuda.syncthreads()
    half = np.int32(THREADS // 2)
    while half > np.int32(0):
        if thread < half:
            partial[thread] += partial[np.int32(thread + half)]
        cuda.syncthreads()
        half = np.int32(half // 2)
    return partial[0]


@device
def block_max(partial: Any, thread: int, value: Any) -> Any:
    """The largest of every thread's value; every thread gets it."""
    cuda.syncthreads()
    partial[thread] = value
    cuda.syncthreads()
    half = np.int32(THREADS // 2)
    while half > np.int32(0):
        if thread < half and partial[np.int32(thread + half)] > partial[thread]:
            partial[thread] = partial[np.int32(thread + half)]
        cuda.syncthreads()
        half = np.int32(half // 2)
    return partial[0]


def attend_grid(items: int, steps: int, heads: int, size: int, causal: int) -> Grid:
    """p = softmax(q·kᵀ / √size) and o = p·v: a block per query. The kernel takes (qkv, p, o)."""
    width, factor = heads * size, np.float32(1 / math.sqrt(size))

    def kernel(qkv: Any, p: Any, o: Any) -> None:
        scores = cuda.shared.array(steps, np.float32)
        partial = cuda.shared.array(THREADS, np.float32)
        thread, item, i = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.x), np.int32(cuda.blockIdx.y)
        first = np.int32((item // heads * steps) * 3 * width + item % heads * size)
        query, shown = np.int32(first + i * 3 * width), np.int32(i + 1 if causal else steps)
        top = np.float32(-np.inf)
        for j in range(thread, shown, THREADS):
            key, total = np.int32(first + j * 3 * width + width), ZERO
            for e in range(size):
                total += qkv[np.int32(query + e)] * qkv[np.int32(key + e)]
            total *= factor
            scores[j] = total
            top = total if total > top else top
        top = block_max(partial, thread, top)
        whole = ZERO
        for j in range(thread, shown, THREADS):
            raised = math.exp(scores[j] - top)
            scores[j] = raised
            whole += raised
        scale = ONE / block_sum(partial, thread, whole)
        row = np.int32((item * steps + i) * steps)
        for j in range(thread, steps, THREADS):
            share = ZERO
            if j < shown:
                share = scores[j] * scale
            scores[j] = share
            p[np.int32(row + j)] = share
        cuda.syncthreads()
        for e in range(thread, size, THREADS):
            total = ZERO
            for j in range(shown):
                total += scores[j] * qkv[np.int32(first + j * 3 * width + 2 * width + e)]
            o[np.int32((item // heads * steps + i) * width + item % heads * size + e)] = total

    return Grid(kernel, (items, steps, 1), THREADS)


def attend_back_grid(items: int, steps: int, heads: int, size: int, causal: int) -> Grid:
    """dqkv from do: a block per query for ds and dq, then one per key for dk and dv.

    The kernels take (qkv, p, do, ds, dqkv).
    """
    keys = Grid(_keys(steps, heads, size), (items, steps, 1), THREADS)
    return Grid(_queries(steps, heads, size), (items, steps, 1), THREADS, then=keys)


def _queries(steps: int, heads: int, size: int) -> Body:
    width, factor = heads * size, np.float32(1 / math.sqrt(size))

    def kernel(qkv: Any, p: Any, do: Any, ds: Any, dqkv: Any) -> None:
        slopes = cuda.shared.array(steps, np.float32)
        partial = cuda.shared.array(THREADS, np.float32)
        thread, item, i = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.x), np.int32(cuda.blockIdx.y)
        first = np.int32((item // heads * steps) * 3 * width + item % heads * size)
        out = np.int32((item // heads * steps + i) * width + item % heads * size)
        row, mean = np.int32((item * steps + i) * steps), ZERO
        for j in range(thread, steps, THREADS):
            value, total = np.int32(first + j * 3 * width + 2 * width), ZERO
            for e in range(size):
                total += do[np.int32(out + e)] * qkv[np.int32(value + e)]
            slopes[j] = total
            mean += total * p[np.int32(row + j)]
        mean = block_sum(partial, thread, mean)
        for j in range(thread, steps, THREADS):
            slope = p[np.int32(row + j)] * (slopes[j] - mean) * factor
            slopes[j] = slope
            ds[np.int32(row + j)] = slope
        cuda.syncthreads()
        for e in range(thread, size, THREADS):
            total = ZERO
            for j in range(steps):
                total += slopes[j] * qkv[np.int32(first + j * 3 * width + width + e)]
            dqkv[np.int32(first + i * 3 * width + e)] = total

    return kernel


def _keys(steps: int, heads: int, size: int) -> Body:
    width = heads * size

    def kernel(qkv: Any, p: Any, do: Any, ds: Any, dqkv: Any) -> None:
        thread, item, j = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.x), np.int32(cuda.blockIdx.y)
        first = np.int32((item // heads * steps) * 3 * width + item % heads * size)
        out = np.int32((item // heads * steps) * width + item % heads * size)
        for e in range(thread, size, THREADS):
            key, value = ZERO, ZERO
            for i in range(steps):
                place = np.int32((item * steps + i) * steps + j)
                key += ds[place] * qkv[np.int32(first + i * 3 * width + e)]
                value += p[place] * do[np.int32(out + i * width + e)]
            dqkv[np.int32(first + j * 3 * width + width + e)] = key
            dqkv[np.int32(first + j * 3 * width + 2 * width + e)] = value

    return kernel

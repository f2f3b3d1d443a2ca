"""Reads machine code: the instructions of a cubin, by NVIDIA's disassembler out of its Python package."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from kernels.compiler import cache_folder

_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")


@cache
def disassembler() -> str | None:
    """Where nvdisasm is; None where its package is not installed."""
    try:
        found = [f for f in files("nvidia-cuda-nvdisasm") or [] if f.name in {"nvdisasm", "nvdisasm.exe"}]
    except PackageNotFoundError:
        return None
    return str(found[0].locate()) if found else None


@cache
def opcodes(code: bytes) -> Counter[str]:
    """How often each opcode, suffixes and all, stands in a cubin, padding left out; kept beside compiled kernels."""
    path = cache_folder() / f"{hashlib.sha256(code).hexdigest()}.opcodes.json"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(_disassembled(code)))
        draft.replace(path)
    return Counter(json.loads(path.read_text()))


def _disassembled(code: bytes) -> Counter[str]:
    tool = disassembler()
    assert tool is not None, "nvdisasm is not installed"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(code)
        # -ndf leaves out the data-flow analysis: half the time, and only the targets of indirect jumps need it.
        text = subprocess.run([tool, "-ndf", str(path)], capture_output=True, text=True, check=True).stdout
    return Counter(opcode for opcode in _INSTRUCTION.findall(text) if opcode != "NOP")


def count(found: Counter[str], *families: str) -> int:
    """How many instructions belong to the families: LDS counts LDS and LDS.128, but not LDSM."""
    return sum(number for opcode, number in found.items() if opcode.split(".")[0] in families)

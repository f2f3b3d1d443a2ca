"""What has befallen others through files, tried on the readers of ours: one test an incident, named after it."""

import json
import resource
import struct
from pathlib import Path

import numpy as np
import pytest

from services.datasets.uploaded import KINDS, survey
from services.errors import DataError
from services.export.safetensors import HEADER_BYTES, TENSORS, pack, unpack
from tests.services.uploaded.hostile import npy, zipped


def refused(file: Path, data: bytes, kind: str | None = None) -> DataError:
    """The refusal of a file."""
    file.write_bytes(data)
    with pytest.raises(DataError) as found:
        survey(file, kind)
    return found.value


def not_unpacked(file: Path) -> None:
    """A model's file is refused."""
    with pytest.raises(DataError):
        unpack(file)


def memory_of(act: object) -> int:
    """By how many kilobytes the largest memory of this process grows while something is done."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert callable(act)
    act()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_numpy_cve_2019_6446_an_array_of_objects_is_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    attack = b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    for data in (attack, npy("'|O'", "(1,)", attack), zipped({"x.npy": npy("'|O'", "(1,)", attack)})):
        refused(tmp_path / "upload", data, "arrays")
    assert not mark.exists()


def test_a_small_npy_header_that_asks_for_32_gib_gets_nothing(tmp_path: Path) -> None:
    data = npy("'<f8'", "(4294967296,)", b"")
    assert len(data) <= 192
    assert memory_of(lambda: refused(tmp_path / "upload", data)) < 50_000


def test_a_long_npy_header_is_not_read(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"1," * 4_000_000 + b")}\n"
    data = b"\x93NUMPY\x03\x00" + struct.pack("<I", len(header)) + header
    assert memory_of(lambda: refused(tmp_path / "upload", data)) < 100_000


def test_a_decompression_bomb_in_an_npz_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    zeros = npy("'<f4'", "(25000000,)", bytes(100_000_000))
    data = zipped({"x.npy": zeros})
    assert len(data) < 200_000
    del zeros
    assert memory_of(lambda: refused(tmp_path / "upload", data)) < 50_000


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_pyarrow_cve_2023_47248_parquet_and_arrow_files_are_not_read(tmp_path: Path, kind: str | None) -> None:
    for data in (b"PAR1" + bytes(64) + b"PAR1", b"ARROW1\0\0" + bytes(64), b"FEA1" + bytes(64)):
        refused(tmp_path / "upload", data, kind)


@pytest.mark.parametrize("claimed", [100_000_000, HEADER_BYTES + 1, 2**63, 2**64 - 1, 10_000])
def test_a_safetensors_header_longer_than_its_file_or_than_ours_is_not_read(tmp_path: Path, claimed: int) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(struct.pack("<Q", claimed) + b"{}")
    assert memory_of(lambda: not_unpacked(file)) < 20_000


def test_a_safetensors_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    with file.open("wb") as out:
        out.write(struct.pack("<Q", 99_000_000))
        out.truncate(99_000_008)
    assert memory_of(lambda: not_unpacked(file)) < 20_000


def test_a_safetensors_file_of_too_many_tensors_or_too_deep_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(pack({f"{n}": np.zeros(1, np.uint8) for n in range(TENSORS + 1)}, {}))
    with pytest.raises(DataError, match="tensors"):
        unpack(file)
    header = json.dumps({"__metadata__": {"trainyard": "[" * 100_000}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DataError):
        unpack(file)

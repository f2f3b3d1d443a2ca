"""The idx parser: what NumPy writes it reads back; whatever is not exactly an idx file is refused with a reason."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.datasets.idx import DTYPES, parse_idx, read_idx
from services.errors import DataError

CODES = {np.dtype(text): code for code, text in DTYPES.items()}
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


def written(array: np.ndarray) -> bytes:
    """The array as the format's author describes it: magic number, sizes, big-endian values."""
    header = bytes([0, 0, CODES[array.dtype.newbyteorder(">")], array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def parsed(data: bytes) -> np.ndarray:
    return parse_idx(io.BytesIO(data), "file")


GOOD = written(np.arange(12, dtype=np.uint8).reshape(2, 3, 2))


@given(st.sampled_from(list(CODES)).flatmap(lambda dtype: arrays.arrays(dtype.newbyteorder("="), SHAPES)))
def test_every_array_comes_back_as_it_was_written(array: np.ndarray) -> None:
    found = parsed(written(array))
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


HEADERS = st.builds(
    lambda code, sizes: bytes([0, 0, code, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes),
    st.integers(0, 15),
    st.lists(st.integers(0, 3), max_size=4),
)


def array_or_error(data: bytes) -> np.ndarray | DataError:
    try:
        return parsed(data)
    except DataError as error:
        return error


@given(st.one_of(st.binary(max_size=200), st.builds(bytes.__add__, HEADERS, st.binary(max_size=30))))
def test_any_bytes_are_an_array_of_just_these_bytes_or_a_data_error(data: bytes) -> None:
    found = array_or_error(data)
    if isinstance(found, DataError):
        assert found.message.startswith("file is not a good idx file: it ")
        assert found.hint
    else:
        assert written(found) == data


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_changes_the_array_or_is_refused(place: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[place] ^= change
    found = array_or_error(bytes(damaged))
    assert isinstance(found, DataError) or written(found) == damaged


@given(st.integers(0, len(GOOD) - 1))
def test_a_file_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(DataError, match=r"bytes long|ends"):
        parsed(GOOD[:length])


@given(st.binary(min_size=1, max_size=20))
def test_bytes_after_the_end_are_refused(more: bytes) -> None:
    with pytest.raises(DataError, match="goes on after the 12 bytes"):
        parsed(GOOD + more)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"\x00\x01\x08\x01", "starts with the bytes 0001, not 0000"),
        (b"\x1f\x8b\x08\x00", "starts with the bytes 1f8b"),
        (b"\x00\x00\x0a\x01", "has the type code 0x0a; known: 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e"),
        (b"\x00\x00\x08\x00", "announces 0 dimensions"),
        (b"\x00\x00\x08\x09", "announces 9 dimensions"),
        (b"\x00\x00\x08\x03\x00\x00", "ends inside the sizes of its 3 dimensions"),
        (b"", "is only 0 bytes long"),
        (b"\x00\x00\x08\x02" + b"\xff" * 8, "announces 18446744065119617025 bytes"),
        (b"\x00\x00\x08\x01\x7f\xff\xff\xff12", "ends after 2 of 2147483647 bytes of values"),
    ],
)
def test_a_bad_header_is_refused_with_its_reason(header: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parsed(header)
    assert reason in caught.value.message


def test_files_are_read_plain_and_gzipped(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "x-ubyte", tmp_path / "x-ubyte.gz"
    plain.write_bytes(GOOD)
    zipped.write_bytes(gzip.compress(GOOD))
    np.testing.assert_array_equal(read_idx(plain), read_idx(zipped))


@pytest.mark.parametrize(
    "damage",
    [b"no gzip at all", gzip.compress(GOOD)[:-9], gzip.compress(GOOD)[:12] + b"\xff" * 30],
    ids=["another format", "cut off", "garbled"],
)
def test_a_damaged_gzip_file_is_a_data_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x-ubyte.gz"
    path.write_bytes(damage)
    with pytest.raises(DataError, match=r"x-ubyte\.gz"):
        read_idx(path)


def test_a_file_that_is_absent_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "nothing")

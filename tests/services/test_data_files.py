"""Parsers of data files: what is written by the format's rules is read back; all else is refused with a reason.

Whatever bytes a file holds, a parser answers with values or with a DataError, and with nothing else.
"""

import gzip
import io
import struct
import tarfile
import wave
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.datasets.archives import parse_tar, read_tar
from services.datasets.cifar import RECORD, SOURCES, BinaryVersion, parse_batch, parse_labels
from services.datasets.csv_table import parse_csv
from services.datasets.dia import parse_dia
from services.datasets.download import RemoteFile, file_sha256
from services.datasets.png import SIGNATURE, parse_png
from services.datasets.text import parse_lines
from services.datasets.wav import parse_wav
from services.errors import DataError

PIXELS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


# --- how the formats are written, after their specifications ------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, *more: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *(more or (8, 2, 0, 0, 0))))


def paeth(a: int, b: int, c: int) -> int:
    distances = [abs(a + b - c - value) for value in (a, b, c)]
    return (a, b, c)[distances.index(min(distances))]


def filtered(pixels: np.ndarray, filters: list[int]) -> bytes:
    """Rows under their filters (PNG specification, section 9), byte by byte."""
    lines, stride = pixels.reshape(len(pixels), -1).astype(int).tolist(), 3 * pixels.shape[1]
    data = bytearray()
    for y, kind in enumerate(filters):
        data.append(kind)
        for x in range(stride):
            a = lines[y][x - 3] if x >= 3 else 0
            b = lines[y - 1][x] if y else 0
            c = lines[y - 1][x - 3] if y and x >= 3 else 0
            data.append((lines[y][x] - (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) % 256)
    return bytes(data)


def png(pixels: np.ndarray, filters: list[int], parts: int = 1) -> bytes:
    packed = zlib.compress(filtered(pixels, filters))
    cuts = [len(packed) * part // parts for part in range(parts + 1)]
    data = b"".join(chunk(b"IDAT", packed[a:b]) for a, b in pairwise(cuts))
    return SIGNATURE + header(pixels.shape[1], pixels.shape[0]) + data + chunk(b"IEND", b"")


def wav(samples: np.ndarray, channels: int = 1, width: int = 2, rate: int = 8000) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def dia(values: list[tuple[int, int]], last: str = "19760101;0300", step: int = 60) -> bytes:
    pairs = [f"{value}/{quality}:" for value, quality in values]
    body = "\n".join("".join(pairs[start : start + 3]) for start in range(0, len(pairs), 3))
    head = f"[IDT;*DIF*;A;CENT;20190213]\n[W3H]\nPAR;WATHTE;\n[RKS]\nTYD;19760101;0000;{last};{step};min\n[WRD]\n"
    return (head + body + "\n").encode()


def tar(files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            change(member)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


GOOD_PNG = png(np.arange(36, dtype=np.uint8).reshape(3, 4, 3), [4, 1, 3])
GOOD_WAV = wav(np.arange(-50, 50))
GOOD_DIA = dia([(-12, 0), (0, 0), (7, 25), (389, 0)])
GOOD_CSV = b'name,size\n"Braund, Mr.",1.5\nx,\n'
GOOD_LABELS = b"var labels=[" + b",".join(b"%d" % (k % 10) for k in range(51_000)) + b"];\n"
PARSERS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "png": (GOOD_PNG, lambda data: parse_png(data, "file")),
    "wav": (GOOD_WAV, lambda data: parse_wav(data, "file")),
    "dia": (GOOD_DIA, lambda data: parse_dia(data, "file")),
    "csv": (GOOD_CSV, lambda data: parse_csv(data, "file", ("name", "size")).numbers("size", missing=True)),
    "labels": (GOOD_LABELS, lambda data: parse_labels(data, "file")),
    "lines": (b"good film .\nbad film .\n", lambda data: parse_lines(data, "file")),
    "cifar": (bytes(RECORD), lambda data: parse_batch(data, "file")),
}


def values_or_error(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except DataError as error:
        return error


# --- every parser --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARSERS)
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_values_or_a_data_error(kind: str, data: bytes) -> None:
    good, parse = PARSERS[kind]
    values_or_error(parse, data)
    values_or_error(parse, good[: len(good) // 2] + data)


@pytest.mark.parametrize("kind", PARSERS)
@settings(deadline=None)
@given(st.data())
def test_damaged_files_are_values_or_a_data_error(kind: str, data: st.DataObject) -> None:
    good, parse = PARSERS[kind]
    damaged = bytearray(good)
    for place in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(good))) :]
    values_or_error(parse, bytes(damaged))


@pytest.mark.parametrize("kind", ["png", "wav", "cifar", "labels"])
@settings(deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_is_refused(kind: str, data: st.DataObject) -> None:
    good, parse = PARSERS[kind]
    # The last bytes of the labels' file are punctuation that may be absent.
    cut = good[: data.draw(st.integers(0, len(good) - 4))]
    assert isinstance(values_or_error(parse, cut), DataError)


# --- PNG -----------------------------------------------------------------------------------------------------------


@given(PIXELS.flatmap(lambda p: st.tuples(st.just(p), st.lists(st.integers(0, 4), min_size=len(p), max_size=len(p)))))
def test_a_picture_comes_back_under_any_filters(example: tuple[np.ndarray, list[int]]) -> None:
    pixels, filters = example
    np.testing.assert_array_equal(parse_png(png(pixels, filters, parts=2), "file"), pixels)


@given(st.integers(8, len(GOOD_PNG) - 1), st.integers(1, 255))
def test_a_changed_byte_of_a_picture_is_always_noticed(place: int, change: int) -> None:
    damaged = bytearray(GOOD_PNG)
    damaged[place] ^= change
    assert isinstance(values_or_error(PARSERS["png"][1], bytes(damaged)), DataError)


IDAT, IEND = chunk(b"IDAT", zlib.compress(bytes(4))), chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GIF89a", "starts with the bytes"),
        (SIGNATURE, "does not begin with the chunk IHDR"),
        (SIGNATURE + header(1, 1) + IDAT, "end with IEND"),
        (SIGNATURE + header(1, 1) + IEND, "has no pixels"),
        (SIGNATURE + header(1, 1) + IDAT + header(1, 1) + IEND, "repeats IHDR"),
        (SIGNATURE + header(1, 1) + IDAT + IEND + b"more", "ends inside a chunk"),
        (SIGNATURE + header(1, 1) + IDAT + chunk(b"tEXt", b"") + IDAT + IEND, "pixels in two places"),
        (SIGNATURE + header(1, 1) + chunk(b"ABCD", b"") + IDAT + IEND, "needs the unknown chunk"),
        (SIGNATURE + header(0, 1) + IDAT + IEND, "announces 0 × 1 pixels"),
        (SIGNATURE + header(2**31, 2**31) + IDAT + IEND, "pixels; 1 to"),
        (SIGNATURE + header(1, 1, 16, 2, 0, 0, 0) + IDAT + IEND, "has 16 bits of colour type 2"),
        (SIGNATURE + header(1, 1, 8, 3, 0, 0, 0) + IDAT + IEND, "has 8 bits of colour type 3"),
        (SIGNATURE + header(1, 1, 8, 2, 0, 0, 1) + IDAT + IEND, "interlacing 1"),
        (SIGNATURE + header(1, 2) + IDAT + IEND, "more or less than the 8 bytes"),
        (SIGNATURE + header(1, 1) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + IEND, "more or less than the 4"),
        (SIGNATURE + header(1, 1) + chunk(b"IDAT", zlib.compress(bytes(4)) + b"x") + IEND, "more or less"),
        (SIGNATURE + header(1, 1) + chunk(b"IDAT", b"no zlib") + IEND, "damaged pixels"),
        (SIGNATURE + header(1, 1) + chunk(b"IDAT", zlib.compress(b"\5abc")) + IEND, "a row with the filter 5"),
    ],
)
def test_a_bad_picture_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_png(data, "file")
    assert reason in caught.value.message


# --- wav -----------------------------------------------------------------------------------------------------------


@given(arrays.arrays(np.int16, st.integers(1, 100)), st.integers(1, 48_000))
def test_a_recording_comes_back_as_it_was_written(samples: np.ndarray, rate: int) -> None:
    found_rate, found = parse_wav(wav(samples, rate=rate), "file")
    assert (found_rate, found.dtype) == (rate, np.int16)
    np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"OggS", "not with RIFF and WAVE"),
        (GOOD_WAV + b"x", "announces 244 bytes and has 245"),
        (wav(np.arange(10), channels=2), "has 2 channels"),
        (wav(np.arange(10), width=1), "has 8 bits a sample"),
        (wav(np.arange(0)), "has 0 samples"),
        (GOOD_WAV[:20] + b"\x03\0" + GOOD_WAV[22:], "cannot be read: unknown format: 3"),
        (GOOD_WAV[:40] + b"\xff\xff\xff\x7f" + GOOD_WAV[44:], "has 1073741823 samples"),
    ],
)
def test_a_bad_recording_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_wav(data, "file")
    assert reason in caught.value.message


# --- measurements --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(-999_999_999, 999_999_999), st.integers(0, 99)), min_size=1, max_size=50))
def test_measurements_come_back_with_their_times(values: list[tuple[int, int]]) -> None:
    last = datetime(1976, 1, 1) + timedelta(minutes=10) * (len(values) - 1)
    found = parse_dia(dia(values, f"{last:%Y%m%d;%H%M}", 10), "file")
    assert (found.first, found.step) == (datetime(1976, 1, 1), timedelta(minutes=10))
    assert list(zip(found.values.tolist(), found.quality.tolist(), strict=True)) == values


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"time,value\n", "does not begin with [IDT"),
        (dia([(1, 0)] * 5), "has 5 values where its header announces 4"),
        (dia([(1, 0)] * 4, step=0), "a period without end"),
        (dia([(1, 0)] * 4, "19751231;0000"), "a period without end"),
        (dia([(1, 0)] * 4, "19761301;0000"), "an impossible time"),
        (dia([(1, 0)] * 4, "99991231;2359", 1), "too many steps"),
        (GOOD_DIA.replace(b"TYD", b"TYDE"), "one line TYD"),
        (GOOD_DIA.replace(b"389/0", b"3x9/0"), "value 4 is '3x9/0'"),
        (GOOD_DIA.replace(b"389/0", b"9999999999/0"), "not value/quality"),
        (GOOD_DIA + b"\xff", "is not ASCII"),
    ],
)
def test_bad_measurements_are_refused_with_their_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_dia(data, "file")
    assert reason in caught.value.message


# --- CSV and lines -------------------------------------------------------------------------------------------------


def test_a_table_keeps_commas_in_quotes_and_gaps() -> None:
    cells = parse_csv(GOOD_CSV, "file", ("name", "size"))
    assert cells.columns["name"] == ["Braund, Mr.", "x"]
    np.testing.assert_array_equal(cells.numbers("size", missing=True), [1.5, np.nan])
    with pytest.raises(DataError, match="line 3 has '' in 'size', which is no number"):
        cells.numbers("size")
    with pytest.raises(DataError, match=r"line 2 has 'Braund, Mr\.' in 'name'; known: x, y"):
        cells.words("name", ("x", "y"))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_come_back_bit_for_bit(values: list[float]) -> None:
    data = "\n".join(["v", *map(repr, values)]).encode()
    assert parse_csv(data, "file", ("v",)).numbers("v").tolist() == values


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not name the columns"),
        (b"a,c\n1,2\n", "does not name the columns a, b"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n1\n", "line 2 has 1 cells instead of 2"),
        (b"a,b\n1,2\n\n", "line 3 has 0 cells"),
        (b'a,b\n1,"2\n', "line 2: unexpected end of data"),
        (b'a,b\n1,"2"x\n', "line 2:"),
        (b"a,b\n\xff,2\n", "byte 4 is not UTF-8"),
        (b"a,b\n1," + b"2" * 10_001, "a cell of more than 10,000"),
        (b"a,b\n1," + b"2" * 200_000, "field larger than field limit"),
    ],
)
def test_a_bad_table_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_csv(data, "file", ("a", "b"))
    assert reason in caught.value.message


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", "0x10", " 1", "1e999", "१", "--1", "1e"])
def test_only_plain_numbers_are_numbers(text: str) -> None:
    with pytest.raises(DataError, match=r"no number|too large"):
        parse_csv(f"v\n{text}\n".encode(), "file", ("v",)).numbers("v")


def test_lines_end_where_the_file_says_and_not_where_unicode_does() -> None:
    assert parse_lines(b"well\x85 caf\xe9 . \nbad .\n", "file") == ["well… café .", "bad ."]


@pytest.mark.parametrize("data", [b"", b"a\n\nb\n", b"a\0\n", b"a\r\nb\r\n", b"\x81\n"])
def test_lines_that_are_no_sentences_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="file is no"):
        parse_lines(data, "file")


# --- archives ------------------------------------------------------------------------------------------------------


def members(path: Path, data: bytes, most: int = 10**6) -> dict[str, bytes]:
    path.write_bytes(data)
    return dict(read_tar(path, lambda name: name.endswith(".bin"), most))


def test_wanted_files_of_an_archive_are_read_into_memory_and_nothing_is_written(tmp_path: Path) -> None:
    data = tar({"a/x.bin": b"one", "b.txt": b"two", "../../up.bin": b"three", "/etc/y.bin": b"four"})
    assert members(tmp_path / "file", data) == {"a/x.bin": b"one", "../../up.bin": b"three", "/etc/y.bin": b"four"}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    def become(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, "/etc/passwd"

    assert members(tmp_path / "file", tar({"x.bin": b""}, become)) == {}


def test_bombs_stop_early(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacks to more than 1,000,000 bytes"):
        members(tmp_path / "file", tar({"x.bin": bytes(20 * 10**6)}))
    head = tarfile.TarInfo("long")
    head.type, head.size = tarfile.XHDTYPE, 2**40
    with pytest.raises(DataError, match=r"unpacks to more than|not a good"):
        members(tmp_path / "file", gzip.compress(head.tobuf() + bytes(20 * 10**6)))


GOOD_TAR = tar({"x.bin": bytes(range(256)) * 40, "y.bin": b"end"})


@settings(deadline=None)
@given(st.integers(0, len(GOOD_TAR) - 1), st.integers(1, 255))
def test_a_damaged_archive_is_read_or_refused(place: int, change: int) -> None:
    damaged = bytearray(GOOD_TAR)
    damaged[place] ^= change
    for data in (bytes(damaged), GOOD_TAR[:place]):
        values_or_error(lambda data: dict(parse_tar(io.BytesIO(data), "file", lambda _: True)), data)


# --- CIFAR-10 ------------------------------------------------------------------------------------------------------


def test_a_record_is_a_label_and_three_planes() -> None:
    planes = np.arange(3 * 1024).reshape(3, 32, 32) % 251
    x, y = parse_batch(b"\7" + planes.astype(np.uint8).tobytes(), "file")
    assert y.tolist() == [7]
    np.testing.assert_array_equal(x[0], planes.transpose(1, 2, 0))


@pytest.mark.parametrize("data", [b"", bytes(RECORD - 1), bytes(RECORD + 1), b"\x0a" + bytes(RECORD - 1)])
def test_a_bad_batch_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="file has"):
        parse_batch(data, "file")


def test_the_binary_version_is_read_from_its_archive_and_nothing_else_in_it(tmp_path: Path) -> None:
    files = {f"cifar-10-batches-bin/data_batch_{k}.bin": bytes([k]) + bytes(RECORD - 1) for k in range(1, 6)}
    files |= {"cifar-10-batches-bin/readme.html": b"", "data_batch_1.bin": b"not this one"}
    card = replace(SOURCES[0].card, train=5, test=1)

    def read(content: dict[str, bytes]) -> Any:
        (tmp_path / "cifar10.tar.gz").write_bytes(tar(content))
        digest = file_sha256(tmp_path / "cifar10.tar.gz")
        return BinaryVersion(card, RemoteFile("cifar10.tar.gz", digest, 0, ())).read(tmp_path, None)

    with pytest.raises(DataError, match=r"lacks cifar-10-batches-bin/test_batch\.bin"):
        read(files)
    raw = read({**files, "cifar-10-batches-bin/test_batch.bin": b"\x09" + bytes(RECORD - 1)})
    assert (raw.y.tolist(), raw.test_y.tolist()) == ([1, 2, 3, 4, 5], [9])
    assert raw.x.shape == (5, 32, 32, 3)


def test_labels_are_the_same_out_of_a_script_and_out_of_a_table() -> None:
    rows = [f"{strip},{row},{(strip * 1000 + row) % 10}" for strip in (*range(10), 50) for row in range(1000)]
    table = parse_labels("\n".join(["strip,row,label", *rows]).encode(), "file")
    np.testing.assert_array_equal(parse_labels(GOOD_LABELS, "file"), table)
    for bad in (rows[:-1], [*rows[:-1], "50,999,10"], [*rows[:-1], "50,999,0.5"], [rows[1], rows[0], *rows[2:]]):
        with pytest.raises(DataError, match="does not hold a label"):
            parse_labels("\n".join(["strip,row,label", *bad]).encode(), "file")

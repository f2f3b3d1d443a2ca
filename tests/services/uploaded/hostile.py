"""Files that mean harm, or are not what they say: every one must be refused with a reason."""

import io
import struct
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image


def hostile_files() -> dict[str, bytes]:
    """The files by name; each is small, and all are made here."""
    return {name: make() for name, make in _FILES.items()}


def wav(samples: int = 800, rate: int = 8000) -> bytes:
    """A good recording."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.sin(np.arange(samples)) * 9000).astype("<i2").tobytes())
    return stream.getvalue()


def png(height: int = 8, width: int = 8, shade: int = 90) -> bytes:
    """A good picture."""
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width), shade, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, method)
    return stream.getvalue()


def tarred(members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> bytes:
    """A tar archive of these members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar archive."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def npy(descr: str, shape: str, data: bytes = b"", order: str = "False") -> bytes:
    """A .npy file with any header."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def good_pictures() -> dict[str, bytes]:
    """Two classes of two pictures."""
    return {f"{name}/{k}.png": png(shade=40 * k + shade) for name, shade in (("cat", 10), ("dog", 20)) for k in (1, 2)}


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000_000)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return zipped({"cat/1.png": bomb, "dog/1.png": bomb})


def _zip_bomb() -> bytes:
    return zipped({"cat/1.png": b"\0" * 100_000_000})


def _overlapping() -> bytes:
    """Two names in the list for one and the same file, as bombs without nesting are made."""
    data = bytearray(zipped({"cat/1.png": png(), "cat/2.png": png()}, zipfile.ZIP_STORED))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


def _zip_symlink() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("cat/1.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


def _encrypted() -> bytes:
    data = bytearray(zipped(good_pictures(), zipfile.ZIP_STORED))
    for place, field in ((data.index(b"PK\x03\x04"), 6), (data.index(b"PK\x01\x02"), 8)):
        data[place + field] |= 1
    return bytes(data)


def _wrong_checksum() -> bytes:
    data = bytearray(zipped(good_pictures(), zipfile.ZIP_STORED))
    data[60] ^= 0xFF
    return bytes(data)


# A pickle, written by hand: whoever loads it calls print("a pickle was loaded").
HARM = b"\x80\x02cbuiltins\nprint\nX\x13\x00\x00\x00a pickle was loaded\x85R."


def _objects() -> bytes:
    return npy("'|O'", "(1,)", HARM)


def _wrong_wav() -> bytes:
    sound = bytearray(wav())
    sound[4:8] = struct.pack("<I", 2**31)
    return zipped({"one/1.wav": bytes(sound), "two/1.wav": bytes(sound)})


def _pax_of_a_gigabyte() -> bytes:
    info, _ = member("cat/1.png")
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = b"x"
    header[124:136] = b"%011o\0" % 2**30
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * 10_240


_FILES: dict[str, Callable[[], bytes]] = {
    "empty.csv": lambda: b"",
    "ragged.csv": lambda: b"a,b,c\n1,2,3\n4,5\n6,7,8\n",
    "one_column.csv": lambda: b"a\n1\n2\n3\n",
    "binary.csv": lambda: b"a,b\n1,2\n" + bytes(range(256)) * 4,
    "utf16.csv": lambda: "a,b\n1,2\n3,4\n".encode("utf-16"),
    "latin1.csv": lambda: "a,b\nGrün,1\nBlau,2\n".encode("latin-1"),
    "infinite.csv": lambda: b"a,b\n1,2\n3,inf\n4,5\n",
    "too_large_number.csv": lambda: b"a,b\n1,2\n3,1e400\n4,5\n",
    "open_quote.csv": lambda: b'a,b\n1,"2\n3,4\n',
    "no_header.csv": lambda: b"1,2\n3,4\n5,6\n",
    "endless_line.csv": lambda: b"a,b\n" + b"x" * 3_000_000,
    "zip_bomb.zip": _zip_bomb,
    "gzip_bomb.tar.gz": lambda: tarred([member("cat/1.png", b"\0" * 60_000_000)]),
    "overlapping.zip": _overlapping,
    "traversal.zip": lambda: zipped({"../../etc/cron.d/1.png": png(), **good_pictures()}),
    "absolute.zip": lambda: zipped({"/etc/1.png": png(), **good_pictures()}),
    "windows_drive.zip": lambda: zipped({"C:/cat/1.png": png(), **good_pictures()}),
    "symlink.zip": _zip_symlink,
    "encrypted.zip": _encrypted,
    "wrong_checksum.zip": _wrong_checksum,
    "truncated.zip": lambda: zipped(good_pictures())[:-40],
    "nested.zip": lambda: zipped({**good_pictures(), "cat/more.zip": zipped(good_pictures())}),
    "nothing_inside.zip": lambda: zipped({}),
    "no_class_folders.zip": lambda: zipped({"1.png": png(), "2.png": png()}),
    "png_bomb.zip": _png_bomb,
    "only_broken_pictures.zip": lambda: zipped({f"{c}/1.png": png()[:40] for c in ("cat", "dog")}),
    "traversal.tar": lambda: tarred([member("../cat/1.png", png())], "w"),
    "symlink.tar.gz": lambda: tarred([member("cat/1.png", kind=tarfile.SYMTYPE, link="/etc/passwd")]),
    "hard_link.tar.gz": lambda: tarred([member("cat/1.png", kind=tarfile.LNKTYPE, link="/etc/passwd")]),
    "device.tar": lambda: tarred([member("cat/1.png", kind=tarfile.CHRTYPE)], "w"),
    "pipe.tar": lambda: tarred([member("cat/1.png", kind=tarfile.FIFOTYPE)], "w"),
    "truncated.tar.gz": lambda: tarred([member(name, data) for name, data in good_pictures().items()])[:-60],
    "pax_of_a_gigabyte.tar": _pax_of_a_gigabyte,
    "wrong_wav.zip": _wrong_wav,
    "pickle.npy": _objects,
    "pickle.npz": lambda: zipped({"x.npy": _objects()}),
    "plain_pickle.npy": lambda: b"\x93NUMPY" + HARM,
    "huge_shape.npy": lambda: npy("'<f8'", "(1000000, 1000000, 1000000)", b"\0" * 64),
    "negative_shape.npy": lambda: npy("'<f8'", "(-1, 8)", b"\0" * 64),
    "code_in_header.npy": lambda: npy("'<f8'", "(__import__('os').getpid(),)", b"\0" * 64),
    "records.npy": lambda: npy("[('a', '<f4'), ('b', 'O')]", "(2,)", b"\0" * 24),
    "not_a_number.npz": lambda: zipped({"x.npy": npy("'<f4'", "(2, 1)", struct.pack("<2f", 1.0, float("nan")))}),
    "unknown_arrays.npz": lambda: zipped({"weights.npy": npy("'<f4'", "(2,)", b"\0" * 8)}),
}

"""Under fire: hostile files are refused with a reason, and no mutation of a good file brings anything but a refusal."""

import io
import json
import random
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.datasets.uploaded import KINDS, survey
from services.datasets.uploaded.archive import members
from services.datasets.uploaded.limits import Limits
from services.errors import DataError
from tests.services.uploaded.hostile import good_pictures, hostile_files, member, npy, tarred, wav, zipped

HOSTILE = hostile_files()

REASONS = {
    "empty.csv": "empty",
    "ragged.csv": "Line 3 has 2 cells instead of 3",
    "one_column.csv": "one column",
    "binary.csv": "binary",
    "utf16.csv": "UTF-16",
    "latin1.csv": "not UTF-8",
    "infinite.csv": "Line 3 has 'inf'",
    "too_large_number.csv": "Line 3 has '1e400'",
    "open_quote.csv": "Line 2|Line 3",
    "nothing_inside.zip": "holds no",
    "plain_pickle.npy": "not a good .npy file",
    "no_header.csv": "not the names of the columns",
    "endless_line.csv": "more than 1,048,576 characters",
    "zip_bomb.zip": "unpacks to 100,000,000",
    "gzip_bomb.tar.gz": "unpacks to more than",
    "overlapping.zip": "overlap",
    "traversal.zip": "leads out of its folder",
    "absolute.zip": "absolute name",
    "windows_drive.zip": "absolute name",
    "symlink.zip": "symbolic link",
    "encrypted.zip": "encrypted",
    "wrong_checksum.zip": "checksum",
    "truncated.zip": "cut off",
    "nested.zip": "another archive",
    "no_class_folders.zip": "no class folder",
    "png_bomb.zip": "more than 50,000,000 pixels",
    "only_broken_pictures.zip": "cannot be read",
    "traversal.tar": "leads out of its folder",
    "symlink.tar.gz": "symbolic link",
    "hard_link.tar.gz": "hard link",
    "device.tar": "device",
    "pipe.tar": "named pipe",
    "truncated.tar.gz": "broken",
    "pax_of_a_gigabyte.tar": "too many",
    "wrong_wav.zip": "announces",
    "pickle.npy": "Python objects",
    "pickle.npz": "Python objects",
    "huge_shape.npy": "8,000,000,000,000,000,000",
    "negative_shape.npy": "header",
    "code_in_header.npy": "header",
    "records.npy": "header|Python objects",
    "not_a_number.npz": r"x\[1, 0\] of the train part is nan",
    "unknown_arrays.npz": "'weights'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_hostile_file_is_refused_with_a_reason_and_a_remedy(name: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(HOSTILE[name])
    with pytest.raises(DataError, match=REASONS[name]) as refused:
        survey(file)
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_reads_what_is_hostile(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "upload"
    for name, data in HOSTILE.items():
        file.write_bytes(data)
        harmless = kind == "text" and name.endswith(".csv")  # to a corpus, these are characters
        try:
            survey(file, kind)
        except DataError:
            continue
        assert harmless, name
    assert "pickle" not in capsys.readouterr().out


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("zip_bomb.zip", "png_bomb.zip", "huge_shape.npy", "pax_of_a_gigabyte.tar", "endless_line.csv"):
        file.write_bytes(HOSTILE[name])
        with pytest.raises(DataError):
            survey(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz"])
def test_an_archive_gives_its_plain_files_and_no_more_than_its_limits(mode: str, tmp_path: Path) -> None:
    files = {**good_pictures(), "cat/" + "long" * 40 + ".png": b"x" * 1000, "cat/ünïcode.png": b"y"}
    data = zipped(files) if mode == "zip" else tarred([member(*item) for item in files.items()], mode)
    (tmp_path / "a").write_bytes(data)
    assert dict(members(tmp_path / "a")) == files
    for limits in (Limits(members=3), Limits(member_bytes=999), Limits(unpacked_bytes=500)):
        if mode == "w" and limits.unpacked_bytes == 500:
            continue  # a tar that is not packed is no larger unpacked
        with pytest.raises(DataError):
            dict(members(tmp_path / "a", limits))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_form_of_tar_that_programs_write_is_read(form: int, tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    name = "cat/" + "a" * 60 + "/" + "b" * 60 + ".png"
    with tarfile.open(file, "w", format=form) as archive:
        folder = tarfile.TarInfo("cat")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)

        archive.addfile(member(name, b"data")[0], io.BytesIO(b"data"))
    assert dict(members(file)) == {name: b"data"}


def _arrays() -> bytes:
    x = np.arange(12, dtype="<f4").reshape(6, 2)
    y = np.array([0, 1, 0, 1, 0, 1], "<i8")
    return zipped({"x.npy": npy("'<f4'", "(6, 2)", x.tobytes()), "y.npy": npy("'<i8'", "(6,)", y.tobytes())}, 0)


GOOD: dict[str, Callable[[], bytes]] = {
    "table": lambda: b"a,b,t\n" + b"".join(b"%d,%s,2024-01-%02d\n" % (k, b"xy"[k % 2 :][:1], k + 1) for k in range(20)),
    "series": lambda: b"time,v,w\n" + b"".join(b"2024-01-01 %02d:00,%d,1.5\n" % (k, k * k) for k in range(24)),
    "images": lambda: zipped(good_pictures(), 0),
    "audio": lambda: zipped({f"{c}/{k}.wav": wav(400 + k) for c in ("one", "two") for k in range(3)}, 0),
    "text": lambda: "".join(f"{'yes' if k % 2 else 'no'}\tsome wörds number {k}\n" for k in range(20)).encode(),
    "arrays": _arrays,
    "tar": lambda: tarred([member(name, data) for name, data in good_pictures().items()], "w"),
}
MUTATED = {name: make() for name, make in GOOD.items()}


@pytest.mark.parametrize("name", GOOD)
def test_the_good_files_are_good(name: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(MUTATED[name])
    found = survey(file)
    assert found.kind == {"tar": "images"}.get(name, name)
    json.dumps([found.facts, found.report, found.samples], allow_nan=False)
    assert 0 < len(found.samples) <= 12


@pytest.mark.parametrize("name", GOOD)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_mutated_files_bring_findings_or_a_refusal_and_nothing_else(name: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    data = bytearray(MUTATED[name])
    for _ in range(draw.choice([1, 1, 2, 8])):
        match draw.randrange(5):
            case 0:
                data[draw.randrange(len(data))] = draw.randrange(256)
            case 1:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            case 2:
                del data[draw.randrange(1, len(data)) :]
            case 3:
                place = draw.randrange(len(data))
                data[place:place] = data[draw.randrange(len(data)) :][: draw.randrange(1, 40)]
            case _:
                data[draw.randrange(len(data)) :][:4] = b"\xff\xff\xff\xff"
        if len(data) < 2:
            break
    file = tmp_path / "upload"
    file.write_bytes(bytes(data))
    for kind in (None, {"tar": "images"}.get(name, name)):
        try:
            json.dumps(survey(file, kind).report, allow_nan=False)
        except DataError as refused:
            assert refused.message and refused.hint  # noqa: PT017, PT018 - findings are as good

"""Uploaded pictures: classes by folders, parts, sizes, colours and broken files by hand."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.datasets.base import Raw
from services.datasets.options import parse
from services.datasets.uploaded import source, survey
from services.datasets.uploaded.folders import order_of
from services.datasets.uploaded.pictures import Pictures, decoded
from services.errors import DataError, Invalid
from tests.services.uploaded.hostile import member, png, tarred, zipped


def picture(pixels: Any, form: str = "PNG", mode: str | None = None, **saved: Any) -> bytes:
    stream = io.BytesIO()
    made = Image.fromarray(np.asarray(pixels, np.uint8))
    (made.convert(mode) if mode else made).save(stream, form, **saved)
    return stream.getvalue()


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
RED = np.zeros((8, 8, 3), np.uint8) + np.array([200, 10, 30], np.uint8)


def opened(folder: Path, files: dict[str, bytes]) -> Pictures:
    (folder / "upload").write_bytes(zipped(files))
    made = source("p", "images", survey(folder / "upload").facts, folder / "upload")
    assert isinstance(made, Pictures)
    return made


def content(made: Pictures, **values: Any) -> Raw:
    found = made.read(Path(), None, parse(Pictures.options_type, values))
    assert isinstance(found, Raw)
    return found


def test_pixels_and_classes_are_those_of_the_files(tmp_path: Path) -> None:
    files = {"pets/dog/a.png": picture(GREY), "pets/cat/b.png": picture(255 - GREY), "pets/dog/c.png": picture(GREY.T)}
    made = opened(tmp_path, files)
    assert (made.card.classes, made.card.input_shape) == (("cat", "dog"), (8, 8, 1))
    raw = content(made)
    assert raw.y.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(raw.x[..., 0], [GREY, 255 - GREY, GREY.T])


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, form: str) -> None:
    saved = {"lossless": True} if form == "WEBP" else {}
    made = opened(tmp_path, {f"a/{form}": picture(GREY, form, **saved), "b/1.png": picture(GREY + 1)})
    np.testing.assert_array_equal(content(made).x[0, ..., 0], GREY)


def test_a_jpeg_is_upright_and_near_to_what_it_shows(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    shown = np.repeat(np.repeat(np.array([[0, 255], [90, 180]], np.uint8), 8, 0), 8, 1)
    made = opened(tmp_path, {"a/1.jpg": picture(shown, "JPEG", quality=100, exif=exif), "b/1.png": picture(shown)})
    assert np.abs(content(made).x[0, ..., 0].astype(int) - np.rot90(shown, -1)).max() < 6


def test_colours_are_kept_where_there_are_any_and_grey_where_asked(tmp_path: Path) -> None:
    made = opened(tmp_path, {"a/1.png": picture(RED), "b/1.png": picture(GREY)})
    raw = content(made)
    assert raw.x.shape == (2, 8, 8, 3)
    assert raw.x[0, 0, 0].tolist() == [200, 10, 30]
    grey = content(made, channels=1)
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
    assert grey.x[0, 0, 0, 0] == round(0.299 * 200 + 0.587 * 10 + 0.114 * 30)


def test_what_is_transparent_is_white_and_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[0, 0] = [9, 9, 9, 255]
    stream = io.BytesIO()
    Image.fromarray((GREY.astype(np.uint16) << 8) + 77).save(stream, "PNG")
    made = opened(tmp_path, {"a/1.png": picture(clear), "b/1.png": stream.getvalue()})
    raw = content(made, channels=1)
    assert raw.x[0, 0, :2, 0].tolist() == [9, 255]
    np.testing.assert_array_equal(raw.x[1, ..., 0], GREY)


def test_one_size_for_all_pictures_by_default_what_they_share(tmp_path: Path) -> None:
    made = opened(tmp_path, {"a/1.png": png(8, 8), "b/1.png": png(16, 12)})
    assert made.card.input_shape == (32, 32, 1)
    assert content(made, size=[4, 6]).x.shape == (2, 4, 6, 1)
    assert content(made, size=5).x.shape == (2, 5, 5, 1)
    assert "2 different sizes" in " ".join(survey(tmp_path / "upload").report["warnings"])
    with pytest.raises(Invalid, match="size"):
        parse(Pictures.options_type, {"size": 0})


def test_train_and_test_folders_are_the_parts(tmp_path: Path) -> None:
    files = {f"{part}/{c}/{k}.png": png(shade=k * 9) for part in ("train", "test") for c in "xy" for k in range(3)}
    del files["test/x/0.png"]
    made = opened(tmp_path, files)
    assert (made.card.train, made.card.test, made.card.parts) == (6, 5, "own_test")
    raw = content(made)
    assert raw.test_x is not None
    assert (len(raw.x), len(raw.test_x)) == (6, 5)
    report = survey(tmp_path / "upload").report
    assert report["split"]["duplicates"]["test"] > 0
    assert "stand in another part" in " ".join(report["warnings"])


def test_three_parts_are_kept_and_validation_alone_is_the_test_part(tmp_path: Path) -> None:
    parts = {f"d/{p}/{c}/1.png": png(shade=k) for k, p in enumerate(("Train", "val", "test")) for c in "xy"}
    card = opened(tmp_path, parts).card
    assert (card.parts, card.train, card.validation, card.test) == ("own_parts", 2, 2, 2)
    del parts["d/test/x/1.png"], parts["d/test/y/1.png"]
    made = opened(tmp_path, parts)
    assert (made.card.parts, made.card.test) == ("own_test", 2)
    assert "taken as the test part" in " ".join(survey(tmp_path / "upload").report["warnings"])
    assert content(made).test_y is not None


def test_broken_and_other_files_are_named_and_left_out(tmp_path: Path) -> None:
    files = {f"{c}/{k}.png": png(shade=k) for c in "ab" for k in range(4)}
    files |= {"a/broken.png": png()[:50], "b/empty.jpg": b"", "a/notes.txt": b"hello", "__MACOSX/a/._0.png": b"?"}
    made = opened(tmp_path, files)
    report = survey(tmp_path / "upload").report
    assert [entry["name"] for entry in report["corrupt"]] == ["a/broken.png", "b/empty.jpg"]
    assert report["ignored"] == ["a/notes.txt"]
    assert report["rows"] == len(content(made).x) == 8
    assert made.facts["corrupt"][0]["reason"].startswith("it is no good picture")


def test_the_samples_are_small_pictures_of_every_class(tmp_path: Path) -> None:
    opened(tmp_path, {f"{c}/{k}.png": picture(np.zeros((300, 200, 3))) for c in "abc" for k in range(9)})
    samples = survey(tmp_path / "upload").samples
    assert {sample["y"] for sample in samples} == {"a", "b", "c"}
    data = base64.b64decode(samples[0]["x"].removeprefix("data:image/png;base64,"))
    assert max(Image.open(io.BytesIO(data)).size) <= 96


def test_a_tar_gives_the_same_rows_as_a_zip(tmp_path: Path) -> None:
    files = {f"{c}/{k}.png": png(shade=k) for c in "ab" for k in range(4)}
    made = opened(tmp_path, files)
    (tmp_path / "upload.tgz").write_bytes(tarred([member(*item) for item in files.items()]))
    other = source("p", "images", survey(tmp_path / "upload.tgz").facts, tmp_path / "upload.tgz")
    assert other.read(Path(), None).sha256() == content(made).sha256()


def test_another_archive_than_the_surveyed_one_is_refused(tmp_path: Path) -> None:
    made = opened(tmp_path, {f"{c}/{k}.png": png(shade=k) for c in "ab" for k in range(4)})
    (tmp_path / "upload").write_bytes(zipped({f"{c}/{k}.png": png(shade=k) for c in "ab" for k in range(5)}))
    with pytest.raises(DataError, match="not the one that was surveyed"):
        content(made)


@pytest.mark.parametrize(
    ("names", "above", "parts", "classes"),
    [
        (["a/1", "b/2"], 0, False, ("a", "b")),
        (["d/a/1", "d/b/2"], 1, False, ("a", "b")),
        (["train/a/1", "train/b/2"], 1, False, ("a", "b")),
        (["d/train/a/1", "d/test/b/2"], 1, True, ("a", "b")),
        (["10/x", "9/x", "100/x"], 0, False, ("9", "10", "100")),
        (["a/deep/1", "b/2"], 0, False, ("a", "b")),
        (["test/1", "other/2"], 0, False, ("other", "test")),
    ],
)
def test_folders_say_part_and_class(names: list[str], above: int, parts: bool, classes: tuple[str, ...]) -> None:
    order = order_of(names)
    assert (order.above, order.parts, order.classes) == (above, parts, classes)


@pytest.mark.parametrize("names", [["1.png", "2.png"], ["a/1", "a/2"], ["train/1.png", "test/2.png", "train/a/1"]])
def test_names_without_class_folders_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match="class folder"):
        order_of(names)


def test_too_little_memory_makes_no_picture_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", none_left)
    with pytest.raises(MemoryError):
        decoded(png())

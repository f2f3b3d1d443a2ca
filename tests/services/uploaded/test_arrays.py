"""Uploaded arrays: what NumPy writes is read back bit for bit, and nothing else is read."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from services.datasets.base import Raw
from services.datasets.options import parse
from services.datasets.uploaded import recognise, source, survey
from services.datasets.uploaded.arrays import Arrays
from services.datasets.uploaded.npy import parse_npy
from services.errors import DataError, Invalid
from tests.services.uploaded.hostile import npy, zipped

DTYPES = st.one_of(
    *(hn.integer_dtypes(endianness=e) for e in "<>"),
    *(hn.unsigned_integer_dtypes(endianness=e) for e in "<>"),
    *(hn.floating_dtypes(endianness=e, sizes=(16, 32, 64)) for e in "<>"),
    hn.boolean_dtypes(),
    hn.unicode_string_dtypes(max_len=8),
)
ARRAYS = hn.arrays(DTYPES, hn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


@settings(deadline=None, max_examples=150)
@given(array=ARRAYS, fortran=st.booleans(), version=st.sampled_from([None, (1, 0), (2, 0), (3, 0)]))
def test_whatever_numpy_writes_is_read_back(array: np.ndarray, fortran: bool, version: Any) -> None:
    stream = io.BytesIO()
    array = np.asfortranarray(array) if fortran else array
    np.lib.format.write_array(stream, array, version, allow_pickle=False)
    found = parse_npy(stream.getvalue(), "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npy("'<f4'", "(2,)", b"\0" * 7), "needs 8 bytes, and 7 follow"),
        (npy("'<f4'", "(2,)", b"\0" * 9), "needs 8 bytes, and 9 follow"),
        (npy("'<c8'", "(1,)", b"\0" * 8), "type '<c8'"),
        (npy("'<M8[s]'", "(1,)", b"\0" * 8), "type"),
        (npy("'|V8'", "(1,)", b"\0" * 8), "type"),
        (npy("'<f4'", "(1, 1, 1, 1, 1, 1, 1, 1, 1)", b"\0" * 4), "its shape is"),
        (npy("'<f4'", "(2)'} #", b"\0" * 8), "header"),
        (npy("'<f4'", "(2,)", b"\0" * 8, order="1"), "header"),
        (npy("'<f4', 'descr': '<f8'", "(2,)", b"\0" * 8), "twice"),
        (npy("'<U1'", "(1,)", b"\x00\xd8\x00\x00"), "characters that are none"),
        (b"\x93NUMPY\x04\x00" + b"\0" * 80, "version 4.0"),
    ],
)
def test_what_is_no_array_of_plain_values_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_npy(data, "x")


def opened(folder: Path, **arrays: Any) -> Arrays:
    np.savez(folder / "upload.npz", **arrays)
    assert recognise(folder / "upload.npz") == "arrays"
    made = source("a", "arrays", survey(folder / "upload.npz").facts, folder / "upload.npz")
    assert isinstance(made, Arrays)
    return made


def content(made: Arrays, **values: Any) -> Raw:
    found = made.read(Path(), None, parse(Arrays.options_type, values))
    assert isinstance(found, Raw)
    return found


def test_whole_numbers_are_classes_in_order_and_other_numbers_are_values(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(6, 2)
    made = opened(tmp_path, x=x, y=np.array([7, -1, 3, 7, 3, -1]))
    assert made.card.classes == ("-1", "3", "7")
    assert (made.card.train, made.card.test, made.card.input_shape) == (5, 1, (2,))
    assert content(made).y.tolist() == [2, 0, 1, 2, 1, 0]
    np.testing.assert_array_equal(content(made).x, x)
    assert content(made, task="regression").y.tolist() == [[7], [-1], [3], [7], [3], [-1]]
    values = opened(tmp_path, x=x, y=x * 0.5)
    assert (values.card.tasks, values.card.target_names) == (("regression",), ("y 1", "y 2"))
    with pytest.raises(Invalid, match="more than whole numbers"):
        values.card_for(parse(Arrays.options_type, {"task": "classification"}))


def test_labels_may_be_texts_or_truths(tmp_path: Path) -> None:
    x = np.zeros((4, 3), np.float32)
    assert opened(tmp_path, x=x, y=np.array(["b", "ä", "b", "a"])).card.classes == ("a", "b", "ä")
    made = opened(tmp_path, X=x, Y=np.array([True, False, True, True]))
    assert made.card.classes == ("False", "True")
    assert content(made).y.tolist() == [1, 0, 1, 1]


def test_parts_of_their_own_stay_as_they_are(tmp_path: Path) -> None:
    pictures = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    y = np.array([0, 1, 0, 1, 0, 1])
    made = opened(
        tmp_path, x_train=pictures, y_train=y, x_test=pictures[:2], y_test=y[:2], x_val=pictures[:3], y_val=y[:3]
    )
    card = made.card
    assert (card.kind, card.input_shape, card.parts) == ("image", (4, 4, 1), "own_parts")
    assert (card.train, card.validation, card.test) == (6, 3, 2)
    found = content(made)
    assert found.test_x is not None
    np.testing.assert_array_equal(found.test_x[..., 0], pictures[:2])


def test_x_alone_is_for_auto_encoders(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((10, 5, 2), np.float16))
    found = survey(tmp_path / "x.npy")
    card = source("a", "arrays", found.facts, None).card
    assert (card.tasks, card.kind, card.input_shape) == (("autoencoder",), "series", (5, 2))
    assert found.report["split"]["guess"] == {}


F = np.float32


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((3, 2)), "y": np.ones(4)}, "has the shape"),
        ({"x": np.ones((3, 2)), "y_test": np.ones(3)}, "a y and no x"),
        ({"x": np.ones((3, 2)), "x_test": np.ones((3, 3))}, "A row of x of the test part"),
        ({"x": np.ones((3, 2)), "x_test": np.ones((3, 2)), "y": np.ones(3)}, "Some parts have a y"),
        ({"x": np.ones((3, 2)), "x_train": np.ones((3, 2))}, "twice"),
        ({"y": np.ones(3)}, "no array named x"),
        ({"x": np.ones((1, 2))}, "one row"),
        ({"x": np.ones(())}, "has the shape"),
        ({"x": np.full((2, 2), np.inf)}, r"x\[0, 0\] of the train part is inf"),
        ({"x": np.ones((2, 2)), "y": np.array([1, np.nan])}, r"y\[1\] of the train part is nan"),
        ({"x": np.array(["a", "b"])}, "type <U1"),
        ({"x": np.ones((3, 2)), "y": np.array(["a", "a", "a"])}, "1 different texts"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "upload.npz", **arrays)
    with pytest.raises(DataError, match=said):
        survey(tmp_path / "upload.npz", "arrays")


def test_packed_and_stored_archives_are_the_same(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(20.0).reshape(10, 2))
    for method in (0, 8):
        (tmp_path / "u").write_bytes(zipped({"x.npy": stream.getvalue()}, method))
        assert survey(tmp_path / "u").facts["rows"] == {"train": 10}

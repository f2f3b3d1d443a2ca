"""Encoders: what they learn comes from the train part alone, travels as JSON, and strange requests are named."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.signal import stft

from services.datasets.columns import Column, TableEncoding
from services.datasets.csv_table import records
from services.datasets.encoders import ENCODERS
from services.datasets.encoding import Encoder, texts
from services.datasets.preprocessing import Normalization, Pipeline, Rescaling, TargetNormalization
from services.datasets.sound import FRAME, STEP, Spectrogram, fitted, mel_bands, spectrum
from services.datasets.words import Characters, TextVectorization, words
from services.errors import Invalid

TEXTS = st.lists(st.text(max_size=40), min_size=1, max_size=10)


def paths(error: pytest.ExceptionInfo[Invalid]) -> list[str]:
    return [mistake.path for mistake in error.value.mistakes]


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It isn't BAD!", ["it", "is", "n't", "bad", "!"]),
        ("they're the film's best , really", ["they", "'re", "the", "film", "'s", "best", ",", "really"]),
        ("too-tepid biopic", ["too", "-", "tepid", "biopic"]),
        ("café… 20th", ["café", "…", "20th"]),
        ("", []),
    ],
)
def test_a_text_falls_into_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_the_most_frequent_words_come_first_and_ties_go_by_the_alphabet() -> None:
    fitted = TextVectorization(6, 4).fit(texts(["b a c a", "d c b", "a"]))
    assert fitted.vocabulary == ("", "[UNK]", "a", "b", "c", "d")
    assert TextVectorization(4, 4).fit(texts(["b a c a", "d c b", "a"])).vocabulary == ("", "[UNK]", "a", "b")
    encoded = fitted.encode(texts(["a x d", "", "a b c d a"]))
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [[2, 1, 5, 0], [0, 0, 0, 0], [2, 3, 4, 5]]


@given(TEXTS, TEXTS, st.integers(3, 50), st.integers(1, 12))
def test_every_text_becomes_numbers_below_the_vocabulary(
    train: list[str], other: list[str], most: int, length: int
) -> None:
    fitted = TextVectorization(most, length).fit(texts(train))
    assert len(fitted.vocabulary or ()) <= most
    encoded = fitted.encode(texts(other))
    assert encoded.shape == (len(other), length)
    assert 0 <= encoded.min() <= encoded.max() < most
    known = {word for text in train for word in words(text)}
    strangers = [sum(word not in known for word in words(text)[:length]) for text in other]
    assert ((encoded == 1).sum(axis=1) >= strangers).all()


def test_keras_means_the_same_by_its_special_words() -> None:
    for vocabulary in (["a"], ["", "[UNK]", "a", "a"], ["", "[UNK]", "a", "b", "c", "d"], "ab", [1]):
        with pytest.raises(ValueError, match="vocabulary"):
            TextVectorization(5, 4, vocabulary)  # type: ignore[arg-type]


# --- characters ----------------------------------------------------------------------------------------------------

SIGNS = Characters(tuple("ba c\n"), 3)


def test_a_character_is_its_place_in_the_alphabet() -> None:
    assert SIGNS.tokens("abc\n").tolist() == [1, 0, 3, 4]
    assert SIGNS.text(np.array([1, 0, 3, 4])) == "abc\n"
    np.testing.assert_array_equal(SIGNS.encode(SIGNS.rows(["abc", "c b"])), [[1, 0, 3], [3, 2, 0]])


@given(st.text("ab c\n"))
def test_text_survives_being_numbers(text: str) -> None:
    assert SIGNS.text(SIGNS.tokens(text)) == text


def test_characters_outside_the_alphabet_and_other_lengths_are_refused() -> None:
    with pytest.raises(Invalid, match="'x' is not in the alphabet"):
        SIGNS.tokens("abx")
    with pytest.raises(Invalid) as caught:
        SIGNS.rows(["abc", "ab", 5])
    assert paths(caught) == ["inputs[1]", "inputs[2]"]


# --- tables --------------------------------------------------------------------------------------------------------

COLUMNS = TableEncoding((Column("sex", ("female", "male")), Column("age", flag=True), Column("fare")))
ROWS = records({
    "sex": np.array(["male", "", "female"]),
    "age": np.array([30.0, np.nan, 20.0]),
    "fare": np.array([1.0, 2.0, 6.0]),
})  # fmt: skip


def test_categories_become_columns_and_gaps_the_median() -> None:
    fitted = COLUMNS.fit(ROWS)
    assert fitted.features == ("sex: female", "sex: male", "age", "age missing", "fare")
    found = fitted.encode(ROWS)
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 1, 30, 0, 1], [0, 0, 25, 1, 2], [1, 0, 20, 0, 6]]
    assert COLUMNS.fit(ROWS[:1]).encode(ROWS)[1].tolist() == [0, 0, 30, 1, 2]
    assert COLUMNS.fit(ROWS[1:2]).encode(ROWS)[1, 2] == 0


def test_rows_of_a_request_are_objects_or_lists_with_gaps() -> None:
    fitted = COLUMNS.fit(ROWS)
    rows = fitted.rows([{"sex": "male", "fare": 3}, ["female", 40.5, 3], [None, None, 0]])
    assert fitted.encode(rows).tolist() == [[0, 1, 25, 1, 3], [1, 0, 40.5, 0, 3], [0, 0, 25, 1, 0]]


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"sex": "mail"}, "inputs[0].sex"),
        ({"age": "old"}, "inputs[0].age"),
        ({"age": True}, "inputs[0].age"),
        ({"age": float("nan")}, "inputs[0].age"),
        ({"age": 1e300}, "inputs[0].age"),
        ({"ages": 3}, "inputs[0].ages"),
        ([1, 2], "inputs[0]"),
        ("male", "inputs[0]"),
    ],
)
def test_a_strange_row_of_a_request_is_named(row: Any, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        COLUMNS.rows([row])
    assert paths(caught) == [path]


# --- sound ---------------------------------------------------------------------------------------------------------


def test_the_spectrum_is_scipys() -> None:
    x = np.random.default_rng(1).normal(size=(2, 1000))
    _, _, found = stft(x, window="hann", nperseg=FRAME, noverlap=FRAME - STEP, boundary=None, padded=False)
    np.testing.assert_allclose(spectrum(x), np.square(np.abs(found * 128)).transpose(0, 2, 1), atol=1e-9)


@pytest.mark.parametrize("bins", [8, 24, 40, 128])
def test_mel_bands_are_triangles_and_none_is_empty(bins: int) -> None:
    bands = mel_bands(bins, 8000)
    assert bands.shape == (129, bins)
    assert bands.min() == 0
    assert (bands.max(axis=0) > 0).all()
    assert bands.max() <= 1
    middle = bands.argmax(axis=0)
    assert (np.diff(middle) >= 0).all()


@pytest.mark.parametrize("tone", [200, 500, 1000, 3000])
def test_a_tone_is_loudest_in_the_band_around_it(tone: int) -> None:
    wave = (8000 * np.sin(2 * np.pi * tone * np.arange(8000) / 8000)).astype(np.int16)
    found = Spectrogram("log_mel", 8000, 8000, 40).encode(wave[np.newaxis])[0]
    mel = 2595 * np.log10(1 + np.array([tone, 4000]) / 700)
    expected = mel[0] / mel[1] * 41 - 1
    assert np.abs(found.argmax(axis=1) - expected).max() <= 1


@pytest.mark.parametrize("features", ["log_mel", "log_spectrogram", "waveform"])
def test_rows_of_sound_have_the_shape_that_was_announced(features: Any) -> None:
    encoder = Spectrogram(features, 8000, 4000, 20)
    rows = np.zeros((3, 4000), np.int16)
    found = encoder.encode(rows)
    assert found.shape == (3, *encoder.shape)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@given(arrays.arrays(np.int16, (2, 300)), st.integers(1, 20))
def test_equal_loudness_makes_quiet_and_loud_the_same(wave: np.ndarray, times: int) -> None:
    quiet = (wave // 32).astype(np.int16)
    encoder = Spectrogram("waveform", 8000, 300, 8)
    np.testing.assert_allclose(encoder.encode(quiet * np.int16(times)), encoder.encode(quiet), atol=1e-6)
    plain = Spectrogram("waveform", 8000, 300, 8, equal_loudness=False).encode(wave)
    np.testing.assert_array_equal(plain[..., 0], wave / np.float32(32768))


def test_a_recording_is_cut_or_filled_with_silence() -> None:
    assert fitted(np.array([1, 2, 3]), 2).tolist() == [1, 2]
    assert fitted(np.array([1, 2]), 4).tolist() == [1, 2, 0, 0]
    rows = Spectrogram("waveform", 8000, 256, 8).rows([[5, -5], [7] * 300])
    assert rows.shape == (2, 256)
    assert rows[:, :3].tolist() == [[5, -5, 0], [7, 7, 7]]


@pytest.mark.parametrize("row", [[], [0.5], [40_000], [True], "loud", [None]])
def test_a_row_that_is_no_sound_is_named(row: Any) -> None:
    with pytest.raises(Invalid) as caught:
        Spectrogram("waveform", 8000, 256, 8).rows([row])
    assert paths(caught) == ["inputs[0]"]


# --- all of them ---------------------------------------------------------------------------------------------------

FITTED: list[Encoder] = [
    COLUMNS.fit(ROWS),
    TextVectorization(9, 3).fit(texts(["good film"])),
    SIGNS,
    Spectrogram("log_mel", 8000, 800, 12, False),
]


@pytest.mark.parametrize("encoder", FITTED, ids=lambda encoder: encoder.type)
def test_an_encoder_survives_json_within_a_pipeline(encoder: Encoder) -> None:
    targets = TargetNormalization((3.0,), (4.0,))
    pipeline = Pipeline((Rescaling(2.0), Normalization((1.0,), (2.0,))), encoder, targets)
    again = Pipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    assert again == pipeline
    assert [part["type"] for part in pipeline.to_json()] == [
        encoder.type,
        "rescaling",
        "normalization",
        "target_normalization",
    ]


@pytest.mark.parametrize("encoder", FITTED, ids=lambda encoder: encoder.type)
def test_fitting_again_changes_nothing_and_rows_have_a_json_schema(encoder: Encoder) -> None:
    assert ENCODERS[encoder.type] is type(encoder)
    if encoder.type != "table":
        assert encoder.fit(np.empty(0, object)) == encoder
    json.dumps(encoder.row_schema())


@given(arrays.arrays(np.float32, (7, 3), elements=st.floats(-1e4, 1e4, width=32)), st.floats(0.01, 1e4))
def test_answers_are_turned_back_into_the_units_of_the_data(y: np.ndarray, variance: float) -> None:
    targets = TargetNormalization((5.0,), (variance,))
    scale = np.sqrt(variance) + np.abs(y).max() + 5
    np.testing.assert_allclose(targets.restore(targets.apply(y)), y, atol=1e-5 * scale)


def test_targets_that_never_change_are_only_shifted() -> None:
    assert TargetNormalization((5.0,), (0.0,)).apply([[6.0]]).tolist() == [[1.0]]


@pytest.mark.parametrize(("mean", "variance"), [((), ()), ((1.0,), ()), ((1.0,), (-1.0,)), ((float("nan"),), (1.0,))])
def test_a_scaling_that_is_none_is_refused(mean: tuple[float, ...], variance: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"mean|variance"):
        TargetNormalization(mean, variance)


def test_steps_on_numbers_of_words_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        Pipeline.of([{"type": "normalization"}, {"type": "rescaling", "scale": 2}], 50, "int32")
    assert paths(caught) == ["dataset.preprocessing[0]", "dataset.preprocessing[1]"]
    assert "embedding" in str(caught.value.mistakes[0].hint)

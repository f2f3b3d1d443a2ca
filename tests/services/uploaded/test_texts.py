"""Uploaded texts: labelled lines, tables of label and text, and a corpus, by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import datasets
from services.datasets.base import Raw
from services.datasets.options import parse
from services.datasets.splits import Split
from services.datasets.uploaded import recognise, source, survey
from services.datasets.uploaded.texts import Texts
from services.datasets.words import Characters
from services.errors import DataError, Invalid

LINES = "gut\tDas ist schön!\nschlecht\tDas ist es nicht\ngut\tWie schön es ist\nschlecht\tNein, nie\n"


def opened(folder: Path, text: str, kind: str | None = None) -> Texts:
    (folder / "upload").write_text(text, encoding="utf-8", newline="")
    found = survey(folder / "upload", kind)
    made = source("t", found.kind, found.facts, folder / "upload")
    assert isinstance(made, Texts)
    return made


def options(**values: Any) -> Any:
    return parse(Texts.options_type, values)


def test_labelled_lines_are_classes_and_words(tmp_path: Path) -> None:
    made = opened(tmp_path, LINES)
    card = made.card_for(options(length=3, vocabulary=6))
    assert (card.classes, card.input_shape, card.vocabulary) == (("gut", "schlecht"), (3,), 6)
    raw = made.read(tmp_path, None, options(length=3, vocabulary=6))
    assert isinstance(raw, Raw)
    assert raw.y.tolist() == [0, 1, 0, 1]
    assert raw.encoder is not None
    encoder = raw.encoder.fit(raw.x)
    assert encoder.to_json()["vocabulary"] == ("", "[UNK]", "ist", "das", "es", "schön")
    assert encoder.encode(raw.x).tolist() == [[3, 2, 5], [3, 2, 4], [1, 5, 4], [1, 1, 1]]
    report = survey(tmp_path / "upload").report
    assert report["classes"] == {"gut": 2, "schlecht": 2}
    assert (report["words"]["longest"], report["duplicates"]) == (4, 0)


def test_a_table_of_label_and_text_is_the_same(tmp_path: Path) -> None:
    rows = [line.split("\t") for line in LINES.splitlines()]
    table = "Text,Label\n" + "".join(f'"{text}",{label}\n' for label, text in rows)
    one = opened(tmp_path, LINES).read(tmp_path, None, options()).sha256()
    assert opened(tmp_path, table).read(tmp_path, None, options()).sha256() == one


def test_a_corpus_is_rows_of_characters_in_order(tmp_path: Path) -> None:
    text = "añb\n" * 100
    made = opened(tmp_path, text.replace("\n", "\r\n"))
    card = made.card_for(options(sequence_length=8))
    assert (card.tasks, card.classes) == (("language_model",), ("\n", "a", "b", "ñ"))
    content = made.read(tmp_path, None, options(sequence_length=8))
    dealt = content.deal(card, Split(), datasets.sizes(card, Split()))
    encoder = dealt.encoder
    assert isinstance(encoder, Characters)
    assert encoder.text(encoder.encode(dealt.train.x[0])) == "añb\nañb\n"
    assert encoder.text(encoder.targets(dealt.train.y[0])) == "ñb\nañb\na"
    assert dealt.train.when is not None
    assert dealt.test.when is not None
    assert dealt.train.when.max() < 360 <= dealt.test.when.min()


def test_a_short_corpus_has_short_rows_by_default(tmp_path: Path) -> None:
    made = opened(tmp_path, "To be, or not to be.\n" * 20, "text")
    assert made.facts["suggested"] == {"sequence_length": 16}
    assert made.card.input_shape == (16,)


def test_options_of_the_other_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is for a corpus"):
        opened(tmp_path, LINES).card_for(options(stride=3))
    with pytest.raises(Invalid) as refused:
        opened(tmp_path, "one two three\n" * 99).card_for(options(length=3, vocabulary=9))
    assert [m.path for m in refused.value.mistakes] == ["dataset.vocabulary", "dataset.length"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINES * 10 + "no tab here\n", "Line 41 has no tab"),
        ("\tno label\n" + LINES, "Line 1 has no label"),
        ("gut\t\n" + LINES, "no text"),
        ("one\tsome words here\n" * 5, "same label"),
        ("bad \x07 bell\n" * 9, "control character"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 9000))) * 2, "9,000 different characters"),
    ],
)
def test_texts_that_cannot_be_learnt_from_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        opened(tmp_path, text, "text")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LINES, "text"),
        ("label,text\na,one two\nb,three\n", "text"),
        ("Once, upon a time\nthere was, as they say, a king\nwho slept\n", "text"),
        ("name\tage\nAda\t3\nBo\t4\n", "table"),
        ("a,b\n1,2\n3,4\n", "table"),
    ],
)
def test_text_and_table_are_told_apart(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "upload").write_text(text, encoding="utf-8")
    assert recognise(tmp_path / "upload") == kind


def test_code_points_take_as_few_bytes_as_they_need(tmp_path: Path) -> None:
    for sign, size in (("a", 1), ("Ω", 2), ("🎵", 4)):
        content = opened(tmp_path, f"{sign}b c\n" * 200).read(tmp_path, None, None)
        assert next(iter(content.arrays())).dtype.itemsize == size
        assert np.asarray(next(iter(content.arrays())))[0] == ord(sign)

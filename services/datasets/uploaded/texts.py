"""Text: lines with a label each, to be told apart, or one corpus, to be continued character by character."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Array, Card, Content, Raw
from services.datasets.encoding import texts
from services.datasets.options import Options
from services.datasets.text import CorpusOptions, ReviewOptions
from services.datasets.uploaded.kind import (
    MAX_CLASSES,
    MAX_SAMPLES,
    Survey,
    Uploaded,
    changed,
    cut,
    majority,
    shown,
    spread,
)
from services.datasets.uploaded.sheet import SAVE_AS, Sheet, beginning, recognised
from services.datasets.windows import Windows, fits
from services.datasets.words import Characters, TextVectorization, words
from services.errors import DataError, Invalid, Mistake

MAX_BYTES = 256 * 2**20
"""Bytes of a text."""
MAX_ALPHABET = 8_192
"""Different characters of a corpus."""
MAX_LABEL = 128
"""Characters of a label."""
_COLUMNS = {"label", "text"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SHOWN = 300
_LINES_LOOKED_AT, _SHARE_WITH_TABS = 100, 0.9

Length = Annotated[int, Interval(ge=1, le=4096)]


@final
@dataclass(frozen=True)
class TextOptions(Options):
    """Of labelled lines, the first `length` words are read (50 by default), of which the `vocabulary` - 2 most
    frequent ones of the train part are known (10,000). Of a corpus, a row is `sequence_length` characters (128) and
    its target the same moved on by one; rows begin every `stride` characters, by default where the one before ends."""

    vocabulary: Annotated[int, Interval(ge=3, le=100_000)] | None = None
    length: Annotated[int, Interval(ge=1, le=1024)] | None = None
    sequence_length: Length | None = None
    stride: Length | None = None


@final
class Texts(Uploaded):
    """An uploaded text."""

    kind = "text"
    docs = "Lines `label<TAB>text`, or a CSV with the columns label and text: classification; or a corpus to continue."
    options_type = TextOptions

    @classmethod
    def survey(cls, file: Path) -> Survey:
        """Labels and words, or the alphabet."""
        if is_labelled(file):
            return _survey_labelled(file)
        return _survey_corpus(_text(file))

    def card_for(self, options: TextOptions) -> Card:
        """Counts, classes or alphabet follow from the facts."""
        self._check(options)
        if self.facts["form"] == "corpus":
            return self._corpus_card(options)
        train, test = cut(sum(self.facts["classes"].values()))
        chosen = _review(options)
        return Card(
            name=self.name,
            title=self.name,
            kind="text",
            tasks=("classification",),
            input_shape=(chosen.length,),
            classes=tuple(sorted(self.facts["classes"])),
            target_names=("label",),
            train=train,
            test=test,
            description=f"{train + test:,} uploaded texts, each with a label.",
            source="upload",
            license="",
            input_dtype="int32",
            vocabulary=chosen.vocabulary,
        )

    def _corpus_card(self, options: TextOptions) -> Card:
        geometry, length = _corpus(options).geometry, int(self.facts["characters"])
        test_from = length * 9 // 10
        card = Card(
            name=self.name,
            title=self.name,
            kind="text",
            tasks=("language_model",),
            input_shape=(geometry.window,),
            classes=tuple(self.facts["alphabet"]),
            target_names=("next character",),
            train=geometry.count(0, test_from),
            test=geometry.count(test_from, length, geometry.window),
            description=f"An uploaded text of {length:,} characters, {len(self.facts['alphabet']):,} different ones. "
            "The last 10 % are the test part.",
            source="upload",
            license="",
            parts="in_order",
            gap=geometry.gap,
            input_dtype="int32",
            vocabulary=len(self.facts["alphabet"]),
        )
        try:
            return fits(geometry, card)
        except Invalid as error:
            name = "sequence_length" if error.mistakes[0].code == "too_long" else "stride"
            mistakes = [Mistake(f"dataset.{name}", m.code, m.message, m.hint) for m in error.mistakes]
            raise Invalid(mistakes) from error

    def _check(self, options: TextOptions) -> None:
        corpus = self.facts["form"] == "corpus"
        unfit = ("vocabulary", "length") if corpus else ("sequence_length", "stride")
        what, other = ("a corpus", "labelled texts") if corpus else ("labelled texts", "a corpus")
        mistakes = [
            Mistake(f"dataset.{name}", "option_unfit", f"is for {other}, and this is {what}", f"Leave out {name}.")
            for name in unfit
            if getattr(options, name) is not None
        ]
        if mistakes:
            raise Invalid(mistakes)

    def read_file(self, file: Path, options: TextOptions) -> Content:
        """All texts, or every character."""
        if is_labelled(file) != (self.facts["form"] == "labelled"):
            raise changed(self.name)
        if self.facts["form"] == "labelled":
            return self._labelled(file, options)
        points = _points(_text(file))
        alphabet = tuple(self.facts["alphabet"])
        if len(points) != self.facts["characters"] or not np.isin(np.unique(points), [ord(c) for c in alphabet]).all():
            raise changed(self.name)
        geometry = _corpus(options).geometry
        test_from = len(points) * 9 // 10
        encoder = Characters(alphabet, geometry.window)
        ends = (test_from, test_from, len(points))
        return Windows(points, geometry, *ends, test_stride=geometry.window, encoder=encoder)

    def _labelled(self, file: Path, options: TextOptions) -> Raw:
        classes = {name: number for number, name in enumerate(sorted(self.facts["classes"]))}
        rows, labels = [], []
        for label, text in _rows(file):
            if label not in classes:
                raise changed(self.name)
            labels.append(classes[label])
            rows.append(text)
        if len(rows) != sum(self.facts["classes"].values()):
            raise changed(self.name)
        chosen = _review(options)
        encoder = TextVectorization(chosen.vocabulary, chosen.length)
        return Raw(texts(rows), np.array(labels, np.int32), encoder=encoder)


def is_labelled(file: Path) -> bool:
    """Whether a text is rows of label and text (lines with a tab, or a table of these columns), and no corpus."""
    head = beginning(file)
    return _is_table(head) or has_tabs(head)


def has_tabs(head: str) -> bool:
    """Whether nearly every one of the first lines has a tab."""
    lines = [line for line in head.split("\n")[:_LINES_LOOKED_AT] if line.strip()]
    return sum("\t" in line for line in lines) >= _SHARE_WITH_TABS * len(lines)


def _is_table(head: str) -> bool:
    delimiter = recognised(head)
    first = head.split("\n", 1)[0].strip().lower().replace('"', "")
    return delimiter is not None and {name.strip() for name in first.split(delimiter)} == _COLUMNS


def _review(options: TextOptions) -> ReviewOptions:
    return ReviewOptions(options.vocabulary or ReviewOptions.vocabulary, options.length or ReviewOptions.length)


def _corpus(options: TextOptions) -> CorpusOptions:
    return CorpusOptions(options.sequence_length or CorpusOptions.sequence_length, options.stride)


def _text(file: Path) -> str:
    """The whole text, line ends as \\n; DataError for what is no UTF-8 text."""
    beginning(file)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"The text has {size:,} bytes; at most {MAX_BYTES:,} are read.", hint="Upload a part of it.")
    try:
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"The text is not UTF-8: byte {error.start:,} is not.", hint=SAVE_AS) from error
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise DataError(f"Line {line:,} holds the control character {found[0]!r}.", hint="A text has none but tabs.")
    return text


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    """Label and text of every row; DataError names the line that is none."""
    rows = _table_rows(file) if _is_table(beginning(file)) else _line_rows(file)
    for line, label, text in rows:
        if not label or len(label) > MAX_LABEL or not text:
            hint = f"Each row needs a text and a label of at most {MAX_LABEL} characters."
            raise DataError(f"Line {line:,} has no label or no text, or too long a label.", hint=hint)
        yield label, text


def _table_rows(file: Path) -> Iterator[tuple[int, str, str]]:
    if (size := file.stat().st_size) > MAX_BYTES:
        raise DataError(f"The text has {size:,} bytes; at most {MAX_BYTES:,} are read.", hint="Upload a part of it.")
    sheet = Sheet.open(file)
    names = [name.lower() for name in sheet.header]
    for batch in sheet.batches():
        labels, rows = (batch.columns[names.index(name)] for name in ("label", "text"))
        for line, label, text in zip(batch.lines, labels, rows, strict=True):
            if _CONTROL.search(label) or _CONTROL.search(text.replace("\r\n", "\n")):
                raise DataError(f"Line {line:,} holds control characters.", hint="A text has none but tabs.")
            yield line, label.strip(), text.strip()


def _line_rows(file: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(_text(file).removesuffix("\n").split("\n"), 1):
        label, tab, text = line.partition("\t")
        if not tab:
            hint = "Write label, tab, text on every line."
            raise DataError(f"Line {number:,} has no tab between a label and a text.", hint=hint)
        yield number, label.strip(), text.strip()


def _points(text: str) -> Array:
    """Code points, in as few bytes as they need."""
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    most = int(points.max()) if len(points) else 0
    return points.astype(np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.uint32)


def _survey_labelled(file: Path) -> Survey:
    classes: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    lengths: list[int] = []
    vocabulary: set[str] = set()
    samples: list[dict[str, Any]] = []
    for label, text in _rows(file):
        classes[label] += 1
        seen[text] += 1
        found = words(text)
        lengths.append(len(found))
        vocabulary.update(found)
        if classes[label] <= 2 and len(samples) < MAX_SAMPLES:
            samples.append({"x": text[:_SHOWN], "y": label})
        if len(classes) > MAX_CLASSES:
            message = f"The text has more than {MAX_CLASSES:,} different labels."
            raise DataError(message, hint="Write label, tab, text on every line; labels repeat.")
    if len(classes) < 2:
        raise DataError("All texts have the same label.", hint="At least two labels are needed.")
    facts = {"form": "labelled", "classes": dict(sorted(classes.items()))}
    return Survey(Texts.kind, facts, _labelled_report(facts["classes"], lengths, len(vocabulary), seen), shown(samples))


def _labelled_report(classes: Any, lengths: Sequence[int], vocabulary: int, seen: Mapping[str, int]) -> dict[str, Any]:
    duplicates = len(lengths) - len(seen)
    return {
        "rows": len(lengths),
        "form": "labelled",
        "classes": classes,
        "majority": majority(classes),
        "words": {"median": float(np.median(lengths)), "longest": max(lengths), "different": vocabulary},
        "missing": {},
        "corrupt": [],
        "duplicates": duplicates,
        "warnings": [f"{duplicates:,} texts are equal to an earlier one."] if duplicates else [],
    }


def _survey_corpus(text: str) -> Survey:
    points = _points(text)
    values, counts = np.unique(points, return_counts=True)
    if len(values) > MAX_ALPHABET:
        message = f"The text has {len(values):,} different characters; at most {MAX_ALPHABET:,} are read."
        raise DataError(message, hint="Leave out rare ones.")
    alphabet = "".join(map(chr, values.tolist()))
    length = CorpusOptions.sequence_length
    # A tenth of the text is the test part, which needs a row and its target.
    while length > 1 and len(text) // 10 < 2 * length:
        length //= 2
    suggested = {} if length == CorpusOptions.sequence_length else {"sequence_length": length}
    facts = {"form": "corpus", "characters": len(text), "alphabet": alphabet, "suggested": suggested}
    lines = text.count("\n") + (not text.endswith("\n"))
    best = int(counts.argmax())
    report = {
        "rows": len(text),
        "form": "corpus",
        "classes": None,
        "majority": {"class": alphabet[best], "accuracy": float(counts[best] / len(points))},
        "characters": len(text),
        "lines": lines,
        "alphabet": {"size": len(alphabet), "signs": alphabet},
        "missing": {},
        "corrupt": [],
        "duplicates": None,
        "warnings": [],
    }
    places = [place for place in spread(len(text), 6) if place + _SHOWN // 2 < len(text)] or [0]
    half = _SHOWN // 2
    samples = [{"x": text[k : k + half], "y": text[k + half : k + half + 1] or None} for k in places]
    return Survey(Texts.kind, facts, report, shown(samples))

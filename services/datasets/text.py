"""Text: Shakespeare to continue character by character, and sentences about films to judge."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Card, Progress, Raw, Source
from services.datasets.download import RemoteFile, fetch
from services.datasets.encoding import texts
from services.datasets.options import Options
from services.datasets.windows import Geometry, Windows, fits
from services.datasets.words import Characters, TextVectorization
from services.errors import DataError


@final
@dataclass(frozen=True)
class CorpusOptions(Options):
    """A row is `sequence_length` characters, and its target the same moved on by one. Rows of the train part begin
    every `stride` characters: by default where the one before ends."""

    sequence_length: Annotated[int, Interval(ge=1, le=4096)] = 128
    stride: Annotated[int, Interval(ge=1, le=4096)] | None = None

    @property
    def geometry(self) -> Geometry:
        """The rows over the text."""
        return Geometry(self.sequence_length, 1, self.sequence_length, self.stride or self.sequence_length)


@final
@dataclass(frozen=True)
class ReviewOptions(Options):
    """The first `length` words of a text are read, of which the `vocabulary` - 2 most frequent ones of the train part
    are known; 0 stands for no word and 1 for any other."""

    vocabulary: Annotated[int, Interval(ge=3, le=100_000)] = 10_000
    length: Annotated[int, Interval(ge=1, le=1024)] = 50


SHAKESPEARE_FILE = RemoteFile(
    "tinyshakespeare.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    1_115_394,
    (
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
        "data/tinyshakespeare/input.txt",
    ),
)
_KIM = "https://raw.githubusercontent.com/yoonkim/CNN_sentence/23e0e1f7355705bb083043fda05c031b15acb38c/"
REVIEW_FILES = (
    RemoteFile(
        "rt-polarity.neg",
        "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
        612_256,
        (_KIM + "rt-polarity.neg",),
    ),
    RemoteFile(
        "rt-polarity.pos",
        "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
        626_139,
        (_KIM + "rt-polarity.pos",),
    ),
)
ALPHABET = tuple("\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SHAKESPEARE = Card(
    name="tiny_shakespeare",
    title="Tiny Shakespeare, characters",
    kind="text",
    tasks=("language_model",),
    input_shape=(128,),
    classes=ALPHABET,
    target_names=("next character",),
    train=0,
    test=0,
    description="A million characters out of Shakespeare's plays, 65 different ones. The last 10 % are the test part. "
    "A 6-layer transformer of 10 million weights comes to 1.47 nats a character there.",
    source="A. Karpathy, char-rnn",
    license="none stated",
    download_bytes=SHAKESPEARE_FILE.size,
    parts="in_order",
    input_dtype="int32",
    vocabulary=len(ALPHABET),
)
_REVIEWS = Card(
    name="movie_reviews",
    title="Film reviews, one sentence each",
    kind="text",
    tasks=("classification",),
    input_shape=(50,),
    classes=("negative", "positive"),
    target_names=("verdict",),
    train=9_596,
    test=1_066,
    description="10,662 sentences out of film reviews, half of them praise (rt-polarity). A fixed tenth is the test "
    "part. A convolution over words that begin at random scores 76.1 % (Kim 2014).",
    source="B. Pang, L. Lee 2005; files of Y. Kim, CNN_sentence",
    license="none stated; cite Pang and Lee 2005",
    download_bytes=sum(file.size for file in REVIEW_FILES),
    input_dtype="int32",
    vocabulary=10_000,
)


@final
class Corpus(Source):
    """The text as code points; its last tenth is the test part, read in rows that do not overlap."""

    options_type = CorpusOptions
    characters = 1_115_394
    test_from = characters * 9 // 10

    def __init__(self) -> None:
        """The card under default options."""
        self.card = self.card_for(CorpusOptions())

    def card_for(self, options: CorpusOptions) -> Card:
        """Counts of rows follow from the lengths."""
        g = options.geometry
        card = replace(
            _SHAKESPEARE,
            input_shape=(g.window,),
            train=g.count(0, self.test_from),
            test=g.count(self.test_from, self.characters, g.window),
            gap=g.gap,
        )
        return fits(g, card)

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Windows:
        """Every character; all belong to the alphabet."""
        g = (options or CorpusOptions()).geometry
        path = fetch(self.card.name, SHAKESPEARE_FILE, datasets_dir, progress)
        points = np.frombuffer(path.read_bytes(), np.uint8)
        if len(points) != self.characters or not np.isin(points, [ord(sign) for sign in ALPHABET]).all():
            raise DataError(f"{path.name} is not {self.characters:,} characters of the known {len(ALPHABET)}.")
        ends = (self.test_from, self.test_from, self.characters)
        return Windows(points, g, *ends, test_stride=g.window, encoder=Characters(ALPHABET, g.window))


@final
class Reviews(Source):
    """Sentences in two files, negative ones first."""

    card = _REVIEWS
    options_type = ReviewOptions
    sentences = 5_331

    def card_for(self, options: ReviewOptions) -> Card:
        """The length of a row and the bound of its numbers are the options' own."""
        return replace(_REVIEWS, input_shape=(options.length,), vocabulary=options.vocabulary)

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All sentences, and the encoder that is to learn its vocabulary from some of them."""
        chosen = options or ReviewOptions()
        paths = [fetch(self.card.name, file, datasets_dir, progress) for file in REVIEW_FILES]
        lines = [parse_lines(path.read_bytes(), path.name) for path in paths]
        if [len(part) for part in lines] != [self.sentences, self.sentences]:
            raise DataError(f"{self.card.name}: {[len(part) for part in lines]} sentences do not fit the card.")
        labels = np.repeat(np.arange(2, dtype=np.int32), self.sentences)
        encoder = TextVectorization(chosen.vocabulary, chosen.length)
        return Raw(texts([*lines[0], *lines[1]]), labels, encoder=encoder)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def parse_lines(data: bytes, name: str, encoding: Literal["cp1252", "utf-8"] = "cp1252") -> list[str]:
    """The lines of a text, each a sentence with something in it; DataError says which one is not."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not {encoding}: byte {error.start} is {data[error.start]:#04x}.") from error
    # Not splitlines(): an ellipsis of Windows is a line end to Unicode.
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip() or _CONTROL.search(line):
            raise DataError(f"{name} is no list of sentences: line {number} is empty or holds control characters.")
    return [line.strip() for line in lines]


SOURCES = (Corpus(), Reviews())

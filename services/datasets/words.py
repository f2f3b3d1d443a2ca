"""Text as whole numbers: words by a vocabulary learnt from the train part, or characters of a known alphabet."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, final

import numpy as np

from services.datasets.encoding import Array, Encoder, collect, texts
from services.errors import Invalid, Mistake

PADDING, UNKNOWN = 0, 1
SPECIAL = ("", "[UNK]")
_CONTRACTION = re.compile(r"(n't|'(?:s|ve|re|d|ll|m))\b")
_WORD = re.compile(r"n't|'\w+|\w+|[^\w\s]")
_LONGEST_TEXT = 1_000_000


def words(text: str) -> list[str]:
    """`It isn't bad!` → it, is, n't, bad, !: lower case, contractions split, every sign a word of its own."""
    return _WORD.findall(_CONTRACTION.sub(r" \1", text.lower()))


@final
@dataclass(frozen=True)
class TextVectorization(Encoder):
    """Words as numbers, padded with 0 at the end or cut to one length. 0 is padding, 1 any word unknown at training;
    the others are the most frequent words of the train part, the most frequent first. Keras's layer of this name."""

    type: ClassVar[str] = "text_vectorization"
    max_tokens: int
    output_sequence_length: int
    vocabulary: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Turn JSON's list into a tuple and refuse what is no vocabulary."""
        if self.vocabulary is None:
            return
        object.__setattr__(self, "vocabulary", _distinct(self.vocabulary, self.max_tokens))
        if self.vocabulary[:2] != SPECIAL:
            raise ValueError("a vocabulary begins with the padding '' and the unknown word '[UNK]'")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        if self.vocabulary is None:
            raise ValueError("fit the vocabulary before using it")
        return {word: number for number, word in enumerate(self.vocabulary) if number > UNKNOWN}

    def fit(self, rows: Array) -> Self:
        """The most frequent words of `rows`; among equally frequent ones the first in the alphabet."""
        if self.vocabulary is not None:
            return self
        counts = Counter(word for text in rows for word in words(text))
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[: self.max_tokens - len(SPECIAL)]
        return type(self)(self.max_tokens, self.output_sequence_length, (*SPECIAL, *frequent))

    def encode(self, rows: Array) -> Array:
        """int32 (n, length)."""
        encoded = np.zeros((len(rows), self.output_sequence_length), np.int32)
        for place, text in zip(encoded, rows, strict=True):
            found = [self._numbers.get(word, UNKNOWN) for word in words(text)[: self.output_sequence_length]]
            place[: len(found)] = found
        return encoded

    def rows(self, inputs: Sequence[Any]) -> Array:
        """Texts of any length."""
        return texts(collect(inputs, _text))

    def row_schema(self) -> dict[str, Any]:
        """A text."""
        return {"type": "string", "maxLength": _LONGEST_TEXT, "description": "One text, as it is."}


@final
@dataclass(frozen=True)
class Characters(Encoder):
    """Characters as numbers: each is its place in an alphabet known from the start. Rows hold code points."""

    type: ClassVar[str] = "characters"
    alphabet: tuple[str, ...]
    length: int

    def __post_init__(self) -> None:
        """Turn JSON's list into a tuple and refuse what is no alphabet."""
        object.__setattr__(self, "alphabet", _distinct(self.alphabet, None))
        if not self.alphabet or any(len(sign) != 1 for sign in self.alphabet):
            raise ValueError("an alphabet is a list of single characters")

    @cached_property
    def _sorted(self) -> tuple[Array, Array]:
        points = np.array([ord(sign) for sign in self.alphabet])
        order = np.argsort(points)
        return points[order], order.astype(np.int32)

    def encode(self, rows: Array) -> Array:
        """int32 of the same shape; Invalid for a character outside the alphabet."""
        points, numbers = self._sorted
        places = np.minimum(np.searchsorted(points, rows), len(points) - 1)
        strange = np.flatnonzero(points[places] != rows)
        if len(strange):
            sign = chr(int(np.asarray(rows).flat[strange[0]]))
            hint = f"Known: {''.join(self.alphabet)!r}."
            raise Invalid([Mistake("inputs", "unknown_character", f"{sign!r} is not in the alphabet", hint)])
        return numbers[places]

    def targets(self, y: Array) -> Array:
        """The same for the characters to come."""
        return self.encode(y)

    def tokens(self, text: str) -> Array:
        """int32 (n,) for a text of any length; Invalid for a character outside the alphabet."""
        return self.encode(np.array([ord(sign) for sign in text], np.uint32))

    def text(self, tokens: Array) -> str:
        """The text that numbers (n,) stand for."""
        return "".join(self.alphabet[int(token)] for token in tokens)

    def rows(self, inputs: Sequence[Any]) -> Array:
        """Texts of exactly `length` characters as code points (n, length)."""

        def read(number: int, row: Any) -> list[int]:
            text = _text(number, row)
            if len(text) != self.length:
                message = f"the text has {len(text)} characters; the network reads {self.length}"
                raise Invalid([Mistake(f"inputs[{number}]", "length", message)])
            return [ord(sign) for sign in text]

        return np.array(collect(inputs, read), np.uint32).reshape(-1, self.length)

    def row_schema(self) -> dict[str, Any]:
        """A text of the length that the network reads."""
        return {"type": "string", "minLength": self.length, "maxLength": self.length}

    def to_json(self) -> dict[str, Any]:
        """The alphabet as one text."""
        return {"type": self.type, "alphabet": "".join(self.alphabet), "length": self.length}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Characters":
        """The alphabet is one text there."""
        return cls(**{**fields, "alphabet": tuple(fields["alphabet"])})


def _text(number: int, row: Any) -> str:
    if not isinstance(row, str):
        raise Invalid([Mistake(f"inputs[{number}]", "not_a_text", f"a text is needed, not {type(row).__name__}")])
    if len(row) > _LONGEST_TEXT:
        raise Invalid([Mistake(f"inputs[{number}]", "too_long", f"a text has at most {_LONGEST_TEXT:,} characters")])
    return row


def _distinct(values: object, most: int | None) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ValueError("a vocabulary is a list of texts")
    if len(set(values)) != len(values) or (most is not None and len(values) > most):
        raise ValueError("a vocabulary names each word once, and no more than max_tokens of them")
    return tuple(values)

"""The trainer's output becomes log lines that are whole, printable and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from workers.logs import LogTap, printable


def lines_of(*chunks: bytes, **limits: int) -> list[str]:
    tap = LogTap(**limits)
    return [line for chunk in chunks for line in tap.feed(chunk)] + list(tap.close())


def test_lines_are_put_together_from_pieces_and_the_last_one_needs_no_line_break() -> None:
    assert lines_of(b"one\ntw", b"o\nthr", b"ee") == ["one", "two", "three"]


def test_control_characters_are_escaped_and_words_are_kept() -> None:
    assert lines_of("a\x1b[2J\tb\x00 ünï\r\n".encode()) == ["a\\x1b[2J\tb\\x00 ünï"]


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    assert lines_of(b"\xff\xfe\n") == ["\\xff\\xfe"]


def test_a_line_of_megabytes_is_cut_and_says_so() -> None:
    [line] = lines_of(*[b"x" * 65_536] * 160, b"\n", line_chars=100)
    assert len(line) < 150
    assert line.endswith("bytes cut]")


def test_when_the_allowance_is_used_up_one_line_says_so() -> None:
    assert lines_of(b"a\nb\nc\nd\n", lines=2) == [
        "a",
        "b",
        "The log is full: the rest of this attempt's output is not kept.",
    ]


@given(st.text())
def test_whatever_is_printed_can_be_stored_and_shown_on_one_line(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()

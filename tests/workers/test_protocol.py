"""Messages of the trainer: what is one, what is not, and how the stream is cut into lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.protocol import Lines, Metrics, Progress, ProtocolError, encode, parse


def test_a_message_survives_the_pipe() -> None:
    said = parse(encode({"type": "progress", "step": 3, "total_steps": 9, "epoch": 1, "eta_seconds": None}).strip())
    assert said == Progress(type="progress", step=3, total_steps=9, epoch=1, eta_seconds=None)


def test_a_metric_that_is_no_number_is_still_a_metric() -> None:
    said = parse(encode({"type": "metrics", "step": 1, "values": {"loss": float("inf")}}))
    assert isinstance(said, Metrics)
    assert said.values["loss"] == float("inf")


@given(st.binary(max_size=200))
def test_whatever_else_arrives_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(line)


@given(st.lists(st.binary(min_size=1, max_size=40).map(lambda b: b.replace(b"\n", b" "))), st.integers(1, 17))
def test_lines_are_whole_however_the_stream_is_cut(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cutter = Lines()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [line for piece in pieces for line in cutter.feed(piece)] == lines
    assert cutter.pending == b""


def test_an_endless_message_is_a_protocol_error_long_before_memory_ends() -> None:
    cutter = Lines(limit=1000)
    assert cutter.feed(b"x" * 900) == []
    with pytest.raises(ProtocolError):
        cutter.feed(b"x" * 200)

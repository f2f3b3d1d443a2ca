"""A thousand spoilt checkpoints: each is caught before anybody trains on, and the reader falls over none of them."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.artifacts import ArtifactStore
from services.errors import DataError
from services.export.safetensors import digest, pack, unpack
from services.jobs import Artifact

ROUNDS = 1000
ARRAYS = {f"state/w{n}": np.arange(n * 40, n * 40 + 400, dtype=np.float32).reshape(20, 20) for n in range(3)}
ABOUT = {"cursor": {"epoch": 3, "step": 7}, "last": {"loss": 0.5}}


def _truncate(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _flip(data: bytes, dice: random.Random) -> bytes:
    return _flip_within(data, dice, len(data))


def _flip_in_header(data: bytes, dice: random.Random) -> bytes:
    return _flip_within(data, dice, 8 + int.from_bytes(data[:8], "little"))


def _flip_within(data: bytes, dice: random.Random, end: int) -> bytes:
    at = dice.randrange(end)
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _page_of_zeros(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(0, len(data) - 64)
    return data[:at] + bytes(64) + data[at + 64 :]


def _longer(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.randrange(1, 100))


def _anothers(_data: bytes, dice: random.Random) -> bytes:
    other = {name: array + dice.random() for name, array in ARRAYS.items()}
    return pack(other, ABOUT)


SPOIL: list[Callable[[bytes, random.Random], bytes]] = [
    _truncate, _flip, _flip_in_header, _page_of_zeros, _longer, _anothers,
]  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> tuple[ArtifactStore, Artifact, Path]:
    """A store with one checkpoint in it."""
    store = ArtifactStore(tmp_path)
    artifact = store.publish("t", "j", 1, "checkpoint-7-3.safetensors", pack(ARRAYS, ABOUT))
    return store, artifact, store.resolve(artifact.path)


def test_every_spoilt_one_is_caught_at_rest_and_the_reader_refuses_it_or_reads_arrays(
    kept: tuple[ArtifactStore, Artifact, Path],
) -> None:
    store, artifact, path = kept
    whole, dice = path.read_bytes(), random.Random(6)
    refused = 0
    for number in range(ROUNDS):
        spoilt = SPOIL[number % len(SPOIL)](whole, dice)
        if spoilt == whole:
            spoilt = whole[:-1]
        path.write_bytes(spoilt)
        assert not store.verify(artifact), number
        try:
            arrays, about = unpack(path)
        except DataError:
            refused += 1
        else:
            assert isinstance(about, dict)
            digest(arrays)
    path.write_bytes(whole)
    assert store.verify(artifact)
    assert unpack(path)[1] == ABOUT
    assert refused >= ROUNDS // 3, "truncations and longer files, and most of what hits a header"


@pytest.mark.parametrize("instead", ["nothing", "folder", "dangling link"])
def test_a_missing_one_is_no_checkpoint(kept: tuple[ArtifactStore, Artifact, Path], instead: str) -> None:
    store, artifact, path = kept
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "dangling link":
        path.symlink_to(path.parent / "elsewhere")
    assert not store.verify(artifact)


def test_a_place_that_the_disk_cannot_read_is_no_checkpoint(
    kept: tuple[ArtifactStore, Artifact, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, artifact, _ = kept

    def unreadable(*_: object) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", unreadable)
    assert not store.verify(artifact)

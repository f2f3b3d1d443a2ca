"""Artifacts: durable, named by attempt, never overwritten, never outside their folder."""

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.artifacts import ArtifactStore
from services.errors import Conflict, Invalid, NotFound, StorageFull
from services.jobs import Artifact


@pytest.fixture
def files(tmp_path: Path) -> ArtifactStore:
    """An empty artifact folder."""
    return ArtifactStore(tmp_path / "artifacts")


def test_a_published_file_is_described_and_readable(files: ArtifactStore) -> None:
    artifact = files.publish("t", "j", 2, "model.safetensors", [b"one", b"two"])
    assert artifact == Artifact("model.safetensors", "t/j/a2/model.safetensors", _sha(b"onetwo"), 6, 2)
    with files.open(artifact) as file:
        assert file.read() == b"onetwo"
    assert files.verify(artifact)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_bytes_reach_the_disk_before_the_name_does(files: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, move = os.fsync, Path.replace

    def noted_sync(handle: int) -> None:
        steps.append("fsync")
        sync(handle)

    def noted_move(self: Path, to: Path) -> Path:
        steps.append("rename")
        return move(self, to)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_move)
    files.write_durable(files.path_for("t", "j", 1, "weights"), b"x")
    assert steps == ["fsync", "rename", "fsync"]


def test_an_artifact_is_never_overwritten(files: ArtifactStore) -> None:
    artifact = files.publish("t", "j", 1, "weights", b"first")
    with pytest.raises(Conflict):
        files.publish("t", "j", 1, "weights", b"second")
    assert files.verify(artifact)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "longer", "missing"])
def test_damage_is_noticed(files: ArtifactStore, damage: str) -> None:
    artifact = files.publish("t", "j", 1, "weights", b"0123456789")
    path = files.resolve(artifact.path)
    spoiled = {"truncated": b"01234", "flipped": b"0123456788", "longer": b"01234567890"}
    path.unlink() if damage == "missing" else path.write_bytes(spoiled[damage])
    assert not files.verify(artifact)


def test_a_missing_file_is_not_found(files: ArtifactStore) -> None:
    with pytest.raises(NotFound):
        files.open(Artifact("weights", "t/j/a1/weights", "", 0))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0b", "ü", "x" * 200, "a\n"])
def test_a_name_is_one_plain_step(files: ArtifactStore, name: str) -> None:
    with pytest.raises(Invalid):
        files.path_for("t", "j", 1, name)
    with pytest.raises(Invalid):
        files.path_for(name, "j", 1, "weights")


@pytest.mark.parametrize("path", ["", ".", "../x", "t/../../x", "/etc/passwd"])
def test_no_path_leads_outside(files: ArtifactStore, path: str) -> None:
    with pytest.raises(Invalid):
        files.resolve(path)


def test_no_link_leads_outside(files: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    files.path_for("t", "j", 1, "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Invalid):
        files.resolve("t/j/a1/link")


def test_paths_come_back_relative(files: ArtifactStore) -> None:
    path = files.path_for("t", "j", 3, "weights")
    assert files.relative(path) == files.relative("t/j/a3/weights") == "t/j/a3/weights"


def test_a_write_that_fails_leaves_nothing(files: ArtifactStore) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError(errno.ENOSPC, "No space left on device")

    path = files.path_for("t", "j", 1, "weights")
    with pytest.raises(StorageFull):
        files.write_durable(path, chunks())
    assert list(path.parent.iterdir()) == []


def test_removing_a_job_frees_its_disk_alone(files: ArtifactStore) -> None:
    gone = [files.publish("t", "j", attempt, "weights", b"x" * 100) for attempt in (1, 2)]
    kept = files.publish("t", "k", 1, "weights", b"x")
    assert files.remove("t", "j") == 200
    assert files.remove("t", "j") == 0
    assert not any(files.verify(artifact) for artifact in gone)
    assert files.verify(kept)
    files.remove_file(kept.path)
    files.remove_file(kept.path)
    assert not files.verify(replace(kept))

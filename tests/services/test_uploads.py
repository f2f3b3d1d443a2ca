"""The record and the files of uploads: private, known by content, nothing lost and nothing left over."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from services.errors import Conflict, Invalid, NotFound, StorageFull, TooLarge
from services.jobs import JobStore
from services.lease import Lease
from services.sql.ids import new_id
from services.uploads import folder as folder_module
from services.uploads.folder import UploadFolder
from services.uploads.library import for_trainer
from services.uploads.store import MOST_REPORTS, UploadStore
from services.uploads.values import Upload, check_name, is_upload_id, upload_id

NOBODY = "019ab0c2-6a1e-7c43-9f0e-3d2b1a0c9e8f"


@pytest.fixture
def uploads(engine: Engine) -> UploadStore:
    """The uploads in either kind of database."""
    return UploadStore(engine)


def content(text: str, name: str = "numbers", tenant: str = "ann", kind: str = "table") -> Upload:
    """An upload of some text."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    id, now = upload_id(tenant, sha256, kind), datetime(2026, 5, 4, tzinfo=UTC)
    return Upload(id, tenant, name, (), kind, sha256, len(text), new_id(), {"rows": 3}, {"found": text}, now)


def test_an_upload_is_found_by_id_and_by_name_and_carries_its_facts(uploads: UploadStore) -> None:
    added = uploads.add(content("a"), [{"x": 1}])
    assert added == uploads.get("ann", added.id) == uploads.get("ann", "numbers")
    assert (added.names, added.facts, added.report) == (("numbers",), {"rows": 3}, {"found": "a"})
    assert uploads.samples("ann", added.id) == [{"x": 1}]


def test_the_same_content_is_the_same_upload_whatever_it_is_called(uploads: UploadStore) -> None:
    first = uploads.add(content("a"), [])
    again = uploads.add(content("a", name="figures"), [])
    assert (again.id, again.file, again.names) == (first.id, first.file, ("figures", "numbers"))
    assert uploads.same("ann", "figures", first.sha256, None) == again
    assert uploads.same("ann", "figures", first.sha256, "series") is None
    assert uploads.same("ann", "others", first.sha256, None) is None


def test_the_same_content_of_another_tenant_or_kind_is_another_upload() -> None:
    ids = {content("a").id, content("a", tenant="bob").id, content("a", kind="series").id, content("b").id}
    assert len(ids) == 4
    assert all(map(is_upload_id, ids))


def test_a_name_means_the_newest_content_and_old_ids_stay(uploads: UploadStore) -> None:
    old, new = uploads.add(content("a"), []), uploads.add(content("b"), [])
    assert uploads.get("ann", "numbers") == new
    assert uploads.get("ann", old.id).names == ()
    uploads.remove("ann", new.id)
    assert uploads.names("ann") == []
    assert uploads.get("ann", old.id).title == "numbers"


def test_foreign_uploads_do_not_exist(uploads: UploadStore) -> None:
    mine = uploads.add(content("a"), [])
    for ref in (mine.id, "numbers"):
        for look in (uploads.get, uploads.samples, uploads.remove):
            with pytest.raises(NotFound) as found:
                look("bob", ref)
            assert "numbers" not in str(found.value.hint)
    assert uploads.find("bob").items == ()
    assert uploads.get("ann", mine.id) == mine


def test_an_unknown_name_is_guessed(uploads: UploadStore) -> None:
    uploads.add(content("a"), [])
    with pytest.raises(NotFound) as found:
        uploads.get("ann", "nubmers")
    assert "Did you mean 'numbers'?" in str(found.value.hint)


def test_lists_come_newest_first_page_by_page(uploads: UploadStore) -> None:
    ids = [uploads.add(content(str(k), name=f"n{k}"), []).id for k in range(5)][::-1]
    first = uploads.find("ann", limit=3)
    rest = uploads.find("ann", cursor=first.next_cursor, limit=3)
    assert [one.id for one in (*first.items, *rest.items)] == ids
    assert rest.next_cursor is None
    with pytest.raises(Invalid):
        uploads.find("ann", cursor="1; drop table uploads")


@pytest.mark.parametrize("ending", ["cancel", "fail"])
def test_an_upload_that_a_live_job_names_cannot_be_removed(engine: Engine, uploads: UploadStore, ending: str) -> None:
    upload, jobs = uploads.add(content("a"), []), JobStore(engine)
    job, _ = jobs.submit("ann", {"dataset": {"upload": upload.id, "target": "x"}}, {})
    with pytest.raises(Conflict, match=job.id):
        uploads.remove("ann", "numbers")
    if ending == "cancel":
        jobs.request_cancel("ann", job.id)
    else:
        lease = Lease.claim(engine, "w", {"cpu"})
        assert lease is not None
        with pytest.raises(Conflict):
            uploads.remove("ann", upload.id)
        lease.fail("internal_error", "why")
    assert uploads.remove("ann", upload.id).file == upload.file


def test_a_job_on_an_upload_that_is_gone_is_not_recorded(engine: Engine, uploads: UploadStore) -> None:
    gone, jobs = uploads.add(content("a"), []), JobStore(engine)
    uploads.remove("ann", gone.id)
    for tenant, upload in (("ann", gone.id), ("bob", uploads.add(content("b"), []).id)):
        with pytest.raises(NotFound):
            jobs.submit(tenant, {"dataset": {"upload": upload}}, {})
    assert jobs.find("ann").items == ()


def test_a_trainer_is_told_what_it_needs_and_nothing_about_built_in_data(uploads: UploadStore, tmp_path: Path) -> None:
    upload, folder = uploads.add(content("a"), []), UploadFolder(tmp_path)
    told = for_trainer(uploads, folder, "ann", {"dataset": {"upload": upload.id}})["upload"]
    assert (told["kind"], told["facts"], told["sha256"]) == ("table", {"rows": 3}, upload.sha256)
    assert told["path"] == str(tmp_path / "ann" / "uploads" / upload.file)
    assert for_trainer(uploads, folder, "ann", {"dataset": {"name": "iris"}}) == {}
    with pytest.raises(NotFound):
        for_trainer(uploads, folder, "bob", {"dataset": {"upload": upload.id}})


def test_reports_are_kept_by_wish_a_few_of_them_and_go_with_their_upload(uploads: UploadStore) -> None:
    id = uploads.add(content("a"), []).id
    for number in range(MOST_REPORTS + 3):
        uploads.keep_report(id, f"wish {number}", {"rows": number})
    assert uploads.report(id, "wish 0") is None
    assert uploads.report(id, f"wish {MOST_REPORTS + 2}") == {"rows": MOST_REPORTS + 2}
    uploads.remove("ann", id)
    uploads.keep_report(id, "wish 1", {})
    assert uploads.report(id, "wish 1") is None


@pytest.mark.parametrize("name", ["a", "Sales-2026.v1", "x" * 100, "0"])
def test_plain_words_are_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a b", "-x", ".x", "x" * 101, "ä", "a\0", "a\n", "ds_1", "%2e%2e"]
)
def test_what_could_lead_anywhere_else_is_no_name(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


@pytest.mark.parametrize("name", ["iris", "Fashion-MNIST", "fashion_mnist", "ETTh1"])
def test_the_names_of_built_in_data_sets_are_taken(name: str) -> None:
    with pytest.raises(Conflict):
        check_name(name)


@pytest.fixture
def folder(tmp_path: Path) -> UploadFolder:
    """A folder of files."""
    return UploadFolder(tmp_path)


def there(folder: UploadFolder) -> list[str]:
    """The names of all files."""
    return sorted(path.name for path in folder.artifacts.rglob("*") if path.is_file())


def test_a_file_that_was_kept_and_settled_stays_and_only_its_owner_reads_it(folder: UploadFolder) -> None:
    with folder.receive("ann", 100) as arrival:
        arrival.write(b"one ")
        arrival.write(b"two")
        assert (arrival.size, arrival.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
        name = arrival.keep()
        arrival.settle()
    assert there(folder) == [name]
    assert folder.path("ann", name).read_bytes() == b"one two"
    assert folder.path("ann", name).stat().st_mode & 0o777 == 0o600
    folder.remove("ann", name)
    assert there(folder) == []


@pytest.mark.parametrize("kept", [False, True])
def test_a_file_that_nobody_recorded_goes(folder: UploadFolder, kept: bool) -> None:
    with folder.receive("ann", 100) as arrival:
        arrival.write(b"one")
        if kept:
            arrival.keep()
    assert there(folder) == []


def test_a_file_beyond_the_limit_is_refused_as_soon_as_that_is_known(folder: UploadFolder) -> None:
    with pytest.raises(TooLarge, match="10 bytes"):
        folder.receive("ann", 10, expected=11)
    with folder.receive("ann", 10) as arrival:
        arrival.write(b"x" * 10)
        with pytest.raises(TooLarge):
            arrival.write(b"x")
    assert there(folder) == []


def test_a_full_disk_is_said_so_and_nothing_is_left(folder: UploadFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with folder.receive("ann", 10) as arrival:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageFull):
            arrival.write(b"x")
    assert there(folder) == []
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(StorageFull, match="5 bytes"):
        folder.receive("ann", 10, expected=6)


def test_a_path_is_made_of_ids_alone(folder: UploadFolder) -> None:
    for tenant, file in (("..", NOBODY), ("a/b", NOBODY), ("ann", "../../etc/passwd"), ("ann", "data.csv")):
        with pytest.raises((ValueError, Invalid)):
            folder.path(tenant, file)


def test_a_sweep_takes_what_a_crash_left_and_nothing_else(folder: UploadFolder) -> None:
    with folder.receive("ann", 100) as known:
        known.write(b"kept")
        kept = known.keep()
        known.settle()
    lost = folder.path("bob", new_id())
    lost.parent.mkdir(parents=True)
    for path in (lost, lost.with_name(f".{new_id()}.part")):
        path.write_bytes(b"left over")
    job = folder.artifacts / "ann" / NOBODY / "a1" / "model.safetensors"
    job.parent.mkdir(parents=True)
    job.write_bytes(b"weights")
    with folder.receive("ann", 100) as receiving:
        receiving.write(b"on its way")
        assert len(folder.sweep(lambda: {kept})) == 2
        assert there(folder) == sorted([kept, receiving.path.name, job.name])


def test_a_file_recorded_while_the_sweep_looks_stays(folder: UploadFolder) -> None:
    path = folder.path("ann", new_id())
    path.parent.mkdir(parents=True)
    path.write_bytes(b"new")
    answers: list[set[str]] = [set(), {path.name}]
    assert folder.sweep(lambda: answers.pop(0)) == []
    assert path.exists()


def test_a_held_file_is_not_abandoned(folder: UploadFolder) -> None:
    path = folder.path("ann", new_id())
    path.parent.mkdir(parents=True)
    path.write_bytes(b"new")
    nobody: Callable[[], set[str]] = set
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert folder.sweep(nobody) == []
    assert folder.sweep(nobody) == [path]

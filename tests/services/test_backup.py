"""A backup is whole, verified and taken while jobs run; a restore is that, or nothing; a record moves to PostgreSQL."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from services.artifacts import ArtifactStore
from services.backup import MANIFEST, Summary, backup, restore
from services.errors import Conflict, DataError, NotFound
from services.jobs import Checkpoint, JobState, JobStore
from services.keys import KeyStore
from services.lease import Lease
from services.settings import Settings
from services.sql.engine import migrate, open_engine, reading
from services.sql.moving import move
from services.sql.schema import METADATA
from tests.services.test_record_under_fire import _train

JOBS = 3


def house(folder: Path) -> Settings:
    return Settings(_env_file=None, data_dir=folder)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return house(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Settings:
    return house(tmp_path / "there")


@pytest.fixture
def live(here: Settings) -> Iterator[Engine]:
    """A record with an admin key and a few queued jobs."""
    engine = open_engine(here.prepare().database)
    migrate(engine)
    KeyStore(engine).ensure_admin(here.data_dir)
    for _ in range(JOBS):
        JobStore(engine).submit("t", {}, {})
    yield engine
    engine.dispose()


def work(engine: Engine, settings: Settings, begun: threading.Event | None = None) -> None:
    """Train until the queue is empty."""
    while (lease := Lease.claim(engine, "w", {"cpu"})) is not None:
        if begun is not None and lease.job.id != JobStore(engine).find("t").items[-1].id:
            begun.set()
        _train(lease, ArtifactStore(settings.artifacts_dir))


def finish(lease: Lease, settings: Settings) -> None:
    """Leave a checkpoint and a model, and succeed."""
    store, job = ArtifactStore(settings.artifacts_dir), lease.job.id
    file = store.publish("t", job, lease.attempt, "c3", job.encode())
    lease.checkpoint(Checkpoint(3, file.path, file.sha256, file.size), [(1, "loss", 0.5)])
    model = store.publish("t", job, lease.attempt, "model", job[::-1].encode())
    lease.succeed("completed", {"digest": model.sha256}, [model])


def finish_all(engine: Engine, settings: Settings) -> None:
    """Nothing is queued any more."""
    while (lease := Lease.claim(engine, "w", {"cpu"})) is not None:
        finish(lease, settings)


def digests(engine: Engine) -> dict[str, str]:
    """What every job's result says; all have succeeded."""
    found = JobStore(engine).find("t").items
    assert {job.state for job in found} == {JobState.SUCCEEDED}
    return {job.id: job.result["digest"] for job in found if job.result}


def test_jobs_that_run_during_a_backup_reach_the_same_end_where_it_is_restored(
    live: Engine, here: Settings, there: Settings, tmp_path: Path
) -> None:
    begun = threading.Event()
    worker = threading.Thread(target=work, args=(live, here, begun))
    worker.start()
    assert begun.wait(20)
    done = backup(here, tmp_path / "copy")
    worker.join()
    assert (done.jobs, done.bad) == (JOBS, ())
    assert restore(there, tmp_path / "copy").files == done.files
    assert (there.data_dir / "admin_key").read_text() == (here.data_dir / "admin_key").read_text()
    again = open_engine(there.database)
    store = JobStore(again)
    states = {job.state for job in store.find("t").items}
    assert JobState.SUCCEEDED in states
    assert states & {JobState.RUNNING, JobState.QUEUED}, "the backup came too late to show anything"
    for pulse in store.pulses():
        store.reap(pulse.job, pulse.attempt, pulse.beats, delay=0)
    work(again, there)
    assert digests(again) == digests(live)
    files = ArtifactStore(there.artifacts_dir)
    assert all(files.verify(file) for job in store.find("t").items for file in store.artifacts("t", job.id))
    again.dispose()
    assert not list(here.artifacts_dir.glob(".backup-*"))


@pytest.fixture
def copy(live: Engine, here: Settings, tmp_path: Path) -> Path:
    """A backup of finished jobs."""
    finish_all(live, here)
    folder = tmp_path / "copy"
    done = backup(here, folder)
    assert done == Summary(folder, JOBS, done.files, done.size)
    return folder


def test_nothing_is_overwritten(live: Engine, here: Settings, there: Settings, copy: Path) -> None:
    with pytest.raises(Conflict, match="is not empty"):
        backup(here, copy)
    with pytest.raises(Conflict, match="is not empty"):
        restore(here, copy)
    there.data_dir.mkdir()
    restore(there, copy)
    with pytest.raises(NotFound):
        restore(there, copy / "nowhere")
    assert not list(copy.parent.glob(".*"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "lose", "database", "manifest", "escape"])
def test_a_damaged_backup_is_not_restored(there: Settings, copy: Path, damage: str) -> None:
    victim = next((copy / "artifacts").rglob("model"))
    match damage:
        case "flip":
            victim.write_bytes(bytes([victim.read_bytes()[0] ^ 1]) + victim.read_bytes()[1:])
        case "truncate":
            victim.write_bytes(victim.read_bytes()[:-1])
        case "lose":
            victim.unlink()
        case "database":
            (copy / "trainyard.db").write_bytes(b"no database")
        case "manifest":
            (copy / MANIFEST).write_text("{")
        case "escape":
            about = json.loads((copy / MANIFEST).read_text())
            about["files"][0]["path"] = "../outside"
            (copy / MANIFEST).write_text(json.dumps(about))
    with pytest.raises(DataError):
        restore(there, copy)
    assert not there.data_dir.exists()
    assert not list(copy.parent.glob(".*"))


def test_a_backup_says_which_files_are_bad_and_holds_all_others(
    live: Engine, here: Settings, there: Settings, tmp_path: Path
) -> None:
    finish_all(live, here)
    good, bad, *_ = sorted(here.artifacts_dir.rglob("model"))
    bad.write_bytes(b"rotten")
    done = backup(here, tmp_path / "copy")
    assert done.bad == (bad.relative_to(here.artifacts_dir).as_posix(),)
    restore(there, tmp_path / "copy")
    assert (there.artifacts_dir / good.relative_to(here.artifacts_dir)).read_bytes() == good.read_bytes()


def test_a_file_that_goes_during_the_backup_is_looked_for_in_a_newer_snapshot(
    live: Engine, here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(live, here)
    ids = [job.id for job in JobStore(live).find("t").items]
    from services import backup as module

    genuine = module._snapshot

    def then_a_job_is_deleted(source: Path, target: Path) -> None:
        genuine(source, target)
        if ids:
            id = ids.pop()
            JobStore(live).delete("t", id)
            ArtifactStore(here.artifacts_dir).remove("t", id)

    monkeypatch.setattr(module, "_snapshot", then_a_job_is_deleted)
    monkeypatch.setattr(module, "TRIES", 10)
    done = backup(here, tmp_path / "copy")
    assert (done.jobs, done.bad) == (JOBS - 1, ())
    assert len(list((tmp_path / "copy" / "artifacts").rglob("model"))) == JOBS - 1


def test_files_that_cannot_be_linked_are_copied_all_the_same(
    live: Engine, here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(live, here)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("services.backup.os.link", refused)
    assert backup(here, tmp_path / "copy").bad == ()


def test_artifacts_outside_the_data_folder_go_back_to_where_the_settings_say(there: Settings, copy: Path) -> None:
    outside = there.model_copy(update={"artifacts_url": str(copy.parent / "elsewhere")})
    restore(outside, copy)
    assert list((copy.parent / "elsewhere").rglob("model"))
    assert not (there.data_dir / "artifacts").exists()
    shutil.rmtree(there.data_dir)
    with pytest.raises(Conflict, match="elsewhere is not empty"):
        restore(outside, copy)
    assert not there.data_dir.exists()


def test_with_postgresql_the_command_for_it_is_named(here: Settings, tmp_path: Path) -> None:
    settings = here.model_copy(update={"database_url": "postgresql://me:secret@db/trainyard"})
    with pytest.raises(Conflict) as refused:
        backup(settings, tmp_path / "copy")
    said = str(refused.value.hint)
    assert "pg_dump --format=custom" in said
    assert "secret" not in said
    with pytest.raises(Conflict, match="PostgreSQL"):
        restore(settings, tmp_path / "copy")


def test_a_record_moves_to_postgresql_and_goes_on_there(
    live: Engine, here: Settings, postgresql_engine: Engine
) -> None:
    lease = Lease.claim(live, "w", {"cpu"})
    assert lease is not None
    finish(lease, here)
    counts = move(live, postgresql_engine)
    with reading(postgresql_engine) as connection:
        for table in METADATA.sorted_tables:
            found = connection.execute(select(func.count()).select_from(table)).scalar()
            assert (table.name, found) == (table.name, counts[table.name])
    assert JobStore(postgresql_engine).find("t") == JobStore(live).find("t")
    finish_all(postgresql_engine, here)
    assert len(digests(postgresql_engine)) == JOBS
    numbers = [e.number for e in JobStore(postgresql_engine).events("t", JobStore(live).find("t").items[0].id)]
    assert numbers == sorted(set(numbers))
    with pytest.raises(Conflict, match="already"):
        move(live, postgresql_engine)


def test_a_snapshot_is_one_file(copy: Path) -> None:
    assert sorted(path.name for path in copy.iterdir()) == ["admin_key", "artifacts", "manifest.json", "trainyard.db"]
    raw = sqlite3.connect(copy / "trainyard.db")
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    raw.close()

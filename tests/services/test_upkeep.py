"""What nobody needs any more goes: files without a row, jobs past their time, old keys; what is needed stays."""

import os
import sqlite3
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from services.artifacts import ArtifactStore
from services.fleet import Device, Fleet, Worker
from services.jobs import Checkpoint, JobStore
from services.lease import Lease
from services.settings import Settings
from services.sql.engine import migrate, open_engine, reading, writing
from services.sql.schema import events, idempotency, jobs, metrics, upkeep, workers
from services.sql.types import utc_now
from services.upkeep import Upkeep, my_turn

DAY = timedelta(days=1)


@pytest.fixture
def files(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def sweep(engine: Engine, files: ArtifactStore) -> Upkeep:
    return Upkeep(engine, files, keep_finished=None, orphan_age=DAY)


def left(files: ArtifactStore, job: str, attempt: int, name: str, *, days: float = 2) -> Path:
    """A file that was written so many days ago."""
    path = files.attempt_folder("t", job, attempt) / name
    files.write_durable(path, b"x" * 100)
    return aged(path, days)


def aged(path: Path, days: float = 2) -> Path:
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def claimed(engine: Engine) -> Lease:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    return lease


def checkpoint(files: ArtifactStore, lease: Lease, step: int) -> Path:
    """Publish a checkpoint; its file is two days old."""
    file = files.publish("t", lease.job.id, lease.attempt, f"c{step}", b"state")
    lease.checkpoint(Checkpoint(step, file.path, file.sha256, file.size), [(step, "loss", 1.0)])
    return aged(files.resolve(file.path))


def test_only_files_that_nothing_refers_to_go(
    store: JobStore, engine: Engine, files: ArtifactStore, sweep: Upkeep
) -> None:
    job = store.submit("t", {}, {})[0].id
    lease = claimed(engine)
    kept = checkpoint(files, lease, 5)
    zombie = left(files, job, lease.attempt, ".model.ab12.tmp")
    model = files.publish("t", job, lease.attempt, "model", b"weights")
    lease.succeed("completed", {}, [model])
    deleted = left(files, "deleted-job", 1, "model")
    fresh = left(files, "deleted-job", 1, "fresh", days=0.5)
    done = sweep.round()
    assert (done.files, done.freed) == (2, 200)
    assert [path.exists() for path in (kept, files.resolve(model.path), fresh)] == [True, True, True]
    assert [path.exists() for path in (zombie, deleted)] == [False, False]
    aged(fresh)
    assert sweep.round().files == 1
    assert not fresh.parent.parent.exists()


def test_a_file_of_a_running_attempt_stays_however_old(
    store: JobStore, engine: Engine, files: ArtifactStore, sweep: Upkeep
) -> None:
    job = store.submit("t", {}, {})[0].id
    first = claimed(engine)
    orphan = left(files, job, first.attempt, "c3")
    first.requeue("drained", False, 0)
    second = claimed(engine)
    writing_now = left(files, job, second.attempt, "c4")
    empty = files.attempt_folder("t", job, 9)
    sweep.round()
    assert (orphan.exists(), writing_now.exists(), empty.exists()) == (False, True, True)


def test_a_checkpoint_of_the_parent_stays_as_long_as_a_retry_refers_to_it(
    store: JobStore, engine: Engine, files: ArtifactStore, sweep: Upkeep
) -> None:
    parent = store.submit("t", {}, {})[0].id
    lease = claimed(engine)
    shared = checkpoint(files, lease, 4)
    lease.fail("storage_full", "no space")
    store.submit("t", {}, {}, parent_id=parent, origin="retry", resume=True)
    sweep.round()
    assert shared.exists()


def test_uploads_that_no_row_knows_go_too(files: ArtifactStore, sweep: Upkeep) -> None:
    old = left(files, "uploads", 1, "x").rename(files.folder / "t" / "uploads" / "019ab0c2-lost")
    assert sweep.round().files == 1
    assert not old.exists()


def test_a_round_is_bounded_and_the_next_goes_on_there(
    files: ArtifactStore, sweep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.upkeep.MOST_FILES", 4)
    for job in range(6):
        left(files, f"job-{job}", 1, "model")
    assert [sweep.round().files for _ in range(4)] == [2, 2, 2, 0]


def test_finished_jobs_go_when_their_time_is_over_and_free_disk_and_rows(
    store: JobStore, engine: Engine, files: ArtifactStore
) -> None:
    ids = [store.submit("t", {}, {}, idempotency_key=f"k{n}")[0].id for n in range(3)]
    for _ in ids[:2]:
        lease = claimed(engine)
        model = files.publish("t", lease.job.id, 1, "model", b"x" * 1000)
        lease.succeed("completed", {}, [model], [(1, "loss", 1.0)])
    sweep = Upkeep(engine, files, keep_finished=DAY, orphan_age=DAY)
    assert sweep.round().jobs == 0
    later = Upkeep(engine, files, keep_finished=-DAY, orphan_age=DAY)
    done = later.round()
    assert (done.jobs, done.freed) == (2, 2000)
    assert [job.id for job in store.find("t").items] == [ids[2]]
    with reading(engine) as connection:
        left_over = [
            connection.execute(select(func.count()).select_from(table)).scalar() for table in (metrics, events)
        ]
        keys = connection.execute(select(func.count()).select_from(idempotency)).scalar()
    assert (left_over, keys) == ([0, 1], 1)
    assert not (files.folder / "t" / ids[0]).exists()


def test_keys_and_silent_workers_are_forgotten(store: JobStore, engine: Engine, sweep: Upkeep) -> None:
    job = store.submit("t", {}, {}, idempotency_key="k", body_sha="b")[0].id
    Fleet(engine).register(Worker("gone", "host", 1, Device("cpu", "a CPU")))
    assert sweep.round().rows == 0
    with writing(engine) as connection:
        connection.execute(update(idempotency).values(at=utc_now() - 8 * DAY))
        connection.execute(update(workers).values(seen_at=utc_now() - 2 * DAY))
    assert sweep.round().rows == 2
    assert store.submit("t", {}, {}, idempotency_key="k", body_sha="b")[0].id != job


def test_one_process_at_a_time_has_the_turn(engine: Engine) -> None:
    taken: list[bool] = []
    threads = [threading.Thread(target=lambda: taken.append(my_turn(engine, "sweep", 600))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1
    with writing(engine) as connection:
        connection.execute(update(upkeep).values(at=utc_now() + 400 * DAY))
    assert [my_turn(engine, "sweep", 600) for _ in range(2)] == [True, False]


def test_a_database_file_shrinks_after_jobs_are_deleted(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new.db")
    migrate(engine)
    store, keep = JobStore(engine), Upkeep(engine, ArtifactStore(tmp_path / "a"), None, DAY)
    job = store.submit("t", {"name": "x" * 2_000_000}, {})[0].id
    store.request_cancel("t", job)
    store.delete("t", job)
    full = pages(tmp_path / "new.db")
    keep.round()
    assert pages(tmp_path / "new.db") < full - 400
    engine.dispose()


def pages(file: Path) -> int:
    """How many pages the file has."""
    raw = sqlite3.connect(file)
    try:
        return int(raw.execute("PRAGMA page_count").fetchone()[0])
    finally:
        raw.close()


def test_old_kernels_go_but_for_the_newest_and_our_own(
    engine: Engine, files: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "kernels"
    for number in range(6):
        (cache / f"py311-numba1-{number}").mkdir(parents=True)
        aged(cache / f"py311-numba1-{number}", 40 + number)
    monkeypatch.setattr("services.upkeep.fingerprint", lambda: "5")
    Upkeep(engine, files, None, DAY, cache).round()
    assert sorted(folder.name[-1] for folder in cache.iterdir()) == ["0", "1", "5"]


def test_the_settings_say_what_is_kept(tmp_path: Path, engine: Engine) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    assert Upkeep.of(engine, settings).keep_finished is None
    kept = Upkeep.of(engine, settings.model_copy(update={"keep_finished_days": 30.0})).keep_finished
    assert kept == timedelta(days=30)


def test_a_job_that_a_live_retry_needs_is_not_past_its_time(
    store: JobStore, engine: Engine, files: ArtifactStore
) -> None:
    parent = store.submit("t", {}, {})[0].id
    lease = claimed(engine)
    checkpoint(files, lease, 4)
    lease.fail("storage_full", "no space")
    store.submit("t", {}, {}, parent_id=parent, origin="retry", resume=True)
    assert Upkeep(engine, files, -DAY, DAY).round().jobs == 0
    assert store.get("t", parent)
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(jobs)).scalar() == 2

"""One attempt under supervision: every way it can go, with a real trainer process and a real record."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.artifacts import ArtifactStore
from services.jobs import Job, JobState, JobStore, Reason
from services.lease import Lease
from tests.workers.conftest import QUICK, alive, until
from workers.ledger import Pace
from workers.spawner import Spawner
from workers.supervisor import supervise

Submit = Callable[..., Job]
Claim = Callable[[], Lease]
Attend = Callable[..., str]


@pytest.fixture
def attend(spawner: Spawner, artifacts: ArtifactStore, claim: Claim, tmp_path: Any) -> Attend:
    """Claim the next job and supervise one attempt of it."""

    def attend(*, draining: Callable[[], bool] = lambda: False, pace: Pace = QUICK) -> str:
        return supervise(
            claim(), spawner, artifacts, device="cpu", threads=1, datasets_dir=tmp_path, draining=draining, pace=pace
        )

    return attend


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Run `act` beside the body; its failure is a failure of the test."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    if failed:
        raise failed[0]


def pids_of(artifacts: ArtifactStore) -> list[int]:
    """The processes of the play `forever`, once it has begun."""
    found = until(lambda: [p for p in artifacts.folder.rglob("pids") if p.read_text().count(" ")], what="the trainer")
    return [int(pid) for pid in found[0].read_text().split()]


def hasten(database: Engine) -> None:
    """Let a job that waits for its back-off be due now."""
    with database.begin() as connection:
        connection.execute(text("UPDATE jobs SET not_before = created_at"))


def test_a_job_that_trains_succeeds_with_metrics_log_data_and_model(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore
) -> None:
    job = submit("train", steps=5)
    assert attend() == JobState.SUCCEEDED
    done = jobs.get("course", job.id)
    assert (done.state, done.reason, done.result) == (JobState.SUCCEEDED, Reason.COMPLETED, {"steps": 5})
    assert done.progress == 1.0
    assert done.data == {"name": "numbers", "threads": 1, "device": "cpu"}
    assert [(p.step, p.value) for p in jobs.metrics("course", job.id)] == [(s, 1 / s) for s in range(1, 6)]
    assert "training begins \\x1b[31mred\\x1b[0m" in [event.data["text"] for event in jobs.logs("course", job.id)]
    [model] = jobs.artifacts("course", job.id)
    assert artifacts.resolve(model.path).read_bytes() == b"1 2 3 4 5"


def test_failure_carries_its_reason_and_message(attend: Attend, submit: Submit, jobs: JobStore) -> None:
    job = submit("fail")
    assert attend() == JobState.FAILED
    failed = jobs.get("course", job.id)
    assert (failed.reason, failed.message) == (Reason.DIVERGED, "The loss is no number.")


@pytest.mark.parametrize(("error", "reason"), [("memory", Reason.OUT_OF_MEMORY), ("value", Reason.INTERNAL_ERROR)])
def test_an_exception_fails_the_job_and_its_trace_is_in_the_log(
    attend: Attend, submit: Submit, jobs: JobStore, error: str, reason: Reason
) -> None:
    job = submit("raise", error=error)
    assert attend() == JobState.FAILED
    assert jobs.get("course", job.id).reason == reason
    assert any("play_raise" in event.data["text"] for event in jobs.logs("course", job.id))


def test_cancel_kills_the_trainer_and_its_children_within_seconds(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore
) -> None:
    job = submit("forever")
    asked: list[float] = []

    def cancel() -> None:
        pids_of(artifacts)
        jobs.request_cancel("course", job.id)
        asked.append(time.monotonic())

    with meanwhile(cancel):
        assert attend() == JobState.CANCELLED
    assert time.monotonic() - asked[0] < 5
    assert jobs.get("course", job.id).state == JobState.CANCELLED
    for pid in pids_of(artifacts):
        until(lambda pid=pid: not alive(pid), 2, f"the end of process {pid}")


def test_stop_finishes_now_and_keeps_the_model(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore
) -> None:
    job = submit("train", steps=10_000, pause=0.01)

    def stop() -> None:
        until(lambda: jobs.get("course", job.id).step >= 2)
        jobs.request_stop("course", job.id)

    with meanwhile(stop):
        assert attend() == JobState.SUCCEEDED
    done = jobs.get("course", job.id)
    assert done.reason == Reason.STOPPED_BY_USER
    assert 2 <= done.result["steps"] < 10_000  # type: ignore[index]
    assert artifacts.verify(jobs.artifacts("course", job.id)[0])


def test_a_killed_trainer_sends_the_job_back_and_the_second_attempt_goes_on_from_the_checkpoint(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore, database: Engine
) -> None:
    job = submit("train", steps=7, die_at=4)
    assert attend() == JobState.QUEUED
    waiting = jobs.get("course", job.id)
    assert (waiting.state, waiting.checkpoint_step) == (JobState.QUEUED, 4)
    assert "signal 9" in (jobs.attempts("course", job.id)[0].message or "")
    hasten(database)
    assert attend() == JobState.SUCCEEDED
    assert jobs.get("course", job.id).attempt == 2
    assert [p.step for p in jobs.metrics("course", job.id)] == list(range(1, 8))
    assert artifacts.resolve(jobs.artifacts("course", job.id)[0].path).read_bytes() == b"1 2 3 4 5 6 7"


def test_a_damaged_checkpoint_is_given_up_for_the_one_before_it(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore, database: Engine
) -> None:
    job = submit("train", steps=7, die_at=4)
    attend()
    hasten(database)
    [file] = artifacts.folder.rglob("step4")
    file.chmod(0o600)
    file.write_bytes(b"1 2 3 5")
    attend()  # begins anew, and dies at the same place
    hasten(database)
    assert attend() == JobState.SUCCEEDED
    assert artifacts.resolve(jobs.artifacts("course", job.id)[0].path).read_bytes() == b"1 2 3 4 5 6 7"
    assert any("step 4 is damaged" in line.data["text"] for line in jobs.logs("course", job.id))


def test_a_job_that_kills_its_trainer_every_time_is_given_up(
    attend: Attend, submit: Submit, jobs: JobStore, database: Engine
) -> None:
    job = submit("die")
    states = []
    while not states or states[-1] == JobState.QUEUED:
        hasten(database)
        states.append(attend())
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert jobs.get("course", job.id).reason == Reason.POISON


def test_a_lost_device_is_not_held_against_the_job(attend: Attend, submit: Submit, jobs: JobStore) -> None:
    job = submit("die", status=71)
    assert attend() == JobState.QUEUED
    assert "device" in (jobs.attempts("course", job.id)[0].message or "")


def test_a_stale_attempt_is_killed_and_writes_nothing_more(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore, database: Engine
) -> None:
    job = submit("forever")

    def take_over() -> None:
        pids_of(artifacts)
        for _ in range(100):
            pulse = jobs.pulses()[0]
            if jobs.reap(pulse.job, pulse.attempt, pulse.beats):
                break
        else:
            pytest.fail("the holder was never caught between two heartbeats")
        hasten(database)
        assert Lease.claim(database, "another", {"cpu"}) is not None

    with meanwhile(take_over):
        assert attend() == "lease_lost"
    now = jobs.get("course", job.id)
    assert (now.state, now.attempt, now.owner) == (JobState.RUNNING, 2, "another")
    for pid in pids_of(artifacts):
        until(lambda pid=pid: not alive(pid), 2, f"the end of process {pid}")


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\n",
        b'{"type":"done"}\n',
        b'{"type":"progress","step":-1}\n',
        b'{"type":"metrics","step":1,"values":{},"also":1}\n',
        b"\xff\x00\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"type":"checkpoint","step":1,"path":"/etc/passwd","sha256":"' + b"0" * 64 + b'","size":1}\n',
    ],
    ids=["words", "incomplete", "negative", "unknown-key", "bytes", "nesting", "path-outside"],
)
def test_garbage_on_the_protocol_pipe_is_an_internal_error_not_a_crash(
    attend: Attend, submit: Submit, jobs: JobStore, garbage: bytes
) -> None:
    job = submit("garbage", bytes=garbage.hex())
    assert attend() == JobState.FAILED
    assert jobs.get("course", job.id).reason == Reason.INTERNAL_ERROR


def test_a_log_line_of_100_megabytes_stays_small_and_so_do_very_many_lines(
    attend: Attend, submit: Submit, jobs: JobStore
) -> None:
    job = submit("noise", megabytes=100, lines=30_000)
    assert attend(pace=replace(QUICK, hang=60.0)) == JobState.SUCCEEDED
    texts, after = [], 0
    while page := jobs.logs("course", job.id, after, 1000):
        texts += [event.data["text"] for event in page]
        after = page[-1].number
    assert texts[0].endswith("bytes cut]")
    assert max(map(len, texts)) <= 2_100
    assert 1_000 < len(texts) <= 10_001
    assert "log is full" in texts[-1]


@pytest.mark.parametrize("play", ["hang", "chatter"])
def test_a_trainer_that_makes_no_progress_is_killed_and_the_job_goes_back(
    attend: Attend, submit: Submit, jobs: JobStore, play: str
) -> None:
    job = submit(play)
    assert attend() == JobState.QUEUED
    assert "no progress" in (jobs.attempts("course", job.id)[0].message or "")


def test_a_job_ends_when_its_time_is_up(attend: Attend, submit: Submit, jobs: JobStore) -> None:
    job = submit("forever", resources={"max_runtime": 1})
    began = time.monotonic()
    assert attend() == JobState.FAILED
    assert time.monotonic() - began < 5
    assert jobs.get("course", job.id).reason == Reason.MAX_RUNTIME_EXCEEDED


def test_draining_writes_a_checkpoint_and_the_job_goes_back_at_once(
    attend: Attend, submit: Submit, jobs: JobStore
) -> None:
    job = submit("train", steps=10_000, pause=0.01, every=10_000)
    drain = threading.Event()

    def drain_soon() -> None:
        until(lambda: jobs.get("course", job.id).step >= 3)
        drain.set()

    with meanwhile(drain_soon):
        assert attend(draining=drain.is_set) == JobState.QUEUED
    back = jobs.get("course", job.id)
    assert back.checkpoint_step is not None
    assert back.checkpoint_step >= 3
    assert jobs.bells() == [job.id]


def test_a_trainer_deaf_to_draining_is_killed(attend: Attend, submit: Submit, jobs: JobStore) -> None:
    submit("forever")
    began = time.monotonic()
    assert attend(draining=lambda: True, pace=replace(QUICK, drain=0.5)) == JobState.QUEUED
    assert time.monotonic() - began < 4


def test_a_dead_zygote_takes_its_trainer_along_and_is_replaced(
    attend: Attend, submit: Submit, jobs: JobStore, artifacts: ArtifactStore, spawner: Spawner, database: Engine
) -> None:
    job = submit("forever")

    def kill_zygote() -> None:
        pids_of(artifacts)
        assert spawner.pid is not None
        os.kill(spawner.pid, signal.SIGKILL)

    with meanwhile(kill_zygote):
        assert attend() == JobState.QUEUED
    assert not any(map(alive, pids_of(artifacts)))
    jobs.request_cancel("course", job.id)
    submit("train")
    assert attend() == JobState.SUCCEEDED


@pytest.mark.parametrize(
    "claim_of", [{"sha256": "0" * 64}, {"size": 1}, {"path": "/etc/hostname"}], ids=["hash", "size", "elsewhere"]
)
def test_a_model_that_is_not_what_was_written_is_not_accepted(
    attend: Attend, submit: Submit, jobs: JobStore, claim_of: dict[str, Any]
) -> None:
    job = submit("lie", claim=claim_of)
    assert attend() in {JobState.QUEUED, JobState.FAILED}
    assert jobs.artifacts("course", job.id) == []

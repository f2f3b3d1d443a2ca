"""Memory: how much there really is, what a trainer may take, and how it ends when that is too little."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.artifacts import ArtifactStore
from services.fleet import Device, Fleet
from services.footprint import CONTEXT
from services.jobs import Job, JobState, JobStore, Reason
from services.lease import Lease
from services.settings import Settings
from tests.api.stage import iris
from tests.workers.conftest import ENGINE, QUICK, ROOT
from tests.workers.test_supervisor import hasten
from workers import gpu, memory
from workers.gpu import Choice
from workers.memory import Watch, allowance, crowded_out
from workers.spawner import Spawner
from workers.station import Duty, Station
from workers.supervisor import supervise

MIB, GIB = 2**20, 2**30
# Memory is what ends a trainer here, never its silence.
PATIENT = replace(QUICK, hang=60.0)
Attend = Callable[..., str]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's files of a machine with 16 GiB, 12 of them available; `proc` and `cgroup` below the folder."""
    files = {
        "proc/meminfo": f"MemTotal: {16 * MIB} kB\nMemAvailable: {12 * MIB} kB\n",
        "proc/vmstat": "pgfault 1\noom_kill 3\n",
        "proc/self/cgroup": "0::/\n",
    }
    write(tmp_path, files)
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


def write(folder: Path, files: dict[str, Any]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))


def version_2(machine: Path, group: str, limit: Any, used: int, cache: int = 0, kills: int = 0) -> None:
    """A control group of version 2."""
    write(machine, {
        "cgroup/cgroup.controllers": "memory",
        f"cgroup{group}/memory.max": limit, f"cgroup{group}/memory.current": used,
        f"cgroup{group}/memory.stat": f"anon 5\ninactive_file {cache}\n",
        f"cgroup{group}/memory.events": f"max 9\noom 2\noom_kill {kills}\n",
    })  # fmt: skip


# How much there is


def test_without_a_limit_the_machine_counts(machine: Path) -> None:
    assert (memory.total(), memory.free(), memory.kills()) == (16 * GIB, 12 * GIB, 3)


def test_the_tightest_group_of_version_2_counts_and_its_cache_is_free(machine: Path) -> None:
    write(machine, {"proc/self/cgroup": "0::/pod/box\n"})
    version_2(machine, "", "max", 9 * GIB)
    version_2(machine, "/pod", 8 * GIB, 5 * GIB, 1 * GIB)
    version_2(machine, "/pod/box", 4 * GIB, 3 * GIB, 2 * GIB, kills=7)
    assert (memory.total(), memory.free(), memory.kills()) == (4 * GIB, 3 * GIB, 7)


def test_in_a_container_the_own_group_is_the_root(machine: Path) -> None:
    write(machine, {"proc/self/cgroup": "0::/../../not/seen/from/here\n"})
    version_2(machine, "", 2 * GIB, 1 * GIB)
    assert (memory.total(), memory.free()) == (2 * GIB, 1 * GIB)


def test_version_1_is_understood_and_its_no_limit_is_none(machine: Path) -> None:
    write(machine, {
        "proc/self/cgroup": "9:name=systemd:/\n4:memory:/box\n0::/\n",
        "cgroup/memory/memory.limit_in_bytes": 9223372036854771712, "cgroup/memory/memory.usage_in_bytes": 9,
        "cgroup/memory/box/memory.limit_in_bytes": 3 * GIB, "cgroup/memory/box/memory.usage_in_bytes": 2 * GIB,
        "cgroup/memory/box/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}\n",
        "cgroup/memory/box/memory.oom_control": "under_oom 0\noom_kill 2\n",
    })  # fmt: skip
    assert (memory.total(), memory.free(), memory.kills()) == (3 * GIB, 2 * GIB, 2)


def test_a_limit_of_the_process_counts() -> None:
    limit = "import resource as r; r.setrlimit(r.RLIMIT_AS, (2**31, 2**31))"
    asks = f"{limit}; from workers import memory; print(memory.total())"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(done.stdout) <= 2**31


# What a trainer may take


def test_a_job_may_take_twice_what_was_foreseen_as_far_as_it_is_there() -> None:
    assert allowance(0, 5 * GIB) is None
    assert allowance(1 * GIB, None) == 2 * GIB
    assert allowance(1 * GIB, 9 * GIB) == 2 * GIB
    assert allowance(4 * GIB, 5 * GIB) == 5 * GIB


def test_on_a_gpu_the_pool_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_GPU_MEMORY_LIMIT", "")
    memory.bind(CONTEXT + 5 * GIB, "cuda:0", 1)
    assert os.environ["CUPY_GPU_MEMORY_LIMIT"] == str(5 * GIB)


@pytest.mark.parametrize(
    ("taken", "limit", "strangers"), [("2,048", "1,000,000", True), ("999,424", "1,000,000", False)]
)
def test_a_gpu_that_refuses_what_the_pool_allows_is_crowded(taken: str, limit: str, strangers: bool) -> None:
    said = f"Out of memory allocating 1,024 bytes (allocated so far: {taken} bytes, limit set to: {limit} bytes)."
    assert crowded_out(said) is strangers
    assert not crowded_out("Unable to allocate 3 GiB")


def test_a_kill_that_the_kernel_counted_is_evidence_and_so_is_a_full_allowance(machine: Path) -> None:
    watch = Watch(1, None)
    assert not watch.died_of_it(-9)
    write(
        machine, {"proc/vmstat": "oom_kill 4\n", "proc/1/statm": f"900 {100 * MIB // os.sysconf('SC_PAGE_SIZE')} 0\n"}
    )
    assert watch.died_of_it(-9)
    assert not watch.died_of_it(1)
    full = Watch(1, 105 * MIB)
    assert not full.exceeded()
    assert full.died_of_it(-6)
    assert Watch(1, 99 * MIB).exceeded()
    assert not Watch(1, 99 * MIB, "gpu").exceeded()


# How it ends


@pytest.fixture
def attend(spawner: Spawner, artifacts: ArtifactStore, claim: Callable[[], Lease], tmp_path: Any) -> Attend:
    """Claim the next job and supervise one attempt of it, with an allowance."""

    def attend(memory: int | None, device: str = "cpu") -> str:
        return supervise(
            claim(), spawner, artifacts, device=device, threads=1, datasets_dir=tmp_path, draining=lambda: False,
            pace=PATIENT, memory=memory,
        )  # fmt: skip

    return attend


def hungry(jobs: JobStore, **play: Any) -> Job:
    """A job whose spec is whole, so that there can be advice, and whose trainer plays `play`."""
    plan = {"memory": {"cpu": {"total": 450 * MIB}, "gpu": {"total": 450 * MIB}}}
    return jobs.submit("course", iris() | play, plan)[0]


def test_one_great_piece_too_many_ends_at_once_with_the_numbers(attend: Attend, jobs: JobStore) -> None:
    job = hungry(jobs, play="grow", megabytes=3000)
    assert attend(200 * MIB) == JobState.FAILED
    failed = jobs.get("course", job.id)
    assert failed.reason == Reason.OUT_OF_MEMORY
    assert failed.message is not None
    assert "MemoryError" in failed.message
    assert "450 MiB were foreseen, 200 MiB were there for it." in failed.message


def test_a_trainer_that_grows_beyond_its_allowance_is_ended(attend: Attend, jobs: JobStore) -> None:
    job = hungry(jobs, play="grow", megabytes=40, pause=0.05)
    assert attend(200 * MIB) == JobState.FAILED
    failed = jobs.get("course", job.id)
    assert (failed.reason, failed.attempt) == (Reason.OUT_OF_MEMORY, 1)
    assert "The trainer took" in (failed.message or "")


def test_a_trainer_killed_for_memory_is_tried_again_twice_and_then_failed(
    attend: Attend, jobs: JobStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = iter(range(100))
    monkeypatch.setattr(memory, "kills", lambda: next(counted))
    job = jobs.submit("course", {"play": "train", "name": "x", "die_at": 1, "every": 10}, {})[0]
    states = []
    for _ in range(3):
        hasten(database)
        states.append(attend(None))
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert jobs.get("course", job.id).reason == Reason.OUT_OF_MEMORY
    assert all("want of memory" in (attempt.message or "") for attempt in jobs.attempts("course", job.id))


def test_memory_taken_by_strangers_is_waited_for_and_not_held_against_the_job(
    attend: Attend, jobs: JobStore, database: Engine
) -> None:
    job = hungry(jobs, play="crowded")
    for attempt in range(1, 13):
        hasten(database)
        assert attend(None) == JobState.QUEUED
        now = jobs.get("course", job.id)
        assert now.attempt == attempt
    assert "Others have taken the memory" in (now.message or "")


# Before it begins


def test_a_station_leaves_what_does_not_fit_and_takes_the_next(
    tmp_path: Path, jobs: JobStore, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(gpu, "free_memory", lambda choice: 4 * GIB)
    choice = Choice(Device("gpu", "H100", 80 * GIB, 80 * GIB), frozenset({"gpu"}), "-1", "cuda:0")
    (tmp_path / "busy").touch()
    heard, said = os.pipe()
    duty = Duty(
        Settings(data_dir=tmp_path), choice, "gpu0@lab-1", 1, tmp_path / "busy", heard, QUICK, ENGINE, ["hashlib"]
    )
    station = Station(duty, ringing=lambda job, kind: True)
    Fleet(jobs.engine).register(worker_of(station, choice))
    try:
        large = jobs.submit("course", {"play": "train", "name": "large"}, {"memory": {"gpu": {"total": 12 * GIB}}})[0]
        small = jobs.submit("course", {"play": "train", "name": "small"}, {"memory": {"gpu": {"total": 1 * GIB}}})[0]
        assert station.work() == 1
        assert [jobs.get("course", job.id).state for job in (large, small)] == ["queued", "succeeded"]
        Fleet(jobs.engine).seen(station.id, memory_free=4 * GIB)
        waiting = jobs.queue_of(jobs.get("course", large.id)).waiting_for
        assert waiting == "12.0 GiB free on gpu0@lab; 4.0 GiB are free"
    finally:
        station.close()
        os.close(heard)
        os.close(said)


def worker_of(station: Station, choice: Choice) -> Any:
    """The row of a station."""
    from services.fleet import Worker

    return Worker(station.id, "lab", os.getpid(), choice.device)

"""The zygote and its trainers as processes: clean before the fork, alone after it, gone at the end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import ENGINE, alive, environment, until
from workers.spawner import Spawner, TrainerProcess, ZygoteLost, trainer_environment
from workers.trainer import ENGINE as REAL_ENGINE
from workers.trainer import NICENESS


@pytest.fixture
def trainer(spawner: Spawner, tmp_path: Path) -> Iterator[TrainerProcess]:
    """A trainer that trains for ever."""
    process = spawner.trainer(request(tmp_path, play="forever"))
    until((tmp_path / "pids").exists)
    yield process
    process.close()


def request(folder: Path, **spec: Any) -> dict[str, Any]:
    return {
        "spec": spec, "folder": str(folder), "resume": None, "device": "cpu", "threads": 1, "datasets_dir": str(folder)
    }  # fmt: skip


def descriptors(pid: int) -> dict[int, str]:
    folder = Path(f"/proc/{pid}/fd")
    return {int(entry.name): os.readlink(entry) for entry in folder.iterdir()}


def test_a_trainer_has_its_own_session_and_no_file_but_its_pipes(trainer: TrainerProcess) -> None:
    assert os.getsid(trainer.pid) == trainer.pid != os.getsid(0)
    files = descriptors(trainer.pid)
    assert all(files[number].startswith("pipe:") for number in (0, 1, 2, 3))
    assert set(files.values()) - {files[number] for number in (0, 1, 2, 3)} <= {"/dev/null"}


def test_a_trainer_gives_way_to_everything_else(trainer: TrainerProcess) -> None:
    assert os.getpriority(os.PRIO_PROCESS, trainer.pid) == NICENESS
    group = Path(f"/proc/{trainer.pid}/autogroup")
    assert not group.exists() or group.read_text().split()[-1] == str(NICENESS)


def test_a_trainer_sees_one_device_and_neither_database_nor_broker() -> None:
    base = {"TRAINYARD_DATABASE_URL": "postgresql://…", "TRAINYARD_REDIS_URL": "redis://…", "PATH": "/bin"}
    seen = trainer_environment(base, cuda_devices="GPU-1", threads=3)
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert (seen["NUMBA_THREADING_LAYER"], seen["NUMBA_NUM_THREADS"]) == ("workqueue", "3")
    assert (seen["OPENBLAS_NUM_THREADS"], seen["PATH"]) == ("1", "/bin")
    assert not {"TRAINYARD_DATABASE_URL", "TRAINYARD_REDIS_URL"} & set(seen)


def test_closing_ends_the_trainer_its_children_and_the_zombie(spawner: Spawner, trainer: TrainerProcess) -> None:
    zygote = spawner.pid
    trainer.kill()
    until(trainer.check, what="the trainer's end")
    assert trainer.status == -9
    assert Path(f"/proc/{trainer.pid}").exists(), "the zombie holds its number until nobody needs it"
    assert alive(zygote or 0)


def test_a_trainer_whose_supervisor_hangs_up_ends_by_itself(trainer: TrainerProcess) -> None:
    os.close(trainer._stdin)
    trainer._stdin = os.open(os.devnull, os.O_WRONLY)
    until(trainer.check, what="the trainer's end")
    assert trainer.status == 75


def test_when_the_parent_dies_zygote_and_trainer_die_with_it(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from tests.workers.conftest import ENGINE, environment
from tests.workers.test_zygote import request
from workers.spawner import Spawner, trainer_environment
spawner = Spawner(trainer_environment(environment(), cuda_devices="-1", threads=1), engine=ENGINE, preload=[])
trainer = spawner.trainer(request(Path({str(tmp_path)!r}), play="train", steps=10**9, pause=0.1))
print(spawner.pid, trainer.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert all(map(alive, pids))
        parent.kill()
    for pid in pids:
        until(lambda pid=pid: not alive(pid), 5, f"the end of process {pid}")


def test_an_engine_that_cannot_be_imported_is_a_lost_zygote() -> None:
    spawner = Spawner(environment(), engine="tests.workers.no_such_module:run", preload=[])
    with pytest.raises(ZygoteLost):
        spawner.wait_ready()
    spawner.close()


def test_the_zygote_has_one_thread_when_it_has_imported_everything() -> None:
    spawner = Spawner(trainer_environment(environment(), cuda_devices="-1", threads=2), engine=REAL_ENGINE)
    try:
        spawner.wait_ready()
        assert spawner.threads == 1
    finally:
        spawner.close()


def test_a_trainer_can_be_run_by_hand(tmp_path: Path) -> None:
    import json

    told = json.dumps(request(tmp_path, play="train", steps=2)).encode() + b"\n"
    command = [sys.executable, "-m", "workers.trainer", "--engine", ENGINE]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(told)
        process.stdin.flush()
        said = [json.loads(line) for line in process.stdout if line.startswith(b"{")]
    assert said[-1]["type"] == "done"

"""Finding devices without CUDA."""

from pathlib import Path

import pytest

from workers import gpu
from workers.gpu import Gpu, NoSuchDevice, choose, describe_cpu, visible_gpus

TWO = [Gpu("0", "GPU-aaaa", "H100", 80 << 30, 79 << 30), Gpu("1", "GPU-bbbb", "H200", 141 << 30, 140 << 30)]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu, "_listed", lambda: TWO)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_listed", list)
    monkeypatch.setattr(gpu, "_device_files", list)


def test_the_cpu_is_described_by_model_cores_and_memory() -> None:
    device = describe_cpu()
    assert device.kind == "cpu"
    assert "cores)" in device.name
    assert device.memory_total is not None
    assert 0 < (device.memory_free or 0) <= device.memory_total


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_on_a_machine_without_gpu_and_a_gpu_is_refused_there() -> None:
    choice = choose("auto")
    assert (choice.takes, choice.cuda_devices, choice.trainer_device) == (frozenset({"cpu"}), "-1", "cpu")
    with pytest.raises(NoSuchDevice, match=r"0 GPU"):
        choose("gpu:0")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_worker_sees_its_gpu_alone_and_calls_it_the_first() -> None:
    choice = choose("gpu:1")
    assert (choice.takes, choice.cuda_devices, choice.trainer_device) == (frozenset({"gpu"}), "GPU-bbbb", "cuda:0")
    assert (choice.device.name, choice.device.memory_total) == ("H200", 141 << 30)
    assert choose("auto").cuda_devices == "GPU-aaaa"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("variable", "expected"),
    [("1", ["1"]), ("1,0", ["1", "0"]), ("", []), ("-1", []), ("0,7,1", ["0"]), ("GPU-bb", ["1"])],
)
def test_cuda_visible_devices_is_heeded_as_cuda_does(variable: str, expected: list[str]) -> None:
    assert [found.index for found in visible_gpus({"CUDA_VISIBLE_DEVICES": variable})] == expected


@pytest.mark.parametrize("name", ["tpu", "gpu:x", "cpu:0", "auto:1", "gpu:-1"])
def test_an_unknown_device_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(NoSuchDevice, match="Known: auto, cpu, gpu"):
        choose(name)


def test_device_files_count_when_the_driver_tool_is_missing(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert [found.index for found in gpu._device_files(tmp_path)] == ["0", "1"]


def test_a_strange_line_of_the_driver_tool_is_passed_over() -> None:
    assert gpu._gpu(["No devices were found"]) is None
    found = gpu._gpu(["0", "GPU-1", "H100", "81559", "[N/A]"])
    assert found is not None
    assert (found.memory_total, found.memory_free) == (81559 << 20, None)

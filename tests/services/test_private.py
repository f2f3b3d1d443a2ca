"""Folders and files that are nobody else's business."""

from pathlib import Path

import pytest

from services.errors import Forbidden
from services.private import check_kernel_cache, read_private, write_private


def test_a_private_file_is_replaced_in_one_step_and_never_readable(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert read_private(file) is None
    for text in ("one", "two"):
        write_private(file, text)
        assert read_private(file) == text
        assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_of_kernels_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_KERNEL_CACHE", str(tmp_path / "a" / "kernels"))
    check_kernel_cache()
    assert (tmp_path / "a" / "kernels").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_compiled_kernels_that_others_could_have_written_are_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    tmp_path.chmod(mode)
    monkeypatch.setenv("TRAINYARD_KERNEL_CACHE", str(tmp_path))
    with pytest.raises(Forbidden, match="Others may write"):
        check_kernel_cache()

"""Downloads: a right SHA-256 is enough wherever the file lies, a wrong one never is, the network comes last."""

import gzip
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.datasets.base import Card
from services.datasets.download import RemoteFile, fetch
from services.datasets.images import FASHION_FILES, MNIST_FILES, IdxFiles
from services.errors import DataError

CONTENT = bytes(range(256)) * 1000
RIGHT = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def shop() -> Iterator[str]:
    """A web server on a free loopback port that serves CONTENT as /good, /short as half of it, and nothing else."""

    class Shop(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {"/good/file.bin": CONTENT, "/short/file.bin": CONTENT[:1000]}.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def remote(*urls: str) -> RemoteFile:
    return RemoteFile("file.bin", RIGHT, len(CONTENT), urls)


@pytest.mark.parametrize("place", ["fashion_mnist/file.bin", "fashion-mnist/file.bin", "file.bin", "pictures/file.bin"])
def test_a_right_file_is_used_wherever_it_lies_and_nothing_is_downloaded(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENT)
    assert fetch("fashion_mnist", remote(), tmp_path) == path


def test_an_absent_file_is_downloaded_once_with_progress(tmp_path: Path, shop: str) -> None:
    told: list[tuple[str, int, int]] = []
    file = remote(f"{shop}/good/file.bin")
    path = fetch("some_set", file, tmp_path / "cache", lambda *step: told.append(step))
    assert path == tmp_path / "cache" / "some_set" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert told[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len(told) > 2
    assert fetch("some_set", RemoteFile("file.bin", RIGHT, len(CONTENT), ()), tmp_path / "cache") == path


def test_a_wrong_file_is_refused_naming_both_hashes_and_is_left_in_place(tmp_path: Path, shop: str) -> None:
    path = tmp_path / "some_set" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(DataError) as caught:
        fetch("some_set", remote(f"{shop}/good/file.bin"), tmp_path)
    for part in (str(path), RIGHT, hashlib.sha256(b"something else").hexdigest()):
        assert part in caught.value.message
    assert "Delete the file" in str(caught.value.hint)
    assert path.read_bytes() == b"something else"


def test_a_file_of_another_data_set_in_the_flat_folder_is_passed_over(tmp_path: Path, shop: str) -> None:
    (tmp_path / "file.bin").write_bytes(b"of another data set")
    path = fetch("some_set", remote(f"{shop}/good/file.bin"), tmp_path)
    assert path == tmp_path / "some_set" / "file.bin"


def test_a_file_of_another_data_set_in_another_folder_is_passed_over(tmp_path: Path, shop: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "file.bin").write_bytes(b"of another data set")
    (tmp_path / "b" / "file.bin").write_bytes(CONTENT)
    assert fetch("some_set", remote(), tmp_path) == tmp_path / "b" / "file.bin"


def test_an_archive_may_be_packed_anew_where_only_its_content_counts(tmp_path: Path, shop: str) -> None:
    def digest(path: Path) -> str:
        return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()

    (tmp_path / "file.bin").write_bytes(gzip.compress(CONTENT, compresslevel=1, mtime=5))
    file = RemoteFile("file.bin", RIGHT, 0, (), digest)
    assert fetch("some_set", file, tmp_path) == tmp_path / "file.bin"


def test_the_next_mirror_is_asked_when_one_fails_or_sends_something_else(tmp_path: Path, shop: str) -> None:
    urls = [f"{shop}/{place}/file.bin" for place in ("absent", "short", "good")]
    assert fetch("some_set", remote(*urls), tmp_path).read_bytes() == CONTENT
    assert os.listdir(tmp_path / "some_set") == ["file.bin"]


def test_without_network_and_file_the_message_says_what_to_do(tmp_path: Path, closed: str, shop: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch("some_set", remote(f"{closed}/file.bin", f"{shop}/short/file.bin"), tmp_path)
    assert "file.bin could not be downloaded" in caught.value.message
    assert closed in caught.value.message
    assert f"expected SHA-256 {RIGHT}" in caught.value.message
    for part in (RIGHT, str(tmp_path / "some_set" / "file.bin"), "TRAINYARD_DATASETS_DIR"):
        assert part in str(caught.value.hint)
    assert os.listdir(tmp_path / "some_set") == []


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path: Path, shop: str) -> None:
    (tmp_path / "some_set").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"file\.bin could not be downloaded"):
        fetch("some_set", remote(f"{shop}/good/file.bin"), tmp_path)


# --- the image sets built on it ------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes())


def tiny(folder: Path, train_labels: list[int], height: int = 3) -> IdxFiles:
    """A data set of four training and two test images of 3 × 2, its files lying in `folder`."""
    arrays = {
        "a.gz": np.arange(4 * height * 2, dtype=np.uint8).reshape(4, height, 2),
        "b.gz": np.array(train_labels, np.uint8),
        "c.gz": np.full((2, 3, 2), 255, np.uint8),
        "d.gz": np.array([1, 0], np.uint8),
    }
    (folder / "tiny").mkdir()
    files = []
    for name, array in arrays.items():
        data = idx(array)
        (folder / "tiny" / name).write_bytes(data)
        files.append(RemoteFile(name, hashlib.sha256(data).hexdigest(), len(data), ()))
    card = Card("tiny", "", "image", (), (3, 2, 1), ("no", "yes"), (), 4, 2, "", "", "", parts="own_test")
    return IdxFiles(card, tuple(files))


def test_idx_files_become_images_with_a_channel_and_labels(tmp_path: Path) -> None:
    raw = tiny(tmp_path, [0, 1, 1, 0]).read(tmp_path, None)
    assert raw.x.shape == (4, 3, 2, 1)
    assert raw.x.dtype == np.uint8
    assert raw.y.tolist() == [0, 1, 1, 0]
    assert raw.test_x is not None
    assert raw.test_x.shape == (2, 3, 2, 1)


@pytest.mark.parametrize(("labels", "height"), [([0, 1, 2, 0], 3), ([0, 1, 1], 3), ([0, 1, 1, 0], 4)])
def test_files_that_do_not_fit_the_card_are_refused(tmp_path: Path, labels: list[int], height: int) -> None:
    with pytest.raises(DataError, match="do not fit its card"):
        tiny(tmp_path, labels, height).read(tmp_path, None)


@pytest.mark.parametrize("files", [MNIST_FILES, FASHION_FILES])
def test_the_image_sets_name_four_files_with_hash_size_and_address(files: tuple[RemoteFile, ...]) -> None:
    assert len(files) == 4
    for file in files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert file.size > 4000
        assert all(url.startswith("http") and url.endswith(file.name) for url in file.urls)
        assert file.urls

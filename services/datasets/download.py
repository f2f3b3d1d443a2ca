"""Files of data sets: taken from the cache folder when their SHA-256 is right, downloaded with pooch when absent.

Looked for in this order: `<dir>/<data set>/<file>` (the data set spelled with `_` or with `-`), then `<dir>/<file>`.
A file with a wrong hash is never used and never overwritten. A download is checked before it gets its name.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from services.datasets.base import Progress
from services.errors import DataError

_TIMEOUT_SECONDS = 30
_CHUNK = 1 << 16


@final
@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set: its name, SHA-256, size in bytes, and the addresses that serve it, tried in order."""

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...]


def fetch(dataset: str, file: RemoteFile, datasets_dir: Path, progress: Progress | None = None) -> Path:
    """The path of `file` with the right content, downloaded if need be; DataError says what to do without it."""
    own = _own_folders(dataset, datasets_dir)
    for path in (folder / file.name for folder in own):
        if path.is_file():
            check(path, file.sha256)
            return path
    flat = datasets_dir / file.name
    # Different data sets share file names, so a foreign file here is no reason to complain.
    if flat.is_file() and _sha256(flat) == file.sha256:
        return flat
    return _download(file, own[0] / file.name, progress)


def check(path: Path, expected: str) -> None:
    """DataError unless the file at `path` has the SHA-256 `expected`."""
    found = _sha256(path)
    if found != expected:
        raise DataError(
            f"{path} has the wrong content: expected SHA-256 {expected}, found {found}.",
            hint="Delete the file; it will be downloaded again. Or put the original file in its place.",
        )


def _own_folders(dataset: str, datasets_dir: Path) -> list[Path]:
    return [datasets_dir / name for name in dict.fromkeys((dataset, dataset.replace("_", "-")))]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _download(file: RemoteFile, target: Path, progress: Progress | None) -> Path:
    failures = []
    for url in file.urls:
        try:
            with _arriving(target) as part:
                _transfer(url, part, file, progress)
                check(part, file.sha256)
                os.replace(part, target)
            return target
        except OSError as error:
            failures.append(f"{url}: {error}")
        except DataError as error:
            failures.append(f"{url}: {error.message}")
    raise DataError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}).",
        hint=f"Without internet, put the file with SHA-256 {file.sha256} at {target}, or point TRAINYARD_DATASETS_DIR "
        f"at a folder that holds {target.parent.name}/{file.name}.",
    )


@contextlib.contextmanager
def _arriving(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _transfer(url: str, part: Path, file: RemoteFile, progress: Progress | None) -> None:
    import pooch

    bar = _Bar(file, progress)
    pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT_SECONDS)(url, str(part), None)


@final
class _Bar:
    """What pooch moves like a tqdm bar, told on to the caller."""

    def __init__(self, file: RemoteFile, progress: Progress | None) -> None:
        self.file, self.progress = file, progress
        self.total, self.done = file.size, 0

    def update(self, size: int) -> None:
        """`size` more bytes have arrived."""
        self.done = min(self.done + size, self.total or self.file.size)
        if self.progress is not None:
            self.progress(self.file.name, self.done, self.total or self.file.size)

    def reset(self) -> None:
        """Start counting anew; pooch does so just before it reports the end."""
        self.done = 0

    def close(self) -> None:
        """Nothing to tidy."""

"""Files of data sets: taken from the cache folder when their SHA-256 is right, downloaded with pooch when absent.

Looked for in this order: `<dir>/<data set>/<file>` (the data set spelled with `_` or with `-`), `<dir>/<file>`, then
`<dir>/<any folder>/<file>`. A file with a wrong hash is never used and never overwritten. A download is checked before
it gets its name.
"""

import contextlib
import glob
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from services.datasets.base import Progress
from services.errors import DataError, NotDownloaded

_TIMEOUT_SECONDS = 30
_CHUNK = 1 << 16
_offline: list[bool] = []


def stay_offline() -> None:
    """From now on this process downloads nothing: what is not in the cache folder is NotDownloaded."""
    _offline.append(True)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


@final
@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set: its name, SHA-256, size in bytes, and the addresses that serve it, tried in order.

    `digest` computes the hash: of the file's bytes, or only of what counts in an archive that may be packed anew.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...]
    digest: Callable[[Path], str] = file_sha256


def fetch(dataset: str, file: RemoteFile, datasets_dir: Path, progress: Progress | None = None) -> Path:
    """The path of `file` with the right content, downloaded if need be; DataError says what to do without it."""
    own = _own_folders(dataset, datasets_dir)
    for path in (folder / file.name for folder in own):
        if path.is_file():
            check(path, file.sha256, file.digest)
            return path
    # Different data sets share file names, so a foreign file here is no reason to complain.
    for path in (datasets_dir / file.name, *sorted(datasets_dir.glob(f"*/{glob.escape(file.name)}"))):
        if path.is_file() and _is(path, file):
            return path
    return _download(file, own[0] / file.name, progress)


def check(path: Path, expected: str, digest: Callable[[Path], str] = file_sha256) -> None:
    """DataError unless the file at `path` has the SHA-256 `expected`."""
    found = digest(path)
    if found != expected:
        raise DataError(
            f"{path} has the wrong content: expected SHA-256 {expected}, found {found}.",
            hint="Delete the file; it will be downloaded again. Or put the original file in its place.",
        )


def _is(path: Path, file: RemoteFile) -> bool:
    try:
        return file.digest(path) == file.sha256
    except DataError:
        return False


def _own_folders(dataset: str, datasets_dir: Path) -> list[Path]:
    return [datasets_dir / name for name in dict.fromkeys((dataset, dataset.replace("_", "-")))]


def _download(file: RemoteFile, target: Path, progress: Progress | None) -> Path:
    if _offline:
        hint = f"Post a job on it, which downloads it; or put the file with SHA-256 {file.sha256} at {target}."
        raise NotDownloaded(f"{file.name} has not been downloaded to this server yet.", hint=hint)
    failures = []
    for url in file.urls:
        try:
            with _arriving(target) as part:
                _transfer(url, part, file, progress)
                check(part, file.sha256, file.digest)
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

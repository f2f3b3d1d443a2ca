"""CIFAR-10: the binary version whole, and a part of it out of a repository's pictures.

Binary version: in each record a label, then 1,024 bytes each of red, green and blue. (The version for Python is pickled
and therefore never read.) Pictures: PNG strips of 1,000 images, one image in each row of pixels.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from services.datasets.archives import read_tar
from services.datasets.base import Array, Card, Progress, Raw, Source
from services.datasets.csv_table import parse_csv
from services.datasets.download import RemoteFile, fetch
from services.datasets.png import parse_png
from services.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIDE * SIDE
_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
_FOLDER = "cifar-10-batches-bin/"
_STRIPS = (*range(10), 50)
_PER_STRIP = 1_000
_SCRIPT = re.compile(rb"\s*(?:var\s+)?labels\s*=\s*\[([0-9,\s]*)\]\s*;?\s*", re.ASCII)
_CONVNETJS = (
    "https://raw.githubusercontent.com/taneishi/convnetjs/f741ae53fe9e8241a8b50bc1978259c39a32ed81/demo/cifar10/"
)


def parse_labels(data: bytes, name: str) -> Array:
    """The labels of the strips 0-9 and 50: out of a CSV file strip,row,label, or out of a script `var labels=[…]` that
    holds those of all 51 strips."""
    if match := _SCRIPT.fullmatch(data):
        cells = match[1].replace(b" ", b"").replace(b"\n", b"").removesuffix(b",").split(b",")
        if len(cells) != 51 * _PER_STRIP or any(len(cell) != 1 for cell in cells):
            raise DataError(f"{name} does not hold {51 * _PER_STRIP:,} labels from 0 to 9.")
        labels = np.array([int(cell) for cell in cells], np.uint8).reshape(51, _PER_STRIP)
        return labels[list(_STRIPS)].ravel()
    table = parse_csv(data, name, ("strip", "row", "label"))
    places = np.stack([table.numbers("strip"), table.numbers("row")], axis=1)
    expected = np.stack([np.repeat(_STRIPS, _PER_STRIP), np.tile(np.arange(_PER_STRIP), len(_STRIPS))], axis=1)
    labels = np.searchsorted(np.arange(10), table.numbers("label")).astype(np.uint8)
    if not np.array_equal(places, expected) or not np.array_equal(labels, table.numbers("label")) or labels.max() > 9:
        raise DataError(f"{name} does not hold a label from 0 to 9 for each row of the strips 0-9 and 50, in order.")
    return labels


def label_digest(path: Path) -> str:
    """The SHA-256 of the labels alone, in whichever form a file holds them."""
    return hashlib.sha256(parse_labels(path.read_bytes(), path.name).tobytes()).hexdigest()


ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
LABELS = RemoteFile(
    "cifar10_labels.csv",
    "cd1960e7a3e3d11138b8450fe36a949df545b58ee9ba34c1038cb8a242842659",
    102_014,
    (_CONVNETJS + "cifar10_labels.js",),
    label_digest,
)
STRIPS = tuple(
    RemoteFile(f"cifar10_batch_{number}.png", sha256, size, (f"{_CONVNETJS}cifar10_batch_{number}.png",))
    for number, size, sha256 in (
        (0, 2_318_456, "0614720d69293a033786d5fe2924c4e9a9b48874f19ca4627c4662a864ee9f2d"),
        (1, 2_326_379, "2927e26ea68602e34a7424826b76b7336ce36b8f6bcc2e9fce0c05568ff6b4c1"),
        (2, 2_312_906, "0b2759e307bb405bb1a6531f8a0f557eaec46d7546050612fdb836f0fa60eae0"),
        (3, 2_328_590, "a4530ff15c83886058a97c352f53f38be07d191de8f410e998e91786b5900a26"),
        (4, 2_303_320, "6368e6cf9ded682f69919f391510b73ac16058592013789501caea14cd6f15e2"),
        (5, 2_303_313, "b8d480bb9e1fceddf958efbe7fa0613e42b36d77f2dd839040b6bb5c3fb4fd1c"),
        (6, 2_326_638, "fcc06b274a20361573764fa885fa6e40cd50b2e6eb95656690d4f5125f295e14"),
        (7, 2_314_475, "e7b8d6e916b2d5c9e6b9a3b6fc3161ccecb5142ce1d3d5a05e465f090daeb417"),
        (8, 2_309_737, "4c582a8c638f2333a544526d3f24d0d85d108b3587d4b44cabc0cbc66dd269ac"),
        (9, 2_296_835, "218b20c7526f88c0d79b485167147ebc3ace9ef3d3b8561358bd9f667164a0a8"),
        (50, 2_315_890, "5cea9e8fb7933540a2236a4bb25c1ed3a8447f345c55ae659143a95a5d8dac5e"),
    )
)
_WHOLE = Card(
    name="cifar10",
    title="CIFAR-10, colour photographs, 32×32",
    kind="image",
    tasks=("classification",),
    input_shape=(SIDE, SIDE, CHANNELS),
    classes=CLASSES,
    target_names=("object",),
    train=50_000,
    test=10_000,
    description="60,000 colour photographs of ten kinds of objects, values 0 to 255.",
    source="A. Krizhevsky 2009",
    license="none stated",
    download_bytes=ARCHIVE.size,
    parts="own_test",
)
_PART = replace(
    _WHOLE,
    name="cifar10_part",
    title="CIFAR-10, the first batch alone, 32×32",
    train=10_000,
    test=1_000,
    description="The first 10,000 images to learn from and the first 1,000 of the test part of CIFAR-10: a download of "
    "25 MB instead of 170. Scores on it are not comparable with those on the whole.",
    source="A. Krizhevsky 2009; pictures of convnetjs (A. Karpathy)",
    download_bytes=sum(file.size for file in (*STRIPS, LABELS)),
)


def parse_batch(data: bytes, name: str) -> tuple[Array, Array]:
    """Images uint8 (n, 32, 32, 3) and labels int32 (n,) of a file of the binary version."""
    if not data or len(data) % RECORD:
        raise DataError(f"{name} has {len(data):,} bytes, which is no whole number of records of {RECORD:,}.")
    rows = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if rows[:, 0].max() >= len(CLASSES):
        raise DataError(f"{name} has a label {rows[:, 0].max()}; 0 to 9 are known.")
    planes = rows[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0].astype(np.int32)


@final
@dataclass(frozen=True)
class BinaryVersion(Source):
    """Five batches to learn from and one for the test, in one archive."""

    card: Card
    archive: RemoteFile

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All images in their published order."""
        path = fetch(self.card.name, self.archive, datasets_dir, progress)
        wanted = {_FOLDER + batch for batch in _BATCHES}
        found = dict(read_tar(path, wanted.__contains__, 256 * 2**20))
        if set(found) != wanted:
            raise DataError(f"{path.name} lacks {', '.join(sorted(wanted - set(found)))}.")
        *train, test = (parse_batch(found[_FOLDER + batch], batch) for batch in _BATCHES)
        x, y = (np.concatenate(parts) for parts in zip(*train, strict=True))
        if (len(x), len(test[0])) != (self.card.train, self.card.test):
            raise DataError(f"{path.name} holds {len(x):,} and {len(test[0]):,} images; they do not fit the card.")
        return Raw(x, y, *test)


@final
@dataclass(frozen=True)
class Pictures(Source):
    """Strips of 1,000 images and a file of labels; the last strip is the test part."""

    card: Card
    strips: tuple[RemoteFile, ...]
    labels: RemoteFile

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All images in their published order."""
        images = np.concatenate([self._strip(file, datasets_dir, progress) for file in self.strips])
        path = fetch(self.card.name, self.labels, datasets_dir, progress)
        labels = parse_labels(path.read_bytes(), path.name).astype(np.int32)
        n = self.card.train
        return Raw(images[:n], labels[:n], images[n:], labels[n:])

    def _strip(self, file: RemoteFile, datasets_dir: Path, progress: Progress | None) -> Array:
        path = fetch(self.card.name, file, datasets_dir, progress)
        pixels = parse_png(path.read_bytes(), path.name)
        if pixels.shape != (_PER_STRIP, SIDE * SIDE, CHANNELS):
            raise DataError(f"{path.name} has {pixels.shape[1]} × {pixels.shape[0]} pixels; they do not fit the card.")
        return pixels.reshape(_PER_STRIP, SIDE, SIDE, CHANNELS)


SOURCES = (BinaryVersion(_WHOLE, ARCHIVE), Pictures(_PART, STRIPS, LABELS))

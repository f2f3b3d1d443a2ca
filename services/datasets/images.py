"""MNIST and Fashion-MNIST: four idx files each, downloaded once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from services.datasets.base import Array, Card, Progress, Raw, Source
from services.datasets.download import RemoteFile, fetch
from services.datasets.idx import read_idx
from services.errors import DataError

_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION_MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)


@final
@dataclass(frozen=True)
class IdxFiles(Source):
    """Grey images and their labels in four idx files: train images, train labels, test images, test labels."""

    card: Card
    files: tuple[RemoteFile, ...]

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """Images uint8 (n, height, width, 1) and labels int32 (n,), from the cache or downloaded."""
        arrays = [read_idx(fetch(self.card.name, file, datasets_dir, progress)) for file in self.files]
        train_x, train_y = self._part(arrays[0], arrays[1], self.card.train)
        test_x, test_y = self._part(arrays[2], arrays[3], self.card.test)
        return Raw(train_x, train_y, test_x, test_y)

    def _part(self, images: Array, labels: Array, n: int) -> tuple[Array, Array]:
        height, width, _ = self.card.input_shape
        classes = len(self.card.classes or ())
        if images.dtype != np.uint8 or images.shape != (n, height, width):
            raise DataError(
                f"{self.card.name}: images of type {images.dtype} and shape {images.shape} do not fit "
                f"its card, uint8 {(n, height, width)}."
            )
        if labels.dtype != np.uint8 or labels.shape != (n,) or labels.max(initial=0) >= classes:
            raise DataError(
                f"{self.card.name}: labels of type {labels.dtype} and shape {labels.shape} do not fit "
                f"its card, uint8 {(n,)} below {classes}."
            )
        return images[..., np.newaxis], labels.astype(np.int32)


def _files(mirrors: tuple[str, ...], *rows: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(name, sha256, size, tuple(m + name for m in mirrors)) for name, size, sha256 in rows)


MNIST_FILES = _files(
    _MNIST_MIRRORS,
    ("train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ("t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
FASHION_FILES = _files(
    _FASHION_MIRRORS,
    ("train-images-idx3-ubyte.gz", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)


def _card(
    name: str,
    title: str,
    classes: tuple[str, ...],
    target: str,
    description: str,
    source: str,
    license: str,
    files: tuple[RemoteFile, ...],
) -> Card:
    return Card(
        name=name,
        title=title,
        kind="image",
        tasks=("classification",),
        input_shape=(28, 28, 1),
        classes=classes,
        target_names=(target,),
        train=60_000,
        test=10_000,
        description=description,
        source=source,
        license=license,
        download_bytes=sum(file.size for file in files),
        parts="own_test",
    )


MNIST = _card(
    "mnist",
    "MNIST handwritten digits, 28×28",
    tuple("0123456789"),
    "digit",
    "70,000 grey images of handwritten digits, values 0 to 255. LeNet-5 made 0.95 % errors on the test part in 1998.",
    "LeCun, Cortes, Burges",
    "none stated",
    MNIST_FILES,
)
FASHION = _card(
    "fashion_mnist",
    "Fashion-MNIST articles of clothing, 28×28",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    "article",
    "70,000 grey images of clothing in ten classes, values 0 to 255; shaped like MNIST and harder.",
    "Zalando Research",
    "MIT",
    FASHION_FILES,
)
SOURCES = (IdxFiles(MNIST, MNIST_FILES), IdxFiles(FASHION, FASHION_FILES))

"""The data sets bundled with scikit-learn, which is imported only when one is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from services.datasets.base import Card, Progress, Raw, Source

_LICENSE = "BSD-3-Clause (scikit-learn)"

DIGITS = Card(
    name="digits",
    title="Handwritten digits, 8×8",
    kind="image",
    tasks=("classification",),
    input_shape=(8, 8, 1),
    classes=tuple("0123456789"),
    target_names=("digit",),
    train=1438,
    test=359,
    description="1,797 grey images of handwritten digits, values 0 to 16. Small enough to learn in seconds.",
    source="scikit-learn load_digits; UCI Optical Recognition of Handwritten Digits, test part",
    license=_LICENSE,
)
IRIS = Card(
    name="iris",
    title="Iris flowers",
    kind="table",
    tasks=("classification",),
    input_shape=(4,),
    classes=("setosa", "versicolor", "virginica"),
    target_names=("species",),
    train=120,
    test=30,
    description="150 flowers of three species: length and width of sepals and petals in cm. Fisher's classic of 1936.",
    source="scikit-learn load_iris; R. A. Fisher 1936",
    license=_LICENSE,
    features=("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
)
WINE = Card(
    name="wine",
    title="Wine cultivars",
    kind="table",
    tasks=("classification",),
    input_shape=(13,),
    classes=("class_0", "class_1", "class_2"),
    target_names=("cultivar",),
    train=142,
    test=36,
    description="178 wines of three cultivars, thirteen chemical measurements of very different size: normalize them.",
    source="scikit-learn load_wine; UCI Wine",
    license=_LICENSE,
    features=(
        "alcohol",
        "malic_acid",
        "ash",
        "alcalinity_of_ash",
        "magnesium",
        "total_phenols",
        "flavanoids",
        "nonflavanoid_phenols",
        "proanthocyanins",
        "color_intensity",
        "hue",
        "od280/od315_of_diluted_wines",
        "proline",
    ),
)
_CELL = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
BREAST_CANCER = Card(
    name="breast_cancer",
    title="Breast cancer, Wisconsin",
    kind="table",
    tasks=("classification",),
    input_shape=(30,),
    classes=("malignant", "benign"),
    target_names=("diagnosis",),
    train=455,
    test=114,
    description="569 tumours, malignant (0) or benign (1), thirty measurements of cell nuclei: normalize them.",
    source="scikit-learn load_breast_cancer; UCI Breast Cancer Wisconsin (Diagnostic)",
    license=_LICENSE,
    features=(*(f"mean {c}" for c in _CELL), *(f"{c} error" for c in _CELL), *(f"worst {c}" for c in _CELL)),
)
DIABETES = Card(
    name="diabetes",
    title="Diabetes progression",
    kind="table",
    tasks=("regression",),
    input_shape=(10,),
    classes=None,
    target_names=("progression",),
    train=354,
    test=88,
    description="442 patients: disease progression after one year (25 to 346) from age, sex, body mass index, blood "
    "pressure and six serum measurements, each centred and scaled to unit length.",
    source="scikit-learn load_diabetes; Efron, Hastie, Johnstone, Tibshirani 2004",
    license=_LICENSE,
    features=("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
)


@final
@dataclass(frozen=True)
class Bundled(Source):
    """A data set out of scikit-learn; its loader is called `load_<name>` there."""

    card: Card

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All rows, in scikit-learn's order; nothing is downloaded."""
        from sklearn import datasets

        bunch: Any = getattr(datasets, f"load_{self.card.name}")()
        x = np.asarray(bunch.data, np.float32).reshape(-1, *self.card.input_shape)
        if self.card.classes is None:
            return Raw(x, np.asarray(bunch.target, np.float32).reshape(len(x), -1))
        return Raw(x, np.asarray(bunch.target, np.int32))


SOURCES = tuple(Bundled(card) for card in (DIGITS, IRIS, WINE, BREAST_CANCER, DIABETES))

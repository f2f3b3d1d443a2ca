"""Tables of house prices, Titanic passengers, penguins and wines; gaps and categories are left to the encoder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from services.datasets.base import Array, Card, Progress, Raw, Source
from services.datasets.columns import Column, TableEncoding
from services.datasets.csv_table import Cells, parse_csv, records
from services.datasets.download import RemoteFile, fetch
from services.datasets.options import Options
from services.errors import DataError

_HANDSON = "https://raw.githubusercontent.com/ageron/handson-ml2/1e2115277b50f6c584cd668fa30e3af309a5b136/datasets/"
_SEABORN = "https://raw.githubusercontent.com/mwaskom/seaborn-data/71e2436a092d714350de0fc409ca8a8714e7e78f/"
_BROWNLEE = "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/"

HOUSING_FILE = RemoteFile(
    "california_housing.csv",
    "8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e",
    1_423_529,
    (_HANDSON + "housing/housing.csv",),
)
TITANIC_FILE = RemoteFile(
    "titanic.csv",
    "14769fb1850e2d26d8e6db0ee49c213878040432827e39b13caaa15603c6598f",
    61_904,
    (_HANDSON + "titanic/train.csv",),
)
PENGUINS_FILE = RemoteFile(
    "penguins.csv",
    "e07636bd8af74260099ea2f8678e2eabbf35def579940cc76f67061ee16c06c1",
    13_478,
    (_SEABORN + "penguins.csv",),
)
WINE_FILES = {
    "red": RemoteFile(
        "winequality-red.csv",
        "c9614512e980f1cbd221c796daa97f00c4898c3cd1716863abac60f6cd1a522e",
        84_028,
        (_BROWNLEE + "winequality-red.csv",),
    ),
    "white": RemoteFile(
        "winequality-white.csv",
        "659d419fff887f225bf977d20520bb64a64cae203e460087f809721d4430ba27",
        264_255,
        (_BROWNLEE + "winequality-white.csv",),
    ),
}


@final
@dataclass(frozen=True)
class Sheet:
    """A CSV file: all its columns in order, those that are inputs, the one to predict, and the rows it must have.

    `missing` columns may have gaps; values are divided by `unit`; `spelled` is how the file writes the classes, where
    it does not call them as the card does."""

    file: RemoteFile
    header: tuple[str, ...]
    inputs: tuple[Column, ...]
    target: str
    rows: int
    missing: tuple[str, ...] = ()
    unit: float = 1.0
    spelled: tuple[str, ...] = ()

    def read(self, dataset: str, datasets_dir: Path, progress: Progress | None) -> Cells:
        """The cells of the file."""
        path = fetch(dataset, self.file, datasets_dir, progress)
        cells = parse_csv(path.read_bytes(), path.name, self.header)
        if len(cells) != self.rows:
            raise DataError(f"{path.name} has {len(cells):,} rows; they do not fit the card, {self.rows:,}.")
        return cells

    def x(self, cells: Cells) -> Array:
        """The inputs as NumPy records; NaN and empty texts are gaps."""
        return records({column.name: _cells(cells, column, column.name in self.missing) for column in self.inputs})


def _cells(cells: Cells, column: Column, missing: bool) -> Array:
    if column.categories is None:
        return cells.numbers(column.name, missing)
    return cells.words(column.name, column.categories, missing)


@final
@dataclass(frozen=True)
class Table(Source):
    """A data set out of one CSV file."""

    card: Card
    sheet: Sheet

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All rows in the file's order, with their gaps."""
        cells = self.sheet.read(self.card.name, datasets_dir, progress)
        encoder = TableEncoding(self.sheet.inputs)
        return Raw(self.sheet.x(cells), self._targets(cells), encoder=encoder)

    def _targets(self, cells: Cells) -> Array:
        if self.card.classes is None:
            values = cells.numbers(self.sheet.target) / self.sheet.unit
            return values.astype(np.float32).reshape(-1, 1)
        spelled = self.sheet.spelled or self.card.classes
        words = cells.words(self.sheet.target, spelled)
        return np.array([spelled.index(word) for word in words], np.int32)


def _numbers(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name) for name in names)


_HOUSING = Sheet(
    HOUSING_FILE,
    (
        *("longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households"),
        *("median_income", "median_house_value", "ocean_proximity"),
    ),
    (
        *_numbers("longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms"),
        *_numbers("population", "households", "median_income"),
        Column("ocean_proximity", ("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN")),
    ),
    "median_house_value",
    20_640,
    missing=("total_bedrooms",),
    unit=100_000.0,
)
_TITANIC = Sheet(
    TITANIC_FILE,
    (
        *("PassengerId", "Survived", "Pclass", "Name", "Sex", "Age", "SibSp", "Parch"),
        *("Ticket", "Fare", "Cabin", "Embarked"),
    ),
    (
        *_numbers("Pclass"),
        Column("Sex", ("female", "male")),
        Column("Age", flag=True),
        *_numbers("SibSp", "Parch", "Fare"),
        Column("Embarked", ("C", "Q", "S")),
    ),
    "Survived",
    891,
    missing=("Age", "Embarked"),
    spelled=("0", "1"),
)
_PENGUINS = Sheet(
    PENGUINS_FILE,
    ("species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"),
    (
        Column("island", ("Biscoe", "Dream", "Torgersen")),
        *_numbers("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"),
        Column("sex", ("FEMALE", "MALE")),
    ),
    "species",
    344,
    missing=("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"),
)


def _table(card: Card, sheet: Sheet) -> Table:
    features = TableEncoding(sheet.inputs).features
    test = int(np.floor(sheet.rows * 0.2 + 0.5))
    card = replace(card, input_shape=(len(features),), features=features, train=sheet.rows - test, test=test)
    return Table(replace(card, download_bytes=sheet.file.size), sheet)


def _empty(name: str, title: str, tasks: tuple[str, ...], classes: tuple[str, ...] | None, target: str) -> Card:
    return Card(name, title, "table", tasks, (0,), classes, (target,), 0, 0, "", "", "")


CALIFORNIA = _table(
    replace(
        _empty("california_housing", "House prices in California", ("regression",), None, "median house value"),
        description="20,640 districts of the 1990 census: place, age, rooms, people, income; the median house value "
        "in 100,000 dollars (0.15 to 5.0, cut off there). 207 numbers of bedrooms are missing.",
        source="R. K. Pace, R. Barry 1997 (StatLib); file of A. Géron, handson-ml2",
        license="none stated for the data; Apache-2.0 for the repository",
    ),
    _HOUSING,
)
TITANIC = _table(
    replace(
        _empty("titanic", "Passengers of the Titanic", ("classification",), ("died", "survived"), "fate"),
        description="891 passengers: class, sex, age, relatives aboard, fare, port; 342 of them survived. 177 ages and "
        "2 ports are missing. Names, tickets and cabins are left out.",
        source="Kaggle, Titanic; file of A. Géron, handson-ml2",
        license="none stated for the data; Apache-2.0 for the repository",
    ),
    _TITANIC,
)
PENGUINS = _table(
    replace(
        _empty("penguins", "Palmer penguins", ("classification",), ("Adelie", "Chinstrap", "Gentoo"), "species"),
        description="344 penguins of three species: island, bill, flipper, mass and sex. 2 were not measured, the sex "
        "of 11 is missing.",
        source="A. Horst, A. Hill, K. Gorman 2020; file of M. Waskom, seaborn-data",
        license="none stated",
    ),
    _PENGUINS,
)

_WINE_INPUTS = (
    *("fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides", "free sulfur dioxide"),
    *("total sulfur dioxide", "density", "pH", "sulphates", "alcohol"),
)
_WINE_ROWS = {"red": 1_599, "white": 4_898}


@final
@dataclass(frozen=True)
class WineOptions(Options):
    """Red wines, white wines or both; both know their colour as a column `white` of 0 and 1. The target is the
    `quality`, a value from 3 to 9 that tasters gave, or (of both) the `colour`, two classes."""

    wine: Literal["both", "red", "white"] = "both"
    target: Literal["quality", "colour"] = "quality"

    @property
    def colours(self) -> tuple[str, ...]:
        """The files to read."""
        return ("red", "white") if self.wine == "both" or self.target == "colour" else (self.wine,)


@final
class WineQuality(Source):
    """Portuguese wines, red ones first."""

    options_type = WineOptions

    def __init__(self) -> None:
        """The card under default options."""
        self.card = self.card_for(WineOptions())

    def card_for(self, options: WineOptions) -> Card:
        """Counts and columns follow from the colours."""
        features: tuple[str, ...] = _WINE_INPUTS
        if options.target == "quality" and len(options.colours) > 1:
            features = (*features, "white")
        rows = sum(_WINE_ROWS[colour] for colour in options.colours)
        test = int(np.floor(rows * 0.2 + 0.5))
        quality = options.target == "quality"
        return Card(
            name="wine_quality",
            title="Quality of Portuguese wines",
            kind="table",
            tasks=("regression",) if quality else ("classification",),
            input_shape=(len(features),),
            classes=None if quality else ("red", "white"),
            target_names=(options.target,),
            train=rows - test,
            test=test,
            description="1,599 red and 4,898 white Vinho Verde: eleven chemical measurements, and the median verdict "
            "of tasters from 3 to 9. Many wines stand in the files several times.",
            source="P. Cortez et al. 2009; files of J. Brownlee, Datasets",
            license="none stated; cite Cortez et al. 2009",
            download_bytes=sum(WINE_FILES[colour].size for colour in options.colours),
            features=features,
        )

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """All wines as numbers; none are missing."""
        chosen = options or WineOptions()
        parts = [self._part(colour, datasets_dir, progress) for colour in chosen.colours]
        values = np.concatenate(parts)
        white = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
        x, quality = values[:, :-1].astype(np.float32), values[:, -1:].astype(np.float32)
        if chosen.target == "colour":
            return Raw(x, white)
        return Raw(np.column_stack([x, white]).astype(np.float32) if len(parts) > 1 else x, quality)

    def _part(self, colour: str, datasets_dir: Path, progress: Progress | None) -> Array:
        path = fetch(self.card.name, WINE_FILES[colour], datasets_dir, progress)
        cells = parse_csv(path.read_bytes(), path.name, (*_WINE_INPUTS, "quality"), header=False)
        if len(cells) != _WINE_ROWS[colour]:
            raise DataError(f"{path.name} has {len(cells):,} rows; they do not fit the card, {_WINE_ROWS[colour]:,}.")
        return np.stack([cells.numbers(column) for column in cells.columns], axis=1)


SOURCES = (CALIFORNIA, TITANIC, PENGUINS, WineQuality())

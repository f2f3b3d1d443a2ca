"""Series to forecast: electricity transformers (ETTh1) and the tide at Vlissingen, as windows in order of time."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Array, Card, Progress, Source
from services.datasets.csv_table import parse_csv
from services.datasets.dia import parse_dia
from services.datasets.download import RemoteFile, fetch
from services.datasets.options import Options
from services.datasets.windows import Geometry, Windows, fits
from services.errors import DataError

Window = Annotated[int, Interval(ge=1, le=2048)]
Horizon = Annotated[int, Interval(ge=1, le=512)]
Stride = Annotated[int, Interval(ge=1, le=4096)]
Column = Literal["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
_COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
_HOURS_OF_FOUR_MONTHS = 4 * 30 * 24


@final
@dataclass(frozen=True)
class TransformerOptions(Options):
    """`window` hours are seen, the next `horizon` hours of `target` are forecast, from every `stride`th hour of the
    train part. `features`: the target's own past, or `all` seven columns. `scaled`: in standard deviations of the
    train part, as published scores are; else in the units of the file."""

    window: Window = 96
    horizon: Horizon = 24
    stride: Stride = 1
    target: Column = "OT"
    features: Literal["target", "all"] = "target"
    scaled: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """What a window holds for each hour."""
        return _COLUMNS if self.features == "all" else (self.target,)


@final
@dataclass(frozen=True)
class TideOptions(Options):
    """`window` hours are seen, the next `horizon` hours are forecast, from every `stride`th hour before the test part.
    `scaled`: in standard deviations of the train part; else in cm."""

    window: Window = 72
    horizon: Horizon = 12
    stride: Stride = 1
    scaled: bool = True


ETTH1_FILE = RemoteFile(
    "ETTh1.csv",
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    2_589_657,
    (
        "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/"
        "ETT-small/ETTh1.csv",
    ),
)
TIDE_FILE = RemoteFile(
    "VLISSGN_obs19.txt",
    "1409ffd96c40873f935bbdbe9ed1dc27dd1e951c0454de473f60c66939b225c7",
    1_027_307,
    (
        "https://raw.githubusercontent.com/Deltares/hatyan/ef612657a9d83950010dccf12333dc1849ab63d1/"
        "tests/data_unitsystemtests/VLISSGN_obs19.txt",
    ),
)
_ETTH1 = Card(
    name="etth1",
    title="Electricity transformer, hourly (ETTh1)",
    kind="series",
    tasks=("forecasting",),
    input_shape=(96, 1),
    classes=None,
    target_names=(),
    train=0,
    test=0,
    description="Load and oil temperature of a transformer in China, two years of hours from July 2016. Split as in "
    "the Informer paper: 12 months to learn, 4 for validation, 4 for the test. Its Table 1 (oil temperature alone, "
    "24 h ahead): LSTM 0.114 mean squared and 0.272 mean absolute error, Informer 0.098 and 0.247.",
    source="H. Zhou et al. 2021, ETDataset",
    license="CC BY-ND 4.0",
    download_bytes=ETTH1_FILE.size,
    parts="own_parts",
    season=24.0,
)
_TIDE = Card(
    name="vlissingen_tide",
    title="Water level at Vlissingen, hourly",
    kind="series",
    tasks=("forecasting",),
    input_shape=(72, 1),
    classes=None,
    target_names=(),
    train=0,
    test=0,
    description="Nineteen years of hourly water levels in cm above NAP, 1976 to 1994, tide and storms together. The "
    "last two years are the test part. High water comes every 12.42 hours: so long ago is the forecast to beat.",
    source="Rijkswaterstaat, by way of Deltares hatyan",
    license="none stated for the measurements; GPL-3.0 for the repository",
    download_bytes=TIDE_FILE.size,
    parts="in_order",
    features=("water level",),
    season=12.42,
)


def _named(card: Card, geometry: Geometry, columns: tuple[str, ...], target: str) -> Card:
    return replace(
        card,
        input_shape=(geometry.window, len(columns)),
        features=columns,
        target_names=tuple(f"{target} +{hour} h" for hour in range(1, geometry.horizon + 1)),
        target_feature=columns.index(target),
    )


@final
class Transformer(Source):
    """ETTh1: rows of the file, hour by hour, with the borders of the Informer paper (months of 30 days)."""

    options_type = TransformerOptions
    hours = 17_420
    borders = (3 * _HOURS_OF_FOUR_MONTHS, 4 * _HOURS_OF_FOUR_MONTHS, 5 * _HOURS_OF_FOUR_MONTHS)

    def __init__(self) -> None:
        """The card under default options."""
        self.card = self.card_for(TransformerOptions())

    def card_for(self, options: TransformerOptions) -> Card:
        """Counts of windows follow from the borders; validation and test take every hour."""
        g, (train, validation, test) = _geometry(options), self.borders
        card = replace(
            _named(_ETTH1, g, options.columns, options.target),
            train=g.count(0, train),
            validation=g.count(train, validation, 1),
            test=g.count(validation, test, 1),
        )
        return fits(g, card)

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Windows:
        """The columns asked for; the hours must follow each other without a gap."""
        chosen = options or TransformerOptions()
        path = fetch(self.card.name, ETTH1_FILE, datasets_dir, progress)
        cells = parse_csv(path.read_bytes(), path.name, ("date", *_COLUMNS))
        _hourly(cells.columns["date"], self.hours, path.name)
        values = np.stack([cells.numbers(column) for column in chosen.columns], axis=1).astype(np.float32)
        column = chosen.columns.index(chosen.target)
        return Windows(values, _geometry(chosen), *self.borders, target=column, scaled=chosen.scaled)


@final
class Tide(Source):
    """The water level at Vlissingen, hour by hour; 1993 and 1994 are the test part."""

    options_type = TideOptions
    first = datetime(1976, 1, 1)
    hours = 166_560
    test_from = (datetime(1993, 1, 1) - first) // timedelta(hours=1)

    def __init__(self) -> None:
        """The card under default options."""
        self.card = self.card_for(TideOptions())

    def card_for(self, options: TideOptions) -> Card:
        """Counts of windows follow from the dates; the test part takes every hour."""
        g = _geometry(options)
        card = replace(
            _named(_TIDE, g, ("water level",), "water level"),
            train=g.count(0, self.test_from),
            test=g.count(self.test_from, self.hours, 1),
            gap=g.gap,
        )
        return fits(g, card)

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Windows:
        """Every hour in cm; all must have been measured well."""
        chosen = options or TideOptions()
        path = fetch(self.card.name, TIDE_FILE, datasets_dir, progress)
        found = parse_dia(path.read_bytes(), path.name)
        if (found.first, found.step, len(found.values)) != (self.first, timedelta(hours=1), self.hours):
            raise DataError(
                f"{path.name} has {len(found.values):,} values from {found.first}; they do not fit the card."
            )
        if found.quality.any():
            raise DataError(f"{path.name} holds hours without a good measurement.")
        ends = (self.test_from, self.test_from, self.hours)
        values = found.values[:, np.newaxis].astype(np.float32)
        return Windows(values, _geometry(chosen), *ends, target=0, scaled=chosen.scaled)


def _geometry(options: TransformerOptions | TideOptions) -> Geometry:
    return Geometry(options.window, options.window, options.horizon, options.stride)


def _hourly(dates: list[str], hours: int, name: str) -> None:
    try:
        moments: Array = np.array(dates, "datetime64[s]")
    except ValueError as error:
        raise DataError(f"{name} has a date that is none: {error}") from error
    if len(moments) != hours or (np.diff(moments) != np.timedelta64(3600, "s")).any():
        raise DataError(f"{name} is not a series of {hours:,} hours that follow each other.")


SOURCES = (Transformer(), Tide())

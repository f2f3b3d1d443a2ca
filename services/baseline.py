"""What a network must beat: the trivial guess and the best classical model, on the very same split.

Each classical model learns from 1,000 rows, then from four times as many, and so on while the time allows, so that a
large data set gives an honest score within a budget. Validation chooses the best model, the test part judges it.
Forecasts are judged against models that see the same windows; `naive` of the result (persistence, the seasonal naive)
stands beside them. Texts have their own: see `services.classical_text`.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from services.classical_text import text_baseline
from services.datasets.base import Dataset, Part
from services.errors import Invalid, Mistake
from services.metrics import Metric, metric

Array = NDArray[Any]
SCORES = {
    "classification": ("accuracy",),
    "regression": ("mean_squared_error", "mean_absolute_error", "r2_score"),
    "forecasting": ("mean_squared_error", "mean_absolute_error", "r2_score"),
    "language_model": ("loss", "perplexity"),
}
_FIRST_ROWS = 1_000
_GROWTH = 4
_ROUNDS = 60
_BOOST_SECONDS = 4e-5
"""Seconds for a tree and a feature, measured with 1,000 rows on one core."""


@final
@dataclass(frozen=True)
class _Fit:
    name: str
    model: Any
    rows: int
    validation_score: float
    seconds: float


def baseline(dataset: Dataset, task: str, seconds: float = 10.0, whole: bool = False) -> dict[str, Any]:
    """The trivial and the best classical scores on the test part, found within about `seconds`.

    `whole`: models learn from all train rows or are left out (`skipped` names them), and every one is judged on the
    test part, so that they can be compared with a network on the same rows.

    {"metric", "better", "trivial": {"name", "guess", "score", "scores"}, "best": {"name", "rows", "seconds",
    "validation_score", "score", "scores"} or None where no model could be fitted, "tried": [...], "seconds"}.
    `score` is the accuracy of a classification, the mean squared error of a regression; `scores` holds all of
    `SCORES[task]`. Invalid for other tasks.
    """
    if task not in SCORES:
        known = f"Known: {', '.join(SCORES)}."
        raise Invalid([Mistake("task", "no_baseline", f"there is no baseline for the task {task!r}", known)])
    if task == "language_model":
        return text_baseline(dataset, seconds)
    start = time.monotonic()
    first = metric(SCORES[task][0])
    fits = list(_fits(dataset, task, start, seconds))
    skipped = [fit.name for fit in fits if whole and fit.rows < len(dataset.train)]
    fits = [fit for fit in fits if fit.name not in skipped]
    best = max(fits, key=lambda fit: fit.validation_score * (1 if first.better == "max" else -1), default=None)
    return {
        "metric": first.name,
        "better": first.better,
        "trivial": _trivial(dataset, task),
        "best": best and _row(best) | _judge(task, best.model.predict(_flat(dataset.test.x)), dataset.test),
        "tried": [_row(fit) | (_tested(task, fit, dataset) if whole else {}) for fit in fits],
        "seconds": round(time.monotonic() - start, 3),
    } | ({"skipped": skipped} if whole else {})


def _tested(task: str, fit: _Fit, dataset: Dataset) -> dict[str, Any]:
    return _judge(task, fit.model.predict(_flat(dataset.test.x)), dataset.test)


def _row(fit: _Fit) -> dict[str, Any]:
    seconds = round(fit.seconds, 3)
    return {"name": fit.name, "rows": fit.rows, "seconds": seconds, "validation_score": fit.validation_score}


def _trivial(dataset: Dataset, task: str) -> dict[str, Any]:
    n = len(dataset.test)
    if task == "classification":
        majority = int(np.bincount(dataset.train.y).argmax())
        guess = (dataset.card.classes or ())[majority]
        return {"name": "majority class", "guess": guess} | _judge(task, np.full(n, majority), dataset.test)
    mean = dataset.train.y.mean(axis=0, dtype=np.float64)
    return {"name": "mean", "guess": mean.tolist()} | _judge(task, np.tile(mean, (n, 1)), dataset.test)


def _judge(task: str, predicted: Array, part: Part) -> dict[str, Any]:
    scores = {name: _score(metric(name), predicted, part) for name in SCORES[task]}
    return {"score": scores[SCORES[task][0]], "scores": scores}


def _score(scorer: Metric, predicted: Array, part: Part) -> float:
    if scorer.name == "accuracy":
        return float(np.mean(predicted == part.y))
    return scorer(predicted.reshape(part.y.shape), part.y)


def _fits(dataset: Dataset, task: str, start: float, seconds: float) -> Iterator[_Fit]:
    models = _MODELS[task]
    for number, (name, make) in enumerate(models.items()):
        # What earlier models left over is shared by the later ones; the first and cheapest always runs.
        left = seconds - (time.monotonic() - start)
        if number == 0 or left > _first_seconds(dataset, name):
            yield from _grow(dataset, task, name, make, left / (len(models) - number))


def _first_seconds(dataset: Dataset, name: str) -> float:
    """What a model will take for its first rows, where that is not a matter of course: boosting grows a tree for each
    class in each round, and looks at every feature for it."""
    features = int(np.prod(dataset.train.x.shape[1:]))
    trees = _ROUNDS * len(dataset.card.classes or "1")
    return trees * features * _BOOST_SECONDS if name == "gradient boosting" else 0.0


def _grow(dataset: Dataset, task: str, name: str, make: Callable[[int], Any], seconds: float) -> Iterator[_Fit]:
    spent = 0.0
    rows = min(_FIRST_ROWS, len(dataset.train))
    while True:
        try:
            fit = _fit(dataset, task, name, make(rows), rows)
        except ValueError:
            # scikit-learn refuses data that a model cannot learn from, such as rows of a single class.
            return
        spent += fit.seconds
        more = min(rows * _GROWTH, len(dataset.train))
        if more == rows or spent + 1.5 * fit.seconds * more / rows > seconds:
            yield fit
            return
        rows = more


def _fit(dataset: Dataset, task: str, name: str, model: Any, rows: int) -> _Fit:
    began = time.monotonic()
    y = dataset.train.y[:rows]
    with warnings.catch_warnings():
        # A model that has not converged is still a baseline.
        warnings.simplefilter("ignore")
        model.fit(_flat(dataset.train.x[:rows]), y[:, 0] if y.ndim > 1 and y.shape[1] == 1 else y)
    judged = dataset.validation if len(dataset.validation) else dataset.test
    score = _judge(task, model.predict(_flat(judged.x)), judged)["score"]
    return _Fit(name, model, rows, score, time.monotonic() - began)


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1)


def _logistic_regression(rows: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))


def _ridge(rows: int) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge())


def _nearest_classes(rows: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(n_neighbors=min(5, rows))


def _nearest_values(rows: int) -> Any:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(n_neighbors=min(5, rows))


def _class_forest(rows: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=100, random_state=0)


def _value_forest(rows: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_estimators=100, random_state=0)


def _boosted_classes(rows: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=_ROUNDS, early_stopping=False, random_state=0)


def _boosted_values(rows: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=_ROUNDS, early_stopping=False, random_state=0)


_MODELS: dict[str, dict[str, Callable[[int], Any]]] = {
    "classification": {
        "logistic regression": _logistic_regression,
        "k-nearest neighbours": _nearest_classes,
        "random forest": _class_forest,
        "gradient boosting": _boosted_classes,
    },
    "regression": {
        "ridge regression": _ridge,
        "k-nearest neighbours": _nearest_values,
        "random forest": _value_forest,
        "gradient boosting": _boosted_values,
    },
    "forecasting": {"ridge regression": _ridge, "k-nearest neighbours": _nearest_values},
}

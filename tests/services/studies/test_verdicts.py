"""Verdicts on planted curves: what was put in must come out, and where nothing was put in, nothing."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from services.studies.kind import Conclusion, Trial
from services.studies.kinds.data_size import DataSize
from services.studies.kinds.gradient_descent import GradientDescent
from services.studies.kinds.grid import Grid
from services.studies.kinds.learning_rate_range import LearningRateRange, band
from services.studies.kinds.learning_rates import LearningRates
from services.studies.kinds.seeds import Seeds
from tests.services.studies.made import base, trial

START = 2.3


def losses(values: Sequence[float], first: float = START) -> dict[str, Any]:
    """The series of a run with these epoch losses (100 steps each); its first report is the untrained loss."""
    told = [(100 * (k + 1), None if math.isnan(v) else v) for k, v in enumerate(values)]
    return {"loss": told, "batch_loss": [(2, first), *told]}


def falling(pace: float, noise: float = 0.0, epochs: int = 20) -> list[float]:
    rng = np.random.default_rng(1)
    return [START * math.exp(-pace * (k + 1)) + noise * abs(rng.normal()) for k in range(epochs)]


RUNGS: dict[float, tuple[list[float], str, str]] = {
    1e-5: ([START] * 20, "too small", "not improving"),
    1e-4: (falling(0.02), "too small", "slow"),
    1e-2: (falling(0.4, 0.01), "good", "within"),
    1e-1: (falling(0.5, 0.01), "good", "within"),
    1.0: ([1.5, 0.6, 1.9, 0.5, 1.7, 0.6, 1.8, 0.7, 1.6, 0.9], "too big", "oscillating"),
    5.0: ([3.0, 9.0, 20.0, 40.0, 60.0, 80.0], "too big", "diverged"),
}


def ladder(rungs: dict[float, tuple[list[float], str, str]]) -> list[Trial]:
    made = [trial({"learning_rate": rate}, losses(curve)) for rate, (curve, _, _) in rungs.items()]
    gone = trial({"learning_rate": 10.0}, losses([math.nan]), state="failed", reason="diverged")
    return [*made, gone]


def test_every_rung_gets_the_verdict_that_its_curve_was_planted_with() -> None:
    found = LearningRates().conclude(base(), ladder(RUNGS))
    told = {row[0]: (row[1], row[2]) for row in found.rows}
    for rate, (_, verdict, why) in RUNGS.items():
        assert told[rate][0] == verdict, rate
        assert told[rate][1].startswith(why), rate
    assert told[10.0] == ("too big", "diverged: the cost became infinite or not a number")
    assert (found.certainty, found.figures["good"]) == ("clear", [0.01, 0.1])
    assert found.verdict.startswith("Good: 0.01 to 0.1. Best: ")
    assert "Too small: 1e-05 and 0.0001. Too big: 1, 5 and 10." in found.verdict


def test_a_ladder_that_ends_among_good_rates_says_that_it_may_go_on() -> None:
    good = {rate: RUNGS[rate] for rate in (1e-4, 1e-2, 1e-1)}
    found = LearningRates().conclude(base(), ladder(good)[:-1])
    assert found.certainty == "weak"
    assert any("ladder ends" in sentence for sentence in found.findings)


def test_where_nothing_learns_no_rate_is_called_good() -> None:
    flat = {rate: ([START] * 10, "", "") for rate in (0.001, 0.01, 0.1)}
    found = LearningRates().conclude(base(), ladder(flat)[:-1])
    assert (found.certainty, found.verdict[:13]) == ("none", "No conclusion")


def test_where_everything_diverges_every_rate_is_too_big() -> None:
    gone = [trial({"learning_rate": r}, losses([]), state="failed", reason="diverged") for r in (1.0, 10.0)]
    found = LearningRates().conclude(base(), gone)
    assert found.verdict == "All 2 rates are too big: every run diverged."


def rising(low: float, best: float, blow: float, noise: float = 0.01, flat: bool = False) -> Trial:
    """A range test whose loss falls about `low` … `best` and explodes above `blow`."""
    rng = np.random.default_rng(3)
    rates = np.geomspace(1e-6, 10, 300)
    fall = 0 if flat else 1.8 / (1 + (low / rates) ** 1.5)
    curve = START - fall + np.where(rates > blow, (np.maximum(rates / blow, 1) - 1) ** 2, 0)
    curve = np.where(flat, START, curve) + noise * rng.normal(size=len(rates))
    steps = range(1, len(rates) + 1)
    return trial(
        {}, {"batch_loss": [*zip(steps, curve, strict=True)], "learning_rate": [*zip(steps, rates, strict=True)]}
    )


def test_the_band_of_a_range_test_lies_between_the_fall_and_the_explosion() -> None:
    found = LearningRateRange().conclude(base(), [rising(3e-3, 1e-1, 0.3)])
    assert found.certainty == "clear"
    low, high, rate = (found.figures[name] for name in ("low", "high", "rate"))
    assert 3e-4 < low < 1e-2 < high < 0.3
    assert low <= rate <= high


def test_a_range_test_without_a_fall_gives_no_band() -> None:
    found = LearningRateRange().conclude(base(), [rising(1, 1, 1, noise=0.3, flat=True)])
    assert (found.certainty, found.verdict[:13]) == ("none", "No conclusion")


def test_a_range_that_ended_too_early_is_believed_less() -> None:
    whole = rising(3e-3, 1e-1, 1e9)
    found = LearningRateRange().conclude(base(), [whole])
    assert found.certainty == "weak"
    assert any("Raise `highest`" in sentence for sentence in found.findings)


def test_a_range_of_a_few_points_has_no_band() -> None:
    assert band(np.geomspace(1, 2, 5), np.ones(5)) is None


def descents(*seconds: float, seeds: int = 1) -> list[Trial]:
    """Batch sizes 1, 10, 1000 that all come down, in the given seconds for 20 epochs."""
    made = []
    for k, (size, took) in enumerate(zip((1, 10, 1000), seconds, strict=True)):
        for seed in range(seeds):
            steps = 1000 // size
            told = [(steps * (e + 1), START * 0.7 ** (e + 1)) for e in range(20)]
            noise = {"start": {"ratio": 8 / math.sqrt(size), "scale": 64.0}}
            series = {"loss": told, "batch_loss": [(1, START), *told]}
            rest: Any = {"train_seconds": took * (1 + 0.01 * seed), "step": 20 * steps, "gradient_noise": noise}
            made.append(trial({"batch_size": size, "seed": seed}, series, number=10 * k + seed, batch=size, **rest))
    return made


def test_the_descent_to_use_is_the_one_that_is_there_first() -> None:
    found = GradientDescent().conclude(base(), descents(40.0, 4.0, 9.0))
    assert found.figures["fastest"] == "10"
    assert found.certainty == "clear"
    # The same share of the way, so the same number of epochs: 8 of 20.
    target = found.figures["target_loss"]
    epochs = math.ceil(math.log(target / START) / math.log(0.7))
    assert found.figures["seconds"]["10"] == pytest.approx(4.0 * epochs / 20)
    rows = {row[0]: row for row in found.rows}
    assert [rows[size][3] for size in (1, 10, 1000)] == [1000 * epochs] * 3
    assert [rows[size][4] for size in (1, 10, 1000)] == [1000 * epochs, 100 * epochs, epochs]
    assert found.figures["noise_scale"] == 64.0


def test_descents_that_take_the_same_time_are_not_told_apart() -> None:
    assert GradientDescent().conclude(base(), descents(4.0, 4.1, 9.0)).certainty == "weak"
    assert GradientDescent().conclude(base(), descents(4.0, 4.01, 9.0, seeds=3)).certainty == "weak"
    assert GradientDescent().conclude(base(), descents(4.0, 6.0, 9.0, seeds=3)).certainty == "clear"


def scored(values: Sequence[float], **varied: Any) -> list[Trial]:
    return [
        trial({**varied, "seed": k}, number=k, test={"accuracy": v}, validation={"accuracy": v})
        for k, v in enumerate(values)
    ]


def test_the_interval_of_seeds_is_student_s() -> None:
    values = [0.91, 0.93, 0.92, 0.95, 0.90]
    found = Seeds().conclude(base(), scored(values))
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert found.figures["mean"] == pytest.approx(np.mean(values))
    assert found.figures["half_width"] == pytest.approx((high - low) / 2, rel=1e-3)
    assert found.figures["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert Seeds().conclude(base(), scored([0.9])).certainty == "none"


def grid_of(*groups: Sequence[float]) -> Conclusion:
    trials = [one for k, values in enumerate(groups) for one in scored(values, units=2 ** (k + 3))]
    return Grid({"network.layers[0].units": [1]}).conclude(base(), trials)


def test_a_grid_s_winner_is_believed_when_its_lead_exceeds_welch_s_interval() -> None:
    a, b = [0.95, 0.96, 0.95, 0.955], [0.90, 0.91, 0.89, 0.90]
    found = grid_of(b, a)
    assert (found.certainty, found.figures["best"]) == ("clear", {"units": 16})
    test = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found.figures["lead_half_width"] == pytest.approx((test.high - test.low) / 2, rel=0.08)


def test_a_grid_s_winner_by_luck_is_not_believed() -> None:
    assert grid_of([0.90, 0.93, 0.95], [0.91, 0.94, 0.92]).certainty == "weak"
    assert grid_of([0.90], [0.91]).certainty == "none"


SIZES = (50, 100, 200, 400, 800, 1600)
Law = Callable[[float], float]


def sized(network: Law, classical: Law, seeds: int = 4, noise: float = 0.002, draw: int = 8) -> list[Trial]:
    """Scores along two laws of errors, with a little noise."""
    rng, made = np.random.default_rng(draw), []
    for n in SIZES:
        for seed in range(seeds):
            ours, theirs = (1 - law(n) + noise * rng.normal() for law in (network, classical))
            row = {"name": "random forest", "rows": n, "scores": {"accuracy": theirs}, "validation_score": theirs}
            told = {"best": row, "tried": [row], "trivial": {"name": "majority class", "scores": {"accuracy": 0.1}}}
            made.append(
                trial({"fraction": n / 1600, "seed": seed}, number=len(made), rows=n, test={"accuracy": ours},
                      baseline=told)
            )  # fmt: skip
    return made


def test_a_network_that_overtakes_is_seen_to_do_so_where_it_does() -> None:
    found = DataSize().conclude(base(), sized(lambda n: 4 / n**0.7, lambda n: 0.5 / n**0.3))
    told = found.figures["crossing"]
    assert told["low"] < told["rows"] < told["high"] < 1.6 * told["low"]
    assert found.certainty == "clear"
    assert found.verdict.startswith("The network is ahead with 1,600 rows")
    gain = found.figures["twice_the_data"]["network"]
    assert gain["low"] < 4 / 1600**0.7 - 4 / 3200**0.7 < gain["high"]


def test_the_interval_of_the_crossing_covers_the_one_that_was_planted() -> None:
    planted, hits = (4 / 0.5) ** (1 / 0.4), 0
    for draw in range(12):
        found = DataSize().conclude(base(), sized(lambda n: 4 / n**0.7, lambda n: 0.5 / n**0.3, draw=draw))
        told = found.figures["crossing"]
        hits += told["low"] < planted < told["high"]
    assert hits >= 10


def test_a_network_that_does_not_win_is_said_not_to() -> None:
    found = DataSize().conclude(base(), sized(lambda n: 1 / n**0.3, lambda n: 0.5 / n**0.3))
    assert (found.certainty, found.verdict[:24]) == ("clear", "The network does not win")
    assert found.figures["crossing"]["rows"] is None


def test_where_luck_decides_nobody_wins() -> None:
    found = DataSize().conclude(base(), sized(lambda n: 0.5 / n**0.3, lambda n: 0.5 / n**0.3, noise=0.01))
    assert (found.certainty, found.verdict[:13]) == ("none", "No conclusion")
    assert DataSize().conclude(base(), sized(lambda n: 1 / n, lambda n: 0.5, seeds=1)).certainty == "none"


def test_a_model_that_ran_out_of_time_is_left_out_and_named() -> None:
    trials = sized(lambda n: 4 / n**0.7, lambda n: 0.5 / n**0.3)
    assert trials[-1].outcome is not None
    trials[-1].outcome["baseline"]["skipped"] = ["gradient boosting"]  # type: ignore[index]
    found = DataSize().conclude(base(), trials)
    assert any("gradient boosting ran out of time (1 of 4 with 1,600 rows)" in sentence for sentence in found.findings)


def test_a_lead_is_weak_where_a_model_is_missing_that_was_better_before() -> None:
    trials = sized(lambda n: 4 / n**0.7, lambda n: 0.5 / n**0.3)
    most = max(one.outline["rows"]["train"] for one in trials)
    for one in trials:
        assert one.outcome is not None
        tried = one.outcome["baseline"]["tried"]
        if one.outline["rows"]["train"] < most:
            better = {name: value + 0.01 for name, value in tried[0]["scores"].items()}
            one.outcome["baseline"]["tried"] = [*tried, {"name": "gradient boosting", "scores": better}]  # type: ignore[index]
    found = DataSize().conclude(base(), trials)
    assert found.certainty == "weak"
    assert any("gradient boosting was better than" in sentence for sentence in found.findings)

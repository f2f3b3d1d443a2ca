"""Search: suggestions follow from what earlier rounds found out, the same for everybody, on both databases."""

import math
import random
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Engine, select

from services.errors import Conflict, Invalid, QuotaExceeded
from services.jobs import JobState, JobStore
from services.lease import Lease
from services.sql.engine import reading
from services.sql.schema import trials as trial_rows
from services.studies.advance import advance
from services.studies.giving_up import give_up
from services.studies.places import at
from services.studies.spec import parse_study
from services.studies.steps import trials_of
from services.studies.store import StudyStore
from services.studies.suggest import Axis, Past, given_up, suggestions
from services.studies.values import Study, StudyState
from tests.services.studies.made import study

RATE, UNITS = "training.optimizer.learning_rate", "network.layers[0].units"
SPACE = {RATE: {"low": 1e-4, "high": 1.0, "scale": "log"}, UNITS: {"low": 4, "high": 32, "step": 4}}
EPOCHS = 10


def search(**more: Any) -> dict[str, Any]:
    """A search around the iris job, ten epochs long, with rows to validate."""
    spec = study("search", space=SPACE, trials=9, together=3)
    training = {**spec["job"]["training"], "epochs": EPOCHS, "metrics": ["accuracy"]}
    training.pop("early_stopping", None)
    return spec | {"job": {**spec["job"], "training": training}} | more


def hill(spec: Mapping[str, Any]) -> float:
    """A score whose best is at a rate of 0.3 and 24 units."""
    rate, units = float(at(spec, RATE)), int(at(spec, UNITS))
    return 1.0 - 0.1 * (math.log10(rate) + 0.5) ** 2 - 0.0005 * (units - 24) ** 2


@pytest.fixture
def studies(engine: Engine) -> StudyStore:
    return StudyStore(engine)


def begin(studies: StudyStore, **more: Any) -> Study:
    """Post one."""
    return studies.submit("t", parse_study(search(**more)))[0]


def finish(lease: Lease, score: float, stopped_after: int = EPOCHS) -> None:
    """The job trained, its validation accuracy rose in a line, and ended at `score`."""
    steps = int(lease.job.outline["steps_per_epoch"])
    rows = [(epoch * steps, "val_accuracy", score * epoch / EPOCHS) for epoch in range(1, stopped_after + 1)]
    lease.succeed("completed", {"test": {"accuracy": score - 0.01}, "validation": {"accuracy": score}}, [], rows)


def run(engine: Engine, score: Callable[[Mapping[str, Any]], float | None], seed: int = 0) -> int:
    """Workers and rounds until nothing is left; jobs of a round end in any order. None: the job fails."""
    dice, ran = random.Random(seed), 0
    for _ in range(200):
        moved = advance(engine)
        held: list[Lease] = []
        while (lease := Lease.claim(engine, f"w{len(held)}", {"cpu"})) is not None:
            held.append(lease)
        dice.shuffle(held)
        for lease in held:
            value = score(lease.job.spec)
            ran += 1
            lease.fail("internal_error", "broken") if value is None else finish(lease, value)
        if not moved and not held:
            return ran
    raise AssertionError("the search does not end")


def tried(studies: StudyStore, id: str) -> list[tuple[float, int]]:
    """Rate and units of every trial, in the order of the search."""
    found = [trial.varied for trial in studies.trials("t", id)]
    assert [varied["trial"] for varied in found] == list(range(len(found)))
    return [(varied["learning_rate"], varied["units"]) for varied in found]


def test_it_begins_with_the_job_as_posted_and_knows_how_many_will_follow(studies: StudyStore) -> None:
    begun = begin(studies)
    assert begun.counts == {"queued": 1, "waiting": 8}
    assert begun.progress == 0
    assert tried(studies, begun.id) == [(0.02, 16)]


def test_rounds_follow_each_other_to_the_verdict(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies)
    assert run(engine, hill) == 9
    done = studies.get("t", begun.id)
    assert (done.state, done.counts, done.progress) == (StudyState.SUCCEEDED, {"succeeded": 9}, 1)
    assert done.result is not None
    columns = ["trial", "learning_rate", "units", "validation accuracy", "test accuracy", "state", "job"]
    assert done.result["columns"] == columns
    values = [row[3] for row in done.result["rows"]]
    assert values == sorted(values, reverse=True)
    assert done.result["figures"]["score"] == max(values)
    assert "The job as posted has 0.82" in done.result["verdict"]
    for rate, units in tried(studies, begun.id)[1:]:
        assert 1e-4 <= rate <= 1
        assert units in range(4, 33, 4)
    assert len(set(tried(studies, begun.id))) > 6


def test_the_same_spec_gives_the_same_trials_in_whatever_order_they_end(engine: Engine, studies: StudyStore) -> None:
    ways = []
    for seed in range(3):
        begun = begin(studies)
        run(engine, hill, seed)
        ways.append(tried(studies, begun.id))
    assert ways[0] == ways[1] == ways[2]
    other = search()
    other["job"]["training"] = {**other["job"]["training"], "seed": 8}
    begun = studies.submit("t", parse_study(other))[0]
    run(engine, hill)
    assert tried(studies, begun.id) != ways[0]


def test_tpe_comes_nearer_to_the_best_than_chance(engine: Engine, studies: StudyStore) -> None:
    lead = []
    for seed in range(3):
        best = {}
        for sampler in ("tpe", "random"):
            spec = search(sampler=sampler, trials=40, together=4)
            spec["job"]["training"] = {**spec["job"]["training"], "seed": seed}
            begun = studies.submit("t", parse_study(spec))[0]
            run(engine, hill)
            result = studies.get("t", begun.id).result
            assert result is not None
            scores = sorted((row[3] for row in result["rows"]), reverse=True)
            best[sampler] = sum(scores[:10]) / 10
        lead.append(best["tpe"] - best["random"])
    assert sorted(lead)[1] > 0


def test_a_trial_that_fails_or_diverges_does_not_end_the_search(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies)
    run(engine, lambda spec: None if at(spec, RATE) > 0.1 else hill(spec))
    done = studies.get("t", begun.id)
    assert done.state is StudyState.SUCCEEDED
    assert sum(done.counts.values()) == 9
    assert done.result is not None
    assert {row[5] for row in done.result["rows"]} <= {"succeeded", "failed"}


def test_a_search_of_which_all_fails_gives_up_after_two_rounds(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies)
    assert run(engine, lambda spec: None) == 4
    assert studies.get("t", begun.id).state is StudyState.FAILED


def test_cancelling_ends_it_between_rounds(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies)
    advance(engine)
    studies.cancel("t", begun.id)
    run(engine, hill)
    done = studies.get("t", begun.id)
    assert (done.state, done.counts) == (StudyState.CANCELLED, {"cancelled": 1})


def test_processes_that_move_it_on_at_once_choose_no_round_twice(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies)
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    finish(lease, 0.5)
    with reading(engine) as connection:
        stale = [dict(row) for row in connection.execute(select(trial_rows)).mappings()]
    assert sum(advance(engine) for _ in range(3)) == 1
    assert len(studies.trials("t", begun.id)) == len(stale) + 3


def test_no_seed_can_be_added(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies)
    run(engine, hill)
    with pytest.raises(Conflict, match="no further seeds"):
        studies.extend("t", begun.id, parse_study(search(seeds=2)))


def test_all_its_trials_count_against_the_quota(engine: Engine) -> None:
    with pytest.raises(QuotaExceeded):
        StudyStore(engine, max_queued=8).submit("t", parse_study(search()))


def test_with_several_seeds_the_lead_has_an_interval(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies, seeds=2, trials=4)
    assert run(engine, lambda spec: hill(spec) + 0.001 * spec["training"]["seed"]) == 8
    result = studies.get("t", begun.id).result
    assert result is not None
    assert result["columns"][4] == "±"
    assert len(result["rows"]) == 4


@pytest.mark.parametrize(
    ("space", "code", "words"),
    [
        ({RATE: {"low": 1, "high": 0.1}}, "out_of_range", "not below"),
        ({RATE: {"low": 0, "high": 1, "scale": "log"}}, "out_of_range", "logarithmic"),
        ({RATE: {"low": 0.1}}, "wrong_axis", "either"),
        ({RATE: {}}, "wrong_axis", "either"),
        ({RATE: {"low": 0.1, "high": 1, "choices": [1, 2]}}, "wrong_axis", "either"),
        ({RATE: {"choices": [0.1, 0.1]}}, "twice", "twice"),
        ({RATE: {"low": 0.1, "high": 1, "step": 2}}, "out_of_range", "step"),
        ({"training.rate": {"low": 0.1, "high": 1}}, "unknown_key", "rate"),
        ({"network.layers[9].units": {"low": 1, "high": 4}}, "no_such_place", "no place"),
        ({"training.seed": {"low": 1, "high": 4}}, "misplaced_key", "seeds"),
        ({RATE: {"low": -1.0, "high": 1.0}}, "greater_than", "learning_rate"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_with_its_place(
    space: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(Invalid) as refused:
        parse_study(search(space=space))
    told = [(one.code, f"{one.path} {one.message}") for one in refused.value.mistakes]
    assert any(found == code and words in text for found, text in told), told


def test_all_axes_are_judged_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        parse_study(search(space={RATE: {"low": 1, "high": 0}, UNITS: {"choices": [4, 4]}}, pruner="median"))
    assert {one.path for one in refused.value.mistakes} == {f"space.{RATE}", f"space.{UNITS}"}


def test_a_pruner_wants_epochs_to_look_at() -> None:
    spec = search(pruner="median")
    spec["job"]["training"] = {**spec["job"]["training"], "epochs": 200}
    with pytest.raises(Invalid, match="epochs"):
        parse_study(spec)


def straight(score: float, epochs: int = EPOCHS) -> Past:
    """A trial whose value rises in a line."""
    curve = [(epoch, score * epoch / EPOCHS) for epoch in range(1, epochs + 1)]
    return Past({}, curve, EPOCHS, score, "done")


def test_what_is_worse_than_the_median_of_earlier_rounds_is_given_up() -> None:
    earlier = [straight(score) for score in (0.9, 0.8, 0.7, 0.6)]
    ends = given_up("median", "max", [[straight(0.5)], earlier, [straight(0.95), straight(0.3)]])
    assert ends[:2] == [[None], [None] * 4]
    assert ends[2][0] is None
    assert ends[2][1] == EPOCHS // 5 + 1
    assert given_up("quartile", "max", [[straight(0.5)], earlier, [straight(0.75)]])[2] == [EPOCHS // 5 + 1]
    assert given_up("median", "max", [[straight(0.5)], earlier, [straight(0.75)]])[2] == [None]
    assert given_up("none", "max", [earlier, [straight(0.1)]])[1] == [None]


def test_a_round_judges_nobody_by_its_own_members() -> None:
    round_ = [straight(score) for score in (0.9, 0.8, 0.7, 0.6, 0.1)]
    assert given_up("median", "max", [round_]) == [[None] * 5]


def test_a_hopeless_trial_is_asked_to_stop_and_counts_as_given_up(engine: Engine, studies: StudyStore) -> None:
    begun = begin(studies, pruner="median", trials=12, together=5)
    for _ in range(2):
        advance(engine)
        while (lease := Lease.claim(engine, "w", {"cpu"})) is not None:
            finish(lease, 0.8)
    advance(engine)
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    steps = int(lease.job.outline["steps_per_epoch"])
    told = [(epoch * steps, 0.01 * epoch) for epoch in (1, 2, 3, 4)]
    lease.record([("metric", {"step": step, "values": {"val_accuracy": value}}) for step, value in told])
    advance(engine)
    job = JobStore(engine).get("t", lease.job.id)
    assert job.stop_requested
    finish(lease, 0.04, stopped_after=4)
    run(engine, lambda spec: 0.8)
    result = studies.get("t", begun.id).result
    assert result is not None
    lost = [row for row in result["rows"] if str(row[5]).startswith("given up")]
    assert [row[6] for row in lost] == [lease.job.id]
    assert result["rows"][-1] == lost[0]


def test_a_trial_that_ran_to_the_end_before_anybody_looked_counts_as_given_up_all_the_same(
    engine: Engine, studies: StudyStore
) -> None:
    begun = begin(studies, pruner="median", trials=12, together=5)
    run(engine, hill)
    with reading(engine) as connection:
        known = trials_of(connection, begun.id)
    result = studies.get("t", begun.id).result
    assert result is not None
    lost = {row[0] for row in result["rows"] if str(row[5]).startswith("given up")}
    assert lost
    assert all(trial.done for trial in known)
    score = {trial.varied["trial"]: float(trial.outcome["validation"]["accuracy"]) for trial in known if trial.outcome}
    for number in lost:
        first = (number - 1) // 5 * 5 + 1
        assert score[number] < median(score[other] for other in range(first) if other not in lost)


def test_nothing_running_means_nothing_to_give_up(engine: Engine, studies: StudyStore) -> None:
    begin(studies, pruner="median")
    with reading(engine) as connection:
        from services.sql.schema import studies as rows

        row = connection.execute(select(rows)).mappings().one()
    assert give_up(engine, row) == 0
    assert JobStore(engine).find("t", state=JobState.RUNNING).items == ()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_suggestions_lie_on_their_axes(sampler: Any) -> None:
    space = {
        "a": Axis(low=1e-5, high=0.123456789, scale="log"), "b": Axis(low=3, high=17, step=4),
        "c": Axis(choices=["x", {"type": "adam"}, None]), "d": Axis(low=-1.0, high=1.0, step=0.25),
    }  # fmt: skip
    past: list[Past] = []
    for _ in range(8):
        for values in suggestions(space, sampler, "min", past, 4, 3):
            assert all(axis.holds(values[place]) for place, axis in space.items())
            assert values["b"] in (3, 7, 11, 15)
            assert values["d"] * 4 == int(values["d"] * 4)
            past.append(Past(values, [], 1, abs(values["d"]), "done"))
    assert len({str(one.values["c"]) for one in past}) == 3

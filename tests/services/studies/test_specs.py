"""Studies as users write them: every mistake at once, every trial a job that would be taken by itself."""

import itertools
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.documents import from_yaml
from services.errors import Invalid
from services.spec import parse_job
from services.studies.spec import MOST_TRIALS, family, key_of, kind_of, kinds, parse_study, study_schema
from tests.services.jobs_to_post import IRIS, changed
from tests.services.studies.made import study

EXAMPLES = sorted(Path("examples/studies").glob("*.yaml"))
KINDS = {"data_size", "gradient_descent", "grid", "learning_rate_range", "learning_rates", "search", "seeds"}
SMALLEST: dict[str, dict[str, Any]] = {
    "grid": {"vary": {"training.batch_size": [8, 16]}},
    "search": {"space": {"training.batch_size": {"low": 8, "high": 16}}},
}
AUTOENCODER = changed(
    IRIS, task="autoencoder", network={"layers": [{"type": "dense", "units": 4}]}, training__loss="mean_squared_error"
)


def mistakes_of(data: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse_study(data)
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def test_a_kind_is_a_file_in_the_folder() -> None:
    assert set(kinds.members) == KINDS
    assert {cls.__module__.rpartition(".")[2] for cls in kinds.members.values()} == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_needs_no_more_than_a_job(kind: str) -> None:
    planned = parse_study(study(kind, **SMALLEST.get(kind, {})))
    assert planned.trials
    assert len({key_of(trial.varied) for trial in planned.trials}) == len(planned.trials)
    for trial in planned.trials:
        assert parse_job(trial.spec).resolved() == trial.spec
    again = parse_study(planned.spec)
    assert again.trials == planned.trials
    assert kind_of(planned.spec) == planned.kind


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_is_a_study_and_fits_the_schema(example: Path) -> None:
    data = from_yaml(example.read_bytes())
    jsonschema.Draft202012Validator(study_schema()).validate(data)
    assert parse_study(data).trials


def test_the_schema_knows_the_job_inside() -> None:
    wrong = study("seeds", job={**IRIS, "task": "cooking"})
    validator = jsonschema.Draft202012Validator(study_schema())
    assert not list(validator.iter_errors(study("seeds")))
    assert list(validator.iter_errors(wrong))
    assert list(validator.iter_errors("seeds"))


def test_all_mistakes_come_at_once_at_their_places() -> None:
    job = changed(IRIS, training__optimizer="sdg", dataset={"name": "irsi"})
    found = mistakes_of({"type": "learning_rates", "learning_rates": [0.1, -1], "sedes": 2, "job": job})
    assert {"learning_rates[1]", "sedes", "job.training.optimizer.type", "job.dataset.name"} <= found.keys()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"job": IRIS}, "type"),
        ({"type": "sedes", "job": IRIS}, "type"),
        ({"type": "seeds"}, "job"),
        ({"type": "seeds", "job": [1]}, "job"),
        ([1], ""),
        ("type: seeds\njob: {task: x}\n", "job.task"),
        (study("seeds", seeds=0), "seeds"),
        (study("seeds", metric="acuracy"), "metric"),
        (study("seeds", metric="mean_squared_error"), "metric"),
        (study("seeds", parallel=0), "parallel"),
        (study("learning_rates", learning_rates=[0.1, 0.1]), "learning_rates"),
        (study("gradient_descent", descents=[1, {"batch_size": 1}]), "descents"),
        (study("gradient_descent", descents=[0, 8]), "descents[0]"),
        (study("learning_rate_range", lowest=1, highest=2), "highest"),
        (study("data_size", fractions=[0.5, 0.501]), "fractions"),
        (study("data_size", job=AUTOENCODER), "job.task"),
        (study("grid"), "vary"),
        (study("grid", vary={"training.seed": [1, 2]}), "vary.training.seed"),
        (study("grid", vary={"training.batch_size": [8, 8]}), "vary.training.batch_size"),
        (study("grid", vary={"training.batch_sice": [8, 9]}), "job.training.batch_sice"),
        (study("grid", vary={"network.layers[9].units": [8, 9]}), "job.network.layers[9].units"),
        (study("grid", vary={"training.batch_size": [8, -8]}), "job.training.batch_size"),
        (study("grid", vary={f"dataset.split.{k}": list(range(25)) for k in ("seed", "train")}), ""),
    ],
)
def test_a_mistake_is_told_where_it_stands(data: Any, place: str) -> None:
    assert place in mistakes_of(data)


def test_a_trial_s_mistake_names_the_values_that_led_to_it() -> None:
    found = mistakes_of(study("grid", vary={"network.layers[2].units": [3, 4]}))
    assert any("units: 4" in message for message in found.values())


def test_a_grid_is_the_product_of_its_values_and_seeds() -> None:
    vary = {"training.batch_size": [8, 16], "training.optimizer.learning_rate": [0.1, 0.01]}
    planned = parse_study(study("grid", vary=vary, seeds=3))
    assert len(planned.trials) == 2 * 2 * 3
    last = planned.trials[-1]
    assert last.varied == {"batch_size": 16, "learning_rate": 0.01, "seed": 5}
    assert (last.spec["training"]["batch_size"], last.spec["training"]["optimizer"]["learning_rate"]) == (16, 0.01)
    assert last.spec["training"]["seed"] == 5


def test_the_baseline_is_scored_once_because_the_split_is_the_same() -> None:
    planned = parse_study(study("seeds", job={**IRIS, "baseline": True}))
    assert [trial.spec["baseline"] for trial in planned.trials] == [True, False, False, False, False]
    planned = parse_study(study("data_size", job={**IRIS, "baseline": False}))
    assert all(trial.spec["baseline"] == {"seconds": 60.0, "whole": True} for trial in planned.trials)


def test_a_metric_that_the_job_does_not_measure_is_measured() -> None:
    planned = parse_study(study("seeds", metric="f1_score"))
    assert planned.base.metric in planned.trials[0].spec["training"]["metrics"]


def test_data_size_varies_the_rows_but_never_the_test_part() -> None:
    planned = parse_study(study("data_size", fractions=[0.1, 1.0], longest=4))
    small, large = planned.trials[0], planned.trials[-1]
    assert (small.outline["rows"]["train"], large.outline["rows"]["train"]) == (11, 108)
    assert small.outline["rows"]["test"] == large.outline["rows"]["test"] == 30
    assert (small.spec["training"]["epochs"], large.spec["training"]["epochs"]) == (120, 30)
    assert {trial.spec["dataset"]["split"]["seed"] for trial in planned.trials} == {1, 2, 3}


def test_parts_of_a_data_size_study_are_nested_and_their_test_part_is_fixed() -> None:
    from services.datasets import Split, load

    parts = [load("iris", Split(seed=2), train_fraction=fraction) for fraction in (0.1, 0.5, 1.0)]
    for small, large in itertools.pairwise(parts):
        assert (small.train.x == large.train.x[: len(small.train)]).all()
        assert (small.test.x == large.test.x).all()
    assert (load("iris", Split(seed=3)).test.x == parts[0].test.x).all()


def test_a_study_has_a_bounded_number_of_trials() -> None:
    vary = {"training.batch_size": list(range(1, 27)), "training.epochs": list(range(1, 21))}
    with pytest.raises(Invalid) as caught:
        parse_study(study("grid", vary=vary))
    assert f"at most {MOST_TRIALS}" in str(caught.value.mistakes[0].hint)


def test_an_alias_is_the_kind_itself() -> None:
    assert parse_study(study("lr_find")).spec["type"] == "learning_rate_range"
    assert set(family().names.values()) == KINDS

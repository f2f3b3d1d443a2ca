"""What a retry may change of a spec whose checkpoint it goes on from, and how training goes on with the change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import training_job
from services.errors import Invalid
from services.retry import begins_from, changed, hindrances, merged
from services.spec import parse_job
from tests.services.agent_jobs import job_of
from tests.services.jobs_to_post import IRIS
from tests.services.jobs_to_post import changed as with_values

EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""The examples of RFC 7396, appendix A."""

documents = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("target", "patch", "result"), EXAMPLES)
def test_a_merge_patch_is_that_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@given(before=documents, after=documents)
def test_two_documents_differ_somewhere_exactly_when_they_are_not_equal(before: Any, after: Any) -> None:
    assert bool(list(changed(before, after))) == (before != after)


def resolved(spec: dict[str, Any]) -> dict[str, Any]:
    return parse_job(spec).resolved()


SURVIVES: dict[str, Any] = {
    "name": "other", "labels": ["x"], "baseline": True, "resources": {"max_runtime": "1h"},
    "reliability": {"keep_last": 5}, "training__epochs": 99, "training__early_stopping": {"patience": 3},
    "training__learning_rate_schedule": "cosine", "training__clipnorm": 1.0,
    "training__optimizer": {"type": "adam", "learning_rate": 0.5, "beta_1": 0.8},
}  # fmt: skip


@pytest.mark.parametrize("path", SURVIVES)
def test_a_checkpoint_survives(path: str) -> None:
    assert not list(hindrances(resolved(IRIS), resolved(with_values(IRIS, **{path: SURVIVES[path]}))))


PERISHES: dict[str, Any] = {
    "network__layers": [*IRIS["network"]["layers"][:1], IRIS["network"]["layers"][2]], "dataset__train_fraction": 0.5,
    "dataset__preprocessing": [], "training__batch_size": "full", "training__seed": 4, "training__shuffle": False,
    "training__metrics": ["accuracy", "top_2_accuracy"], "training__optimizer": "sgd",
}  # fmt: skip


@pytest.mark.parametrize("path", PERISHES)
def test_a_checkpoint_does_not_survive(path: str) -> None:
    before, after = resolved(IRIS), resolved(with_values(IRIS, **{path: PERISHES[path]}))
    with pytest.raises(Invalid) as refused:
        begins_from("checkpoint", True, before, after)
    assert {mistake.code for mistake in refused.value.mistakes} == {"needs_fresh_start"}
    assert all(m.path.startswith(path.replace("__", ".")) for m in refused.value.mistakes)
    assert not begins_from("start", True, before, after)
    assert not begins_from(None, False, before, after)


def test_the_optimizers_slots_decide_whether_its_settings_may_change() -> None:
    plain = with_values(IRIS, training__optimizer={"type": "sgd", "learning_rate": 0.1})
    heavy = with_values(IRIS, training__optimizer={"type": "sgd", "learning_rate": 0.1, "momentum": 0.9})
    (mistake,) = hindrances(resolved(plain), resolved(heavy))
    assert mistake.message == "so set, sgd keeps velocity; the checkpoint holds nothing"


def test_an_agent_may_go_on_for_longer_but_not_for_less() -> None:
    before = resolved(job_of("dqn"))
    longer, shorter = (resolved(with_values(job_of("dqn"), training__total_timesteps=n)) for n in (3000, 600))
    assert not list(hindrances(before, longer))
    assert [mistake.path for mistake in hindrances(before, shorter)] == ["training.total_timesteps"]


def test_a_spec_stored_before_a_key_existed_does_not_seem_changed() -> None:
    older = {key: value for key, value in resolved(IRIS).items() if key not in ("reliability", "labels")}
    older["dataset"] = {k: v for k, v in older["dataset"].items() if k != "train_fraction"}
    assert begins_from("checkpoint", True, older, resolved(IRIS))


class Leaving:
    """Asks for a checkpoint at every event."""

    def __call__(self) -> bool:
        return False

    def checkpoint_wanted(self) -> bool:
        return True


def told(spec: dict[str, Any], folder: Path, resume: Path | None = None, stop: Any = lambda: False) -> Iterator[Any]:
    return training_job.run(resolved(spec), folder, resume, "cpu", 1, Path("unused"), stop)


STOPPING = {"monitor": "val_loss", "patience": 1, "min_delta": 100.0}
"""Nothing improves by that much after the first epoch: the run stops after the second."""


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The last checkpoint of a run that stopped early."""
    spec = with_values(IRIS, training__early_stopping=STOPPING)
    found = list(told(spec, tmp_path / "first", stop=Leaving()))
    assert (found[-1]["reason"], found[-1]["result"]["epochs"]) == ("early_stopped", 2)
    return Path([message for message in found if message["type"] == "checkpoint"][-1]["path"])


def ending(stopping: Any, checkpoint: Path, folder: Path) -> tuple[str, int, int | None]:
    spec = with_values(IRIS, training__early_stopping=stopping, training__epochs=6)
    done = list(told(spec, folder, checkpoint))[-1]
    return done["reason"], done["result"]["epochs"], done["result"]["best_epoch"]


def test_with_more_patience_a_run_that_stopped_early_goes_on(stopped: Path, tmp_path: Path) -> None:
    assert ending(STOPPING | {"patience": 3}, stopped, tmp_path / "on") == ("early_stopped", 4, 1)


def test_with_the_same_patience_it_is_over(stopped: Path, tmp_path: Path) -> None:
    assert ending(STOPPING, stopped, tmp_path / "on") == ("early_stopped", 2, 1)


def test_without_early_stopping_it_goes_to_the_end_and_keeps_the_last_weights(stopped: Path, tmp_path: Path) -> None:
    assert ending(None, stopped, tmp_path / "on") == ("completed", 6, None)


def test_another_goal_forgets_what_was_best_in_the_old_one(stopped: Path, tmp_path: Path) -> None:
    reason, epochs, best = ending({"monitor": "val_accuracy", "patience": 50, "mode": "max"}, stopped, tmp_path / "on")
    assert (reason, epochs) == ("completed", 6)
    assert best is not None
    assert best > 2

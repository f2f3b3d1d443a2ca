"""Errors speak for themselves: docstring, hint, and every mistake at once."""

import pytest

from services import errors
from services.errors import Invalid, LeaseLost, Mistake, NotFound, StorageFull, TrainyardError, did_you_mean


def _tree(root: type[TrainyardError]) -> list[type[TrainyardError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def test_the_docstring_is_the_default_message() -> None:
    assert str(LeaseLost()) == "This attempt no longer holds the job; nothing of the write was kept."
    assert StorageFull("No room.", hint="Delete a job.").hint == "Delete a job."


def test_every_class_has_a_docstring_and_a_code_of_its_own() -> None:
    ours = [one for one in _tree(TrainyardError) if one.__module__ == errors.__name__]
    assert len({one.code for one in ours}) == len(ours) >= 13
    assert all(one.__doc__ for one in ours)


def test_invalid_carries_every_mistake() -> None:
    mistakes = [Mistake("name", "long", "is too long"), Mistake("training.epochs", "small", "must be 1 or more")]
    problem = Invalid(mistakes)
    assert problem.mistakes == tuple(mistakes)
    assert problem.message == "name: is too long; training.epochs: must be 1 or more"


def test_an_unknown_name_lists_the_known_ones_and_guesses() -> None:
    problem = NotFound("layer", "dens", known=["dense", "conv2d"])
    assert problem.message == "There is no layer 'dens'."
    assert problem.hint == "Did you mean 'dense'? Known: conv2d, dense."


@pytest.mark.parametrize(("known", "says"), [([], "Known: none."), (["a"], "Known: a.")])
def test_a_name_unlike_all_others_is_not_guessed(known: list[str], says: str) -> None:
    assert did_you_mean("zzz", known) == says

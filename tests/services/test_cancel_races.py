"""Cancel against finish, death, reaper and claim, all at the same moment: the user's answer agrees with the end."""

import random

from sqlalchemy import Engine

from tests.chaos.races import races


def test_whoever_wins_the_job_ends_once_and_as_the_user_was_told(engine: Engine) -> None:
    outcomes, wrong = races(engine, 50, random.Random(8), lambda _: None)
    assert wrong == []
    assert len(outcomes) >= 3, outcomes

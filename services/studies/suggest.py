"""Suggestions and early ends from what earlier rounds found out, by Optuna (Akiba et al. 2019).

Nothing of Optuna is kept: each call rebuilds its study in memory from plain values, asks, and forgets. So the same past
gives the same suggestions, whoever asks and however often. Optuna is imported by who asks: no server needs it to begin.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, final

from services.studies.space import Axis

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "random"]
Pruner = Literal["none", "median", "quartile"]
State = Literal["done", "given up", "diverged", "failed"]

STARTUP: Final = 4
"""So many trials must have run to their end before any is given up."""
WARM: Final = 5
"""No trial is given up in the first fifth of its epochs."""
_PERCENT: Final = {"median": 50.0, "quartile": 25.0}


@final
@dataclass(frozen=True)
class Past:
    """What became of a suggestion: its values by place, values of the judged metric by epoch, its score."""

    values: Mapping[str, Any]
    curve: Sequence[tuple[int, float]]
    epochs: int
    score: float | None
    state: State


def suggestions(
    space: Mapping[str, Axis], sampler: Sampler, better: str, past: Sequence[Past], count: int, seed: int
) -> list[dict[str, Any]]:
    """`count` sets of values by place; the same for the same past and seed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ways = {place: _distribution(axis) for place, axis in space.items()}
    chooser: Any = optuna.samplers.RandomSampler(seed=_mixed(seed, len(past)))
    if sampler == "tpe":
        # The liar keeps suggestions of one round apart: none of them knows yet what the others will find.
        chooser = optuna.samplers.TPESampler(
            seed=_mixed(seed, len(past)), multivariate=True, constant_liar=True, n_startup_trials=2 * STARTUP
        )
    study = optuna.create_study(direction=_direction(better), sampler=chooser)
    for one in past:
        if one.state != "failed" and all(axis.holds(one.values.get(place)) for place, axis in space.items()):
            study.add_trial(_told(one, space, ways))
    asked = [study.ask(ways) for _ in range(count)]
    return [{place: _value(axis, trial.params[place]) for place, axis in space.items()} for trial in asked]


def given_up(pruner: Pruner, better: str, rounds: Sequence[Sequence[Past]]) -> list[list[int | None]]:
    """For each trial of each round, the epoch after which it was beyond hope, by the trials of earlier rounds alone.

    A trial is given up when the best value that it has had so far is worse than the median (the best quarter) of what
    the others had by then: Optuna's PercentilePruner.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=_direction(better))
    found = []
    for round_ in rounds:
        ends = [_end(study, pruner, one) for one in round_]
        found.append(ends)
        for one, end in zip(round_, ends, strict=True):
            if one.state == "done" and end is None and one.score is not None:
                study.add_trial(optuna.trial.create_trial(value=one.score, intermediate_values=dict(one.curve)))
    return found


def _end(study: optuna.Study, pruner: Pruner, one: Past) -> int | None:
    import optuna

    if pruner == "none" or one.state == "failed":
        return None
    study.pruner = optuna.pruners.PercentilePruner(
        _PERCENT[pruner], n_startup_trials=STARTUP, n_warmup_steps=one.epochs // WARM + 1
    )
    trial = study.ask()
    for epoch, value in one.curve:
        trial.report(value, epoch)
        if epoch < one.epochs and trial.should_prune():
            return epoch
    return None


def _told(one: Past, space: Mapping[str, Axis], ways: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
    """A trial as Optuna knows it; what diverged or was given up counts as worse than all that ran to their end."""
    import optuna

    values = {place: axis.choices.index(one.values[place]) if axis.choices is not None else one.values[place]
              for place, axis in space.items()}  # fmt: skip
    whole = one.state == "done" and one.score is not None
    state = optuna.trial.TrialState.COMPLETE if whole else optuna.trial.TrialState.PRUNED
    return optuna.trial.create_trial(
        state=state, value=one.score if whole else None, params=values, distributions=dict(ways),
        intermediate_values=dict(one.curve) if one.state == "given up" else {},
    )  # fmt: skip


def _distribution(axis: Axis) -> Any:
    import optuna

    if axis.choices is not None:
        return optuna.distributions.CategoricalDistribution(range(len(axis.choices)))
    assert axis.low is not None
    assert axis.high is not None
    log, high = axis.scale == "log", axis.high
    if axis.step is not None:
        high = axis.low + math.floor((axis.high - axis.low) / axis.step + 1e-9) * axis.step
    if axis.whole:
        return optuna.distributions.IntDistribution(int(axis.low), int(high), log=log, step=int(axis.step or 1))
    return optuna.distributions.FloatDistribution(float(axis.low), float(high), log=log, step=axis.step)


def _value(axis: Axis, suggested: Any) -> Any:
    """Numbers with six digits: as good, and as they are read."""
    if axis.choices is not None:
        return axis.choices[suggested]
    if axis.whole:
        return int(suggested)
    assert axis.low is not None
    assert axis.high is not None
    return min(max(float(f"{suggested:.6g}"), float(axis.low)), float(axis.high))


def _direction(better: str) -> Literal["maximize", "minimize"]:
    return "maximize" if better == "max" else "minimize"


def _mixed(seed: int, past: int) -> int:
    """Another seed for every round."""
    return int.from_bytes(hashlib.sha256(f"{seed} {past}".encode()).digest()[:4])

"""Search for good values in a space: what earlier trials found out says what is tried next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, final

from annotated_types import Interval, Len

from services.agents.spec import TASK
from services.errors import Mistake
from services.studies.found import found_of, past_of, validated
from services.studies.kind import SUPERVISED, Base, Conclusion, Kind, Trial, Variant
from services.studies.places import at, short_names
from services.studies.ranking import ranked
from services.studies.space import Axis, mistakes_of_axis
from services.studies.suggest import Pruner, Sampler, given_up, suggestions

FEWEST_EPOCHS: Final = 5
MOST_EPOCHS: Final = 100
"""A pruner looks at every epoch; longer series are thinned once a trial is over."""


@final
@dataclass(frozen=True)
class Search(Kind):
    """Good values for several places at once, found by trial: trial 0 is the job as posted, then `together` suggestions
    at a time follow from all that is known by then.

    `space` names places in the job: `training.optimizer.learning_rate: {low: 0.0001, high: 1, scale: log}`,
    `network.layers[0].units: {low: 16, high: 256, step: 16}`, `training.batch_size: {choices: [16, 64]}`. `sampler` is
    tpe (Bergstra et al. 2011) or random (Bergstra & Bengio 2012), both by Optuna. With `pruner`, a trial whose best
    validation score is worse than the median (quartile: the best quarter) of those of earlier rounds at the same epoch
    is finished early. The same spec and seed give the same trials, in whatever order workers end them.
    """

    type: ClassVar[str] = "search"
    aliases: ClassVar[tuple[str, ...]] = ("hyperparameter_search",)
    tasks: ClassVar[tuple[str, ...]] = (*SUPERVISED, TASK)
    extendable: ClassVar[bool] = False
    gives_up: ClassVar[bool] = True
    space: Annotated[dict[str, Axis], Len(1, 12)]
    trials: Annotated[int, Interval(ge=2, le=500)] = 20
    together: Annotated[int, Interval(ge=1, le=50)] = 4
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"

    def mistakes(self, base: Base) -> list[Mistake]:
        """Axes that are none, places that the job does not have, a pruner without anything to look at."""
        found = [one for place, axis in self.space.items() for one in mistakes_of_axis(base, place, axis)]
        if self.pruner == "none":
            return found
        epochs = int(at(base.job, "training.epochs", 0) or 0)
        if not validated(base):
            hint = "Give the job a validation part (dataset.split), or leave the pruner out."
            found.append(Mistake("pruner", "needs_validation", "there are no validation rows to judge trials by", hint))
        if not FEWEST_EPOCHS <= epochs <= MOST_EPOCHS:
            hint = f"It needs {FEWEST_EPOCHS} to {MOST_EPOCHS}."
            found.append(Mistake("pruner", "out_of_range", f"a pruner looks at epochs; the job has {epochs}", hint))
        return found

    def variants(self, base: Base) -> Sequence[Variant]:
        """The job as posted: what all others are compared with."""
        return [Variant({"trial": 0, **{name: at(base.job, place) for place, name in self._names.items()}}, {})]

    def probes(self, base: Base) -> Sequence[Variant]:
        """Both ends of every axis, or every choice, the other places as posted."""
        corners = [(place, value) for place, axis in self.space.items() for value in axis.corners]
        return [Variant({self._names[place]: value}, {place: value}) for place, value in corners]

    def count(self, base: Base) -> int:
        """As many as the user wants."""
        return self.trials

    def further(self, base: Base, trials: Sequence[Trial]) -> Sequence[Variant]:
        """The next round. A search whose first two rounds all failed ends: something else is wrong."""
        known = found_of(base, self._names, trials, self._rounds(trials), self.pruner)
        count = min(self.together, self.trials - len(known))
        if count < 1 or (len(known) > self.together and all(one.past.state == "failed" for one in known)):
            return []
        past, seed = [one.past for one in known], int(at(base.job, "training.seed", 0))
        chosen = suggestions(self.space, self.sampler, base.better, past, count, seed)
        # A whole section before what stands in it.
        return [
            Variant(
                {"trial": len(known) + k, **{self._names[place]: value for place, value in values.items()}},
                dict(sorted(values.items(), key=lambda one: len(one[0]))),
            )
            for k, values in enumerate(chosen)
        ]

    def hopeless(self, base: Base, trials: Sequence[Trial], live: Trial) -> bool:
        """Whether its curve says so already, beside those of the trials of earlier rounds."""
        if self.pruner == "none":
            return False
        earlier = self._rounds(trials)[: self._round(live)]
        rounds = [[past_of(base, self._names, trial) for trial in round_] for round_ in [*earlier, [live]]]
        return given_up(self.pruner, base.better, rounds)[-1][0] is not None

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """Rank the suggestions, and say how far to trust the lead."""
        found = found_of(base, self._names, trials, self._rounds(trials), self.pruner)
        return ranked(base, self._names, self.space, found)

    @property
    def _names(self) -> dict[str, str]:
        return dict(zip(self.space, short_names(list(self.space)), strict=True))

    def _round(self, trial: Trial) -> int:
        """Trial 0 is a round of its own."""
        return -(-int(trial.varied["trial"]) // self.together)

    def _rounds(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        rounds: list[list[Trial]] = []
        for trial in trials:
            while len(rounds) <= self._round(trial):
                rounds.append([])
            rounds[self._round(trial)].append(trial)
        return rounds

"""The training doctor: looks at a run while it learns, says what is wrong, and takes it back when it has passed.

It reads and changes nothing: with and without it a job gives the same weights, bit for bit. What it decides depends on
the data, the weights and its own memory, which lies in every checkpoint: a run that is taken up again hears the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from kernels.registry import Registry
from services import looks
from services.data_facts import facts_of
from services.datasets import Dataset
from services.errors import TrainyardError
from services.events import EpochEnded, Looked, WindowEnded
from services.illness import Activity, Case, Illness, Moment, Seen, Stage, Weights
from services.job_spec import JobSpec
from services.library import Library
from services.plan import Feed, Plan
from services.preflight import Preflight, check
from services.probe import Probe
from services.remedies import merged

Message = dict[str, Any]
Targets = Callable[[], npt.NDArray[Any]]

MOST_PLACES: Final = 8
"""Layers that one illness is told of at a time, the worst first."""

illnesses: Registry[Illness] = Registry("services.diagnoses", Illness, "illness")  # type: ignore[type-abstract]


@final
class Doctor:
    """Watches one attempt of one job. Every method yields what is to be said, as messages; a job that asks for no
    diagnostics has a doctor who says nothing."""

    def __init__(self, job: JobSpec, preflight: Preflight, dataset: Dataset, library: Library) -> None:
        self.watches = job.diagnostics
        known = illnesses.members.values() if job.diagnostics else ()
        self._illnesses = [made() for made in known if job.task in made.tasks]
        self._job, self._preflight, self._dataset, self._library = job, preflight, dataset, library
        self._probe: Probe | None = None
        self._due = False
        self._memory: Mapping[str, Any] = {}
        self._said: dict[str, dict[str, Any]] = {}
        self._streak: dict[str, int] = {}
        self._step = 0

    def admit(self, plan: Plan, source: Feed, targets: npt.NDArray[Any]) -> Iterator[Message]:
        """Before the first step: what is wrong with the data. `source` and `targets` are the train part's."""
        if not self.watches:
            return
        job, network = self._job, self._preflight.network
        loss = job.training.loss
        cost = "" if getattr(loss, "delta", 1.0) != 1.0 else str(loss.type)
        self._probe = Probe(plan, source)
        self._case = Case(
            spec=job.resolved(), task=job.task, epochs=job.training.epochs, parameters=network.parameters,
            outputs=network.output.features, picture=self._dataset.card.kind == "image",
            facts=facts_of(self._dataset, job.task, cost, targets),
            trainable=tuple(node.operator.type for node in network.nodes if node.signature.params),
        )  # fmt: skip
        self._recall()
        yield from self._judge("data")

    def look(self, event: Looked) -> None:
        """A step has just been taken: read what it left."""
        assert self._probe is not None
        case, self._due = self._case, True
        case.weights, case.rate = self._probe.weights(event), event.learning_rate
        case.swing = max([case.swing, *(w.ratio for w in case.weights)])
        if self._probe.batch_suffices:
            case.activity = self._probe.of_the_step(event.rows)

    def heed(self, event: WindowEnded | EpochEnded) -> Iterator[Message]:
        """A window or an epoch is over: judge, where this moment is one that is looked at."""
        if not self.watches:
            return
        self._step, case = event.step, self._case
        if isinstance(event, EpochEnded):
            moment = Moment(event.epoch, dict(event.values))
            worth = event.values.get("val_loss")
            if worth is not None and (case.best is None or worth < case.best.values["val_loss"]):
                case.best = moment
            if not (looks.of_epoch(event.epoch, case.epochs) or event.standing.cursor.stopped_early):
                return
            case.epoch = event.epoch
            case.history.append(moment)
        elif not self._due or case.history or event.epoch > 1:
            return
        self._due = False
        if self._probe is not None and not self._probe.batch_suffices:
            case.activity = self._probe.of_fixed_rows()
        yield from self._judge("epoch")

    def diverged(self) -> Iterator[Message]:
        """The cost is no longer finite, and training is over."""
        if self.watches:
            self._case.ended = self._case.diverged = True
            yield from self._judge("end")

    def finish(self, result: Mapping[str, Any], reason: str) -> Iterator[Message]:
        """Training is over: judge by the scores as well."""
        if self.watches:
            self._case.ended, self._case.result = True, {**result, "reason": reason}
            yield from self._judge("end")

    def state(self) -> dict[str, Any]:
        """All that is remembered, as plain JSON."""
        if not self.watches:
            return {}
        case = self._case
        return {
            "history": [dataclasses.asdict(moment) for moment in case.history],
            "best": None if case.best is None else dataclasses.asdict(case.best),
            "weights": [dataclasses.asdict(kernel) for kernel in case.weights],
            "activity": [dataclasses.asdict(units) for units in case.activity],
            "swing": case.swing, "rate": case.rate, "epoch": case.epoch, "due": self._due, "step": self._step,
            "said": self._said, "streak": self._streak,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what `state()` gave; an empty one is a run that begins."""
        self._memory = dict(state)

    def _recall(self) -> None:
        if not self._memory:
            return
        case, kept = self._case, self._memory
        case.history = [Moment(**moment) for moment in kept["history"]]
        case.best = None if kept["best"] is None else Moment(**kept["best"])
        case.weights = tuple(Weights(**kernel) for kernel in kept["weights"])
        case.activity = tuple(Activity(**units) for units in kept["activity"])
        case.swing, case.rate, case.epoch = kept["swing"], kept["rate"], kept["epoch"]
        self._due, self._step = kept["due"], kept["step"]
        self._said, self._streak = dict(kept["said"]), dict(kept["streak"])

    def _judge(self, stage: Stage) -> Iterator[Message]:
        """Compare what shows now with what was said before; say what is new, and what is gone."""
        asked = [illness for illness in self._illnesses if stage in illness.stages]
        shown = {illness: self._shown(illness, stage) for illness in asked}
        present = {f["code"] for f in self._said.values() if f["state"] == "present"}
        present = (present - {i.type for i in asked}) | {i.type for i, seen in shown.items() if seen}
        minor = {code for illness in self._illnesses if illness.type in present for code in illness.explains}
        told = {f"{i.type} {s.path}": (i, s) for i, seen in shown.items() if i.type not in minor for s in seen}
        for key, (illness, seen) in told.items():
            if self._said.get(key, {}).get("state") != "present":
                yield self._say(key, self._finding(illness, seen))
        for key, finding in list(self._said.items()):
            over = finding["code"] in minor or finding["code"] in {i.type for i in asked}
            if over and key not in told and finding["state"] == "present":
                yield self._say(key, finding | {"state": "gone", "step": self._step, "epoch": self._case.epoch})

    def _shown(self, illness: Illness, stage: Stage) -> list[Seen]:
        """The places where an illness shows, and has shown for as many looks as it takes."""
        seen = {f"{illness.type} {s.path}": s for s in illness.look(self._case) if np.isfinite(s.measured)}
        if stage == "end" and "epoch" in illness.stages:
            needed = min(illness.looks, max(1, len(self._case.history)))
        else:
            needed = illness.looks
            for key in [k for k in self._streak if k.split(" ")[0] == illness.type and k not in seen]:
                del self._streak[key]
            self._streak |= {key: self._streak.get(key, 0) + 1 for key in seen}
        alone = stage == "end" and "epoch" not in illness.stages
        return [s for key, s in seen.items() if alone or self._streak.get(key, 1) >= needed][:MOST_PLACES]

    def _say(self, key: str, finding: dict[str, Any]) -> Message:
        self._said[key] = finding
        return {"type": "diagnostic", "data": finding}

    def _finding(self, illness: Illness, seen: Seen) -> dict[str, Any]:
        return {
            "code": illness.type, "title": illness.title, "severity": illness.severity, "state": "present",
            "path": seen.path, "layer": seen.layer, "step": self._step, "epoch": self._case.epoch,
            "measured": float(f"{seen.measured:.4g}"), "unit": illness.unit, "threshold": illness.threshold,
            "source": illness.source, "explanation": illness.explanation, "next_step": illness.next_step,
            "patch": self._sound(seen.patch),
        }  # fmt: skip

    def _sound(self, patch: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The patch, if the spec with it is one that would be accepted."""
        if patch is None:
            return None
        try:
            check(JobSpec.model_validate(merged(self._case.spec, patch)), self._library)
        except (TrainyardError, ValidationError):
            return None
        return dict(patch)

"""A replay beside its original: the same numbers, nearly the same, or where they parted. Plain values in and out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

from services.sql.values import Document, Reason

Verdict: TypeAlias = Literal["identical", "within_tolerance", "different"]
Place: TypeAlias = tuple[int, str]

RELATIVE: Final = 1e-3
ABSOLUTE: Final = 1e-6
"""`within_tolerance`: |replay − original| ≤ ABSOLUTE + RELATIVE·|original| for every value. Another device sums in
another order, and training carries such rounding on."""
WHOLE: Final = frozenset(
    {Reason.COMPLETED, Reason.EARLY_STOPPED, Reason.DIVERGED, Reason.DATA_ERROR, Reason.SPEC_ERROR}
)
"""Reasons that lie in the job itself; any other cuts it off somewhere."""
AGREES: Final[tuple[Verdict, ...]] = ("identical", "within_tolerance")


@final
@dataclass(frozen=True)
class Run:
    """What one of the two did: metric values by step and name, test scores, the digest of its weights, why it ended,
    and what its last attempt ran on."""

    values: Mapping[Place, float]
    test: Mapping[str, float]
    weights: str | None
    reason: Reason | None
    environment: Document | None
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it went as far as the job itself goes."""
        return self.reason in WHOLE

    @property
    def last(self) -> int:
        """The last step with a value; −1 where there is none."""
        return max((step for step, _ in self.values), default=-1)


def compared(original: Run, replay: Run) -> Document:
    """The verdict as the replay's result carries it: what was compared, where the two parted, what may be why."""
    cut = not (original.whole and replay.whole)
    pairs = _pairs(original, replay, cut)
    unequal = [pair for pair in pairs if not _same(pair[1], pair[2])]
    apart = [pair for pair in unequal if not _near(pair[1], pair[2])]
    weights = None if cut or None in (original.weights, replay.weights) else original.weights == replay.weights
    ended_alike = cut or original.reason == replay.reason
    same = not unequal and weights is not False and ended_alike and (bool(pairs) or not cut)
    verdict: Verdict = "identical" if same else "different" if apart or not ended_alike or not unequal else AGREES[1]
    found: Document = {
        "verdict": verdict,
        "compared": len(pairs),
        "unequal": len(unequal),
        "parted": _told(unequal[0]) if unequal else None,
        "weights": {"original": original.weights, "replay": replay.weights, "equal": weights},
        "ended": {"original": _word(original.reason), "replay": _word(replay.reason)},
        "differs": _differences(original.environment, replay.environment),
        "notes": [*original.notes, *(["One of the two was cut off: only what both have is compared."] if cut else [])],
    }
    return found | {"message": _sentence(found)}


_Pair: TypeAlias = tuple[Place | str, float | None, float | None]


def _pairs(original: Run, replay: Run, cut: bool) -> list[_Pair]:
    """Both values at every place of either; None where one has none. Of a run that was cut off, only what both have."""
    ours, theirs = replay.values, original.values
    until = min(original.last, replay.last) if cut else max(original.last, replay.last)
    places = sorted(place for place in {*ours, *theirs} if place[0] <= until)
    pairs: list[_Pair] = [(place, theirs.get(place), ours.get(place)) for place in places]
    if cut:
        # The last step of a cut run may lack what is measured at the end of its epoch.
        return [pair for pair in pairs if pair[0][0] != until or None not in pair[1:]]
    names = sorted({*original.test, *replay.test}) if original.reason == replay.reason else []
    return pairs + [(f"test {name}", original.test.get(name), replay.test.get(name)) for name in names]


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
        return _same(a, b)
    return abs(b - a) <= ABSOLUTE + RELATIVE * abs(a)


def _told(pair: _Pair) -> Document:
    place, original, replay = pair
    step, name = (None, place) if isinstance(place, str) else place
    return {"step": step, "metric": name, "original": original, "replay": replay}


def _word(reason: Reason | None) -> str | None:
    return None if reason is None else str(reason)


def _differences(original: Document | None, replay: Document | None) -> Document:
    """What differs between two environments: name → [original, replay]."""
    if original is None or replay is None:
        return {}
    names = list(dict.fromkeys([*original, *replay]))
    return {n: [original.get(n), replay.get(n)] for n in names if original.get(n) != replay.get(n)}


def _sentence(found: Mapping[str, Any]) -> str:
    """The verdict for people."""
    count, parted, weights = found["compared"], found["parted"], found["weights"]["equal"]
    if found["verdict"] == "identical":
        return f"Identical: {count} values are the same to the last bit" + (
            ", and so are the weights." if weights else "."
        )
    if not count and parted is None and weights is None:
        return "Different: there is nothing to compare."
    why, ended = _why(found["differs"]), found["ended"]
    otherwise = (
        "" if ended["original"] == ended["replay"] else f"it ended as {ended['replay']}, not {ended['original']}"
    )
    if parted is None:
        return f"Different: all {count} values are the same, but {otherwise or 'the weights differ'}.{why}"
    begin = "test" if parted["step"] is None else f"step {parted['step']}"
    name = parted["metric"].removeprefix("test ")
    line = f"{begin}: {name} was {_number(parted['original'])}, now {_number(parted['replay'])}"
    if found["verdict"] == "within_tolerance":
        some = f"{found['unequal']} of {count} values differ by {RELATIVE:g} at most"
        return f"Within tolerance: {some}, first at {line}.{why}"
    return (
        f"Different: {found['unequal']} of {count} values differ, first at {line}{otherwise and '; '}{otherwise}.{why}"
    )


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"


def _why(differs: Mapping[str, Any]) -> str:
    if not differs:
        return " Code, packages, device and threads are the same."
    told = ", ".join(f"{name} ({a} → {b})" for name, (a, b) in differs.items())
    return f" What differs besides: {told}."

"""Where do good learning rates lie? One short run whose rate rises from far too small to far too big."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, final

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Interval, Lt

from services.errors import Mistake
from services.studies.kind import Base, Conclusion, Kind, Line, Panel, Span, Trial, Variant
from services.studies.words import number

Floats = npt.NDArray[np.float64]

BELOW_MINIMUM: Final = 3.0
"""The upper end of the band: so many times below the rate at which the loss was lowest. In the range test the loss lags
behind the rate, so that rate itself is too big already."""
ABOUT_STEEPEST: Final = 3.0
"""The lower end: so many times below the rate at which the loss fell fastest."""
SIGNAL: Final = 5.0
"""The descent counts when it is so many times the scatter of the points."""
ROSE: Final = 0.25
"""The range reached far enough when the loss rose again by this share of the descent."""


@final
@dataclass(frozen=True)
class Band:
    """What one run says: the band, the rate in it to begin with, and how good the curve is."""

    low: float
    high: float
    rate: float
    signal: float
    rose: bool

    @property
    def certainty(self) -> str:
        """clear, weak or none."""
        if self.signal < SIGNAL / 2:
            return "none"
        return "clear" if self.signal >= SIGNAL and self.rose else "weak"


@final
@dataclass(frozen=True)
class LearningRateRange(Kind):
    """The learning rate range test (Smith 2017): the rate rises geometrically from `lowest` to `highest` in one run.

    The run is a job of its own, with weights of its own: no other job starts from it. The band begins below the rate at
    which the loss fell fastest and ends below the one at which it was lowest; its certainty says how far the descent
    stands out from the scatter, and whether the loss rose again, so that the range reached far enough.
    """

    type: ClassVar[str] = "learning_rate_range"
    aliases: ClassVar[tuple[str, ...]] = ("lr_range", "lr_find")
    lowest: Annotated[float, Gt(0), Lt(1e3)] = 1e-6
    highest: Annotated[float, Gt(0), Lt(1e6)] = 10.0
    steps: Annotated[int, Interval(ge=50, le=100_000)] = 500

    def mistakes(self, base: Base) -> list[Mistake]:
        """The rate must rise, by a factor worth the name."""
        if self.highest >= 10 * self.lowest:
            return []
        message = f"the rate rises from {number(self.lowest)} to {number(self.highest)}: that is no range"
        return [Mistake("highest", "out_of_range", message, "Let highest be at least ten times lowest.")]

    def variants(self, base: Base) -> Sequence[Variant]:
        """One run of whole epochs, `steps` or a little more, that nothing ends before its time."""
        epochs = -(-self.steps // max(1, int(base.outline["steps_per_epoch"])))
        changes = {
            "training.optimizer.learning_rate": self.lowest,
            "training.learning_rate_schedule": {"type": "geometric_rise", "end_learning_rate": self.highest},
            "training.epochs": epochs,
            "training.early_stopping": None,
            "baseline": False,
        }
        return [Variant({}, changes)]

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """The band of each run; of several seeds the one that all agree on."""
        curves = [(trial, *curve(trial)) for trial in trials]
        bands = [(trial, one) for trial, rates, losses in curves if (one := band(rates, losses)) is not None]
        columns = ["seed", "from", "to", "begin with", "descent / scatter", "rose again", "certainty", "job"]
        rows = [
            [t.varied["seed"], b.low, b.high, b.rate, b.signal, b.rose, b.certainty, t.job] for t, b in bands
        ]  # fmt: skip
        found = [b for _, b in bands if b.certainty != "none"]
        panel = _panel(curves, found)
        if not found:
            verdict = "No conclusion: the loss did not fall clearly at any rate of this range."
            hints = ["Give the run more steps, a lower `lowest`, or scale the inputs; then ask again."]
            return Conclusion(verdict, "none", columns, rows, [panel], hints)
        low, high = (_middle([getattr(b, end) for b in found]) for end in ("low", "high"))
        rate = _middle([b.rate for b in found])
        clear = all(b.certainty == "clear" for b in found) and len(found) == len(trials)
        findings = []
        if not all(b.rose for b in found):
            findings.append("The loss had not risen again at the end: the band may reach higher. Raise `highest`.")
        if len(found) > 1:
            apart = max(b.rate for b in found) / min(b.rate for b in found)
            findings.append(f"Of {len(found)} seeds, the suggestions lie within a factor of {number(apart)}.")
        findings.append("The run was a copy: no other job starts from its weights.")
        verdict = f"Begin with a learning rate of {number(rate)}; the band is {number(low)} to {number(high)}."
        figures = {"low": low, "high": high, "rate": rate}
        return Conclusion(verdict, "clear" if clear else "weak", columns, rows, [panel], findings, figures)


def curve(trial: Trial) -> tuple[Floats, Floats]:
    """Rates and losses as far as both are numbers."""
    rates, losses = dict(trial.series("learning_rate")), dict(trial.series("batch_loss"))
    both = [(rates[k], losses[k]) for k in sorted(rates.keys() & losses.keys()) if math.isfinite(losses[k])]
    found = np.array(both, np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def band(rates: Floats, losses: Floats) -> Band | None:
    """The band that a curve suggests; None for a curve of too few points."""
    if len(rates) < 10:
        return None
    smooth = smoothed(losses)
    early = max(3, len(rates) // 10)
    start = float(np.mean(losses[:early]))
    # What comes after an explosion says nothing about the descent.
    limit = start + 2 * (start - float(smooth.min()))
    end = int(np.argmax(smooth > limit)) if bool(np.any(smooth > limit)) else len(smooth)
    lowest = int(np.argmin(smooth[: max(end, early + 1)]))
    descent = start - float(smooth[lowest])
    scatter = float(np.std(losses[: lowest + 1] - smooth[: lowest + 1])) or 1e-12
    slopes = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1])) if lowest >= 2 else np.zeros(1)
    steepest = float(rates[int(np.argmin(slopes))])
    rose = bool(len(smooth) > lowest + 1 and float(losses[lowest:].max()) > smooth[lowest] + ROSE * descent)
    high = float(rates[lowest]) / BELOW_MINIMUM
    low = min(steepest / ABOUT_STEEPEST, high / ABOUT_STEEPEST)
    return Band(low, high, min(math.sqrt(low * high), high), descent / scatter, rose)


def smoothed(values: Floats) -> Floats:
    """A centred moving mean over a twentieth of the points, 3 at least; shorter at both ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return np.asarray((sums[last] - sums[first]) / (last - first))


def _middle(values: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def _panel(curves: Sequence[tuple[Trial, Floats, Floats]], found: Sequence[Band]) -> Panel:
    lines = []
    for trial, rates, losses in curves:
        if len(rates):
            ceiling = 2.0 * float(losses[0])
            points = [(float(r), min(float(v), ceiling)) for r, v in zip(rates, smoothed(losses), strict=True)]
            lines.append(Line(f"seed {trial.varied['seed']}", points, "line"))
    spans = [Span(_middle([b.low for b in found]), _middle([b.high for b in found]), "band")] if found else []
    return Panel("Loss while the rate rises", "learning rate", "loss", lines, log_x=True, spans=spans)

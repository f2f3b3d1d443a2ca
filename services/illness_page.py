"""The page of the training doctor, written from the illnesses: `python -m services.reference` renews it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from services.diagnose import illnesses
from services.illness import Illness

PAGE: Final = Path("docs/diagnostics.md")

_HEAD: Final = """# What is wrong with my training?

While a job trains, a doctor looks at it: at the data before the first step, after the first step, at the end of epochs
1, 2, 4, 8, … and the last, and at the scores in the end. What it finds comes

- live, as events of kind `diagnostic` in `GET /v1/jobs/{id}/events`,
- as a list from `GET /v1/jobs/{id}/diagnostics`: the newest state of every illness and layer,
- in `trainyard show ID` and on the page of the job.

A finding says what was measured (`measured`, in `unit`) and from where on that is ill (`threshold`, with its
`source`), in two sentences what it means (`explanation`), what to do (`next_step`), and where one is known a change
of the spec (`patch`, a JSON merge patch of RFC 7396: what it names is replaced, lists such as `network.layers` as a
whole; each was checked against the rules for specs before it was told). `severity` is `warning` or `error`; `state`
is `present`, or `gone` when it has passed or another illness explains it. Of an illness and its mere consequences
only the first is told.

Looking reads arrays that are there anyway: weights, gradients and the change of both around one step; activations of
the batch, or of 128 fixed train rows where the batch is smaller. It changes no bit of the training, decides from the
data, the weights and a memory that lies in every checkpoint (a run that is taken up again hears what a whole one
hears), and costs little: [performance.md](performance.md). `diagnostics: false` in a spec switches it off. Agents
(`task: reinforcement`) have no doctor.

A false alarm is worse than a miss: an illness that may pass by itself must show in two looks in a row, most need a
network that does not work (a loss above half of that of a constant guess), and scores are compared beyond two
standard errors.

| planted in a small job (`tests/services/test_planted_illnesses.py`) | named |
|---|---|
| all weights start at 0 | `symmetric_units` |
| a hundred times the learning rate | `learning_rate_too_big` |
| biases of a relu layer at −10 | `dead_relu` |
| a sigmoid layer with forty times the weights | `saturation` |
| labels shuffled | `labels_unrelated` |
| 99 rows of one class for one of the other | `class_imbalance` |
| the test part in the train part | `test_in_training` |
| columns up to 4,254 without preprocessing | `unscaled_input` |
| rows sorted by class, `shuffle: false` | `sorted_rows` |
| ten classes through one hidden unit | `network_too_small` |

Each hears that one name and no other. Rows of tables and pictures are mixed when they are dealt out, so sorted rows
reach training only from data sets that are dealt out in order.

| code | what | weight | tasks |
|---|---|---|---|
"""


def diagnostics_page() -> str:
    """The whole page."""
    members = illnesses.members.values()
    rows = (f"| [`{i.type}`](#{i.type}) | {i.title} | {i.severity} | {', '.join(i.tasks)} |\n" for i in members)
    return _HEAD + "".join(rows) + "".join("\n".join(_entry(illness)) for illness in members)


def _entry(illness: type[Illness]) -> Iterator[str]:
    explained = ", ".join(f"`{code}`" for code in sorted(illness.explains))
    often = "" if illness.looks == 1 else f", in {illness.looks} looks in a row"
    yield from ("", f"## `{illness.type}`", "", " ".join((illness.__doc__ or "").split()), "")
    yield from (f"- **Measured**: {illness.formula}.", f"- **Threshold**: {illness.threshold:g} {illness.unit}{often}.")
    yield from (f"- **Source**: {illness.source}.", f"- **What to do**: {illness.next_step}")
    yield from ([f"- **Explains**: {explained}."] if explained else [])
    yield ""

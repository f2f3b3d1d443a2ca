"""The demonstration's tour of a running stack: train a job, show its score, let its model read samples, go on."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from api import console
from api.client import Client
from api.console import duration, out
from api.schemas import JobOut
from api.serve import Address
from api.session import FAILED, complain
from services.jobs import JobState
from services.settings import Settings

SAMPLES = 4
LARGEST_PICTURE = 16
SHADES = " ░▒▓█"


def show(file: Path, settings: Settings, address: Address, meanwhile: Callable[[], None]) -> int:
    """Train the job in `file` on the stack at `address`; the exit code. `meanwhile` runs while it trains."""
    with Client(address.url, address.key) as client:
        job = client.submit(file.read_text())
        out.print(f"Posted {nearest(file)} as job {job.id}", markup=False, soft_wrap=True)
        job = console.follow(client, job.id, console.view(out), meanwhile)
        if job.state is not JobState.SUCCEEDED:
            complain(f"The job ended as {job.state} ({job.reason}): {job.message or ''}")
            return FAILED
        print_score(job)
        print_samples(client, job, settings)
        print_the_way_on(job, settings)
    return 0


def print_score(job: JobOut) -> None:
    """The test score, beside what classical learning and mere guessing reach on the same rows."""
    result = job.result or {}
    test, baseline = result.get("test") or {}, result.get("baseline") or {}
    name = baseline.get("metric") or next((key for key in test if key != "loss"), "loss")
    out.print(Text(f"\nTest {name.replace('_', ' ')}", style="bold"))
    rows = [(f"this network ({result.get('parameters', 0):,} parameters)", test.get(name))]
    rows += [(other["name"], other["score"]) for other in (baseline.get("best"), baseline.get("trivial")) if other]
    for who, score in rows:
        out.print(f"  {score:8.4f}  {who}", markup=False)
    seconds = result.get("train_seconds")
    if seconds is not None:
        out.print(f"  trained in {duration(seconds)} on {result.get('device')}", markup=False)


def print_samples(client: Client, job: JobOut, settings: Settings) -> None:
    """A few rows of the test part: what they are, and what the model says they are."""
    from services import datasets

    data = datasets.load(str(job.dataset), datasets.Split(), [], 1.0, settings.datasets_dir)
    spread = slice(0, None, max(1, len(data.test) // SAMPLES))
    x, y = data.test.x[spread][:SAMPLES], data.test.y[spread][:SAMPLES]
    predictions = client.predict(job.id, x.tolist())["predictions"]
    classes, names = data.card.classes, data.card.target_names
    truths = [classes[int(label)] if classes else said({"values": dict(zip(names, label, strict=True))}) for label in y]
    captions = [f"is {true}, read as {said(one)}" for true, one in zip(truths, predictions, strict=True)]
    out.print()
    if data.card.kind == "image" and max(x.shape[1:3]) <= LARGEST_PICTURE:
        print_side_by_side([picture(image) for image in x], captions)
    else:
        for caption in captions:
            out.print(f"  {caption}", markup=False)


def said(prediction: Mapping[str, Any]) -> str:
    """A prediction in few words: its class, or its values by name."""
    if "class" in prediction:
        return str(prediction["class"])
    return ", ".join(f"{name} {value:.4g}" for name, value in prediction["values"].items())


def picture(image: Any) -> list[str]:
    """An image (h, w, c) as lines of text, darkest where the values are largest."""
    flat = image.mean(axis=-1)
    top = float(flat.max()) or 1.0
    return ["".join(SHADES[round(value / top * (len(SHADES) - 1))] * 2 for value in row) for row in flat.tolist()]


def print_side_by_side(pictures: Sequence[Sequence[str]], captions: Sequence[str]) -> None:
    """Pictures in one row, captions below."""
    width = max(len(pictures[0][0]), *map(len, captions)) + 2
    for line in zip(*pictures, strict=True):
        out.print(("  " + "".join(part.ljust(width) for part in line)).rstrip(), markup=False, soft_wrap=True)
    out.print(("  " + "".join(caption.ljust(width) for caption in captions)).rstrip(), markup=False, soft_wrap=True)


def print_the_way_on(job: JobOut, settings: Settings) -> None:
    """Where the model lies, and what to type next."""
    found = next(settings.artifacts_dir.glob(f"*/{job.id}/a{job.attempt}/*.safetensors"), settings.artifacts_dir)
    command = nearest(Path(sys.executable).parent / "trainyard")
    out.print(f"\nThe model: {nearest(found)}", markup=False, soft_wrap=True)
    out.print("Go on:", markup=False)
    for words, why in (
        ("python3 run.py serve", "keep it running, and open its page"),
        (f"{command} submit examples/xor_mlp.yaml --follow", "train something else"),
        (f"{command} show {job.id}", "this job again"),
    ):
        out.print(f"  {words}   # {why}", markup=False, soft_wrap=True)


def nearest(path: Path) -> str:
    """A path as seen from here, when that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative

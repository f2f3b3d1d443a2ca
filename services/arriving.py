"""The data set of a training job on its way: loaded while whoever waits is told how far it is."""

import contextlib
import queue
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from services import datasets
from services.datasets import Dataset, Split
from services.job_spec import JobSpec
from services.library import Library
from services.uploads.library import Handed


def arrived(job: JobSpec, library: Library, datasets_dir: Path) -> Generator[dict[str, Any], None, Dataset]:
    """The data set, loaded beside this generator so that a download can be followed (and is not taken for a hang)."""
    news: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
    if isinstance(library, Handed):
        library.verify()
    split = Split(**job.dataset.split.model_dump())
    steps = [step.model_dump() for step in job.dataset.preprocessing]
    with ThreadPoolExecutor(1, "load") as beside:
        loading = beside.submit(
            datasets.load_from, library.source(job.dataset), split, steps, job.dataset.train_fraction, datasets_dir,
            lambda *told: news.put(told), job.dataset.options,
        )  # fmt: skip
        tenths: dict[str, int] = {}
        while not loading.done() or not news.empty():
            with contextlib.suppress(queue.Empty):
                file, here, total = news.get(timeout=0.05)
                if total and tenths.setdefault(file, -1) < (tenth := 10 * here // total):
                    tenths[file] = tenth
                    yield {"type": "log", "level": "info", "text": f"{file}: {here:,} of {total:,} bytes"}
    return loading.result()

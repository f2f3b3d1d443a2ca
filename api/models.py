"""Trained models: which file belongs to a job, and whether it is still the file that was recorded."""

from pathlib import Path
from typing import Any, Final, Protocol, final

from services.artifacts import ArtifactStore
from services.asking import Wishes
from services.errors import Conflict, NotFinished, NotFound
from services.jobs import Artifact, Job, JobState, JobStore

MODEL: Final = "model.safetensors"


class Model(Protocol):
    """What the service hands out for a trained network; safe from any thread."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a prediction request."""

    def card(self) -> dict[str, Any]:
        """What the model is, in a form to show."""

    def predict(self, inputs: list[Any], wishes: Wishes) -> dict[str, Any]:
        """The predictions for a list of samples."""


def load(path: Path) -> Model:
    """Read a model; imported late, because the numeric core takes seconds to import and most requests never need it."""
    from services import predict

    return predict.load(path)


@final
class Shelf:
    """The models of finished jobs; each file's checksum is compared once per process, and again when it changes."""

    def __init__(self, jobs: JobStore, artifacts: ArtifactStore) -> None:
        self.jobs, self.artifacts = jobs, artifacts
        self._sound: set[tuple[str, int, int]] = set()

    def files(self, job: Job) -> list[Artifact]:
        """Everything a finished job left; NotFinished while there is nothing yet, Conflict when there never will be."""
        if not job.terminal:
            raise NotFinished(f"The job is {job.state}: it has no model yet.", hint="Watch /v1/jobs/{id}/events.")
        found = self.jobs.artifacts(job.tenant, job.id)
        if job.state is not JobState.SUCCEEDED or all(a.name != MODEL for a in found):
            raise Conflict(f"The job ended as {job.state} ({job.reason}): it has no model.", hint=job.message)
        return found

    def artifact(self, job: Job, name: str = MODEL) -> Artifact:
        """A file of a job, by default its model; NotFound lists what there is."""
        found = {a.name: a for a in self.files(job)}
        if name not in found:
            raise NotFound("file", name, sorted(found))
        return found[name]

    def sound(self, job: Job, name: str = MODEL) -> Artifact:
        """A file of a job, after its bytes were compared with the record; Conflict when it is damaged."""
        artifact = self.artifact(job, name)
        what = "model file" if name == MODEL else f"file {name}"
        stamp = self._stamp(artifact)
        if stamp not in self._sound:
            if not self.artifacts.verify(artifact):
                raise Conflict(
                    f"The {what} is damaged or gone: its checksum does not fit the record.", hint="Train it again."
                )
            self._sound.add(stamp)
        return artifact

    def _stamp(self, artifact: Artifact) -> tuple[str, int, int]:
        """What changes when somebody touches the file: equal models of two jobs are two files."""
        path = self.artifacts.resolve(artifact.path)
        found = path.stat() if path.is_file() else None
        return (artifact.path, found.st_mtime_ns, found.st_ctime_ns) if found else (artifact.path, 0, 0)

    def model(self, job: Job) -> Model:
        """The model of a job, ready to answer."""
        return load(self.artifacts.resolve(self.sound(job).path))

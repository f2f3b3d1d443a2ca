"""Uploads as sources: for a tenant's specs, and for a trainer that was handed one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from services.datasets import uploaded
from services.datasets.base import Source
from services.datasets.download import file_sha256
from services.errors import DataError, Invalid, Mistake, NotFound
from services.job_spec import DatasetSpec
from services.library import BUILT_IN, Library
from services.uploads.folder import UploadFolder
from services.uploads.store import UploadStore
from services.uploads.values import Upload


@final
class Shelves(Library):
    """The built-in data sets and one tenant's uploads."""

    def __init__(self, store: UploadStore, tenant: str) -> None:
        """Look into `store` for what belongs to `tenant`."""
        self._store, self._tenant = store, tenant

    def source(self, dataset: DatasetSpec) -> Source:
        """By name, or by id or name of an upload; no file is opened."""
        if dataset.upload is None:
            return self._built_in(dataset)
        upload = self._upload(dataset)
        return uploaded.source(upload.title, upload.kind, upload.facts, None)

    def pinned(self, dataset: DatasetSpec) -> DatasetSpec:
        """An upload by its id and its SHA-256, whatever its name will mean later."""
        if dataset.upload is None:
            return dataset
        upload = self._upload(dataset)
        return dataset.model_copy(update={"upload": upload.id, "sha256": upload.sha256})

    def _upload(self, dataset: DatasetSpec) -> Upload:
        try:
            found = self._store.get(self._tenant, dataset.upload or "")
        except NotFound as error:
            message = f"you have no upload {dataset.upload!r}"
            raise Invalid([Mistake("dataset.upload", "unknown_name", message, error.hint)]) from error
        if dataset.sha256 not in (None, found.sha256):
            message = f"the content of {found.title} is not the one that this SHA-256 names"
            hint = f"Leave sha256 out, or set it to {found.sha256}."
            raise Invalid([Mistake("dataset.sha256", "other_content", message, hint)])
        return found

    def _built_in(self, dataset: DatasetSpec) -> Source:
        try:
            return BUILT_IN.source(dataset)
        except Invalid as error:
            if dataset.name not in self._store.names(self._tenant):
                raise
            first = error.mistakes[0]
            hint = f"{dataset.name} is an upload of yours: write upload: {dataset.name} in place of name."
            raise Invalid([Mistake(first.path, first.code, first.message, hint)]) from error


@final
class Handed(Library):
    """The one upload that a process was handed as kind, facts, path and SHA-256, because it may not look for itself."""

    def __init__(self, name: str, kind: str, facts: Mapping[str, Any], path: Path, sha256: str) -> None:
        """Hold the upload; its file is opened by whoever reads the source."""
        self._name, self._kind, self._facts, self._path, self._sha256 = name, kind, facts, path, sha256

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Handed":
        """From the JSON that `hand_over` made."""
        return cls(said["name"], said["kind"], said["facts"], Path(said["path"]), said["sha256"])

    def source(self, dataset: DatasetSpec | None = None) -> Source:
        """The upload."""
        return uploaded.source(self._name, self._kind, self._facts, self._path)

    def verify(self) -> None:
        """DataError unless the file is what was uploaded."""
        if not self._path.is_file() or file_sha256(self._path) != self._sha256:
            hint = "Upload it again, and post the job anew."
            raise DataError(f"The file of the data set {self._name} is damaged or gone.", hint=hint)


def hand_over(upload: Upload, folder: UploadFolder) -> dict[str, Any]:
    """What another process needs in order to read an upload, as JSON."""
    path = str(folder.path(upload.tenant, upload.file))
    return {"name": upload.title, "kind": upload.kind, "facts": upload.facts, "path": path, "sha256": upload.sha256}


def for_trainer(store: UploadStore, folder: UploadFolder, tenant: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer's request says about the job's upload: nothing for a job on built-in data. NotFound when it is
    gone."""
    dataset = spec.get("dataset")
    ref = dataset.get("upload") if isinstance(dataset, Mapping) else None
    return {} if ref is None else {"upload": hand_over(store.get(tenant, str(ref)), folder)}

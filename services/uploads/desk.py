"""The desk where uploads are taken in, looked at, reported on and given back."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any, Final, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services import datasets
from services.datasets import Split, uploaded
from services.datasets.base import Source
from services.errors import NotFound, Unavailable, did_you_mean
from services.sql.types import utc_now
from services.uploads.folder import Arrival, UploadFolder
from services.uploads.inspector import Inspector, refusal
from services.uploads.library import hand_over
from services.uploads.limits import Limits
from services.uploads.store import KIND, UploadStore
from services.uploads.values import KINDS, Upload, upload_id

_REMEMBERED: Final = 64
_OF_BUILT_IN: Final = 2**30
"""Built-in data sets get the limits of an upload of this many bytes."""


@final
class Findings(BaseModel):
    """What a child claims to have found in a file."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    facts: dict[str, Any]
    report: dict[str, Any]
    samples: list[dict[str, Any]] = Field(max_length=12)


@final
class Desk:
    """Everything that can be done with uploads, and with data sets beyond reading their cards."""

    def __init__(
        self, store: UploadStore, folder: UploadFolder, datasets_dir: Path, inspector: Inspector | None = None
    ) -> None:
        """Keep rows in `store` and files in `folder`; built-in data sets lie in `datasets_dir`."""
        self.store, self.folder, self._datasets_dir = store, folder, datasets_dir
        self.inspector = inspector or Inspector()
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def take_in(self, tenant: str, name: str, arrival: Arrival, kind: str | None) -> tuple[Upload, bool]:
        """Record a file that has arrived; False when `name` meant this content already. Invalid when it is refused."""
        with arrival:
            return self._take_in(tenant, name, arrival, kind)

    def _take_in(self, tenant: str, name: str, arrival: Arrival, kind: str | None) -> tuple[Upload, bool]:
        if not arrival.size:
            hint = "Send the file itself as the request's body."
            raise refusal("empty", "The file is empty.", hint)
        if known := self.store.same(tenant, name, arrival.sha256, kind):
            return known, False
        found = self._survey(arrival, name, kind)
        id = upload_id(tenant, arrival.sha256, found.kind)
        upload = Upload(
            id, tenant, name, (), found.kind, arrival.sha256, arrival.size, arrival.keep(), found.facts, found.report,
            utc_now(),
        )  # fmt: skip
        try:
            recorded = self.store.add(upload, found.samples)
        except Unavailable:
            # Nobody knows whether the row was written: the next start looks again.
            arrival.settle()
            raise
        if recorded.file == arrival.id:
            arrival.settle()
        return recorded, True

    def _survey(self, arrival: Arrival, name: str, kind: str | None) -> Findings:
        request = {"do": "survey", "file": str(arrival.path), "kind": kind}
        said = self.inspector.ask(request, Limits.for_size(arrival.size), called=(arrival.path.name, name))
        try:
            found = Findings.model_validate(said)
        except ValidationError:
            raise refusal("unreadable", "It broke its reader.", "Send a simpler file.") from None
        if found.kind not in KINDS:
            raise refusal("unreadable", "It is no kind of data that is known here.", did_you_mean(found.kind, KINDS))
        return found

    def remove(self, tenant: str, ref: str) -> None:
        """Forget an upload and free its disk; Conflict while a live job uses it."""
        self.folder.remove(tenant, self.store.remove(tenant, ref).file)

    def source(self, tenant: str, ref: str) -> tuple[Source, Upload | None]:
        """A built-in data set, or the tenant's upload of that name or id; NotFound knows both kinds of names."""
        try:
            return datasets.find(ref), None
        except NotFound:
            pass
        try:
            upload = self.store.get(tenant, ref)
        except NotFound:
            raise NotFound(KIND, ref, [*datasets.cards(), *self.store.names(tenant)]) from None
        return uploaded.source(upload.title, upload.kind, upload.facts, None), upload

    def report(
        self, tenant: str, ref: str, options: Mapping[str, Any], split: Split, train_fraction: float
    ) -> dict[str, Any]:
        """The report on a data set as a job would deal it out, and the options it is for; worked out once for each
        wish. An upload without any option has those that its survey suggested. Invalid for options that do not fit;
        NotDownloaded."""
        source, upload = self.source(tenant, ref)
        if upload is not None and not options:
            options = upload.facts.get("suggested") or {}
        card = datasets.card_of(source, options)
        datasets.sizes(card, split, train_fraction)
        chosen = asdict(datasets.options_of(source, options))
        wish = {"options": chosen, "split": asdict(split), "train_fraction": train_fraction}
        key = hashlib.sha256(json.dumps(wish, sort_keys=True, default=str).encode()).hexdigest()
        request = {"do": "report", **wish, "options": dict(options)}
        if upload is None:
            found = self._remembered(f"{card.name} {key}", request | {"name": card.name})
            return found | {"options": chosen}
        if (kept := self.store.report(upload.id, key)) is None:
            kept = self._ask(request | {"upload": hand_over(upload, self.folder)}, Limits.for_size(upload.size))
            self.store.keep_report(upload.id, key, kept)
        return kept | {"options": chosen}

    def samples(self, tenant: str, ref: str) -> list[dict[str, Any]]:
        """A dozen rows of a data set in a form to show."""
        source, upload = self.source(tenant, ref)
        if upload is not None:
            return self.store.samples(tenant, upload.id)
        name = source.card.name
        found: list[dict[str, Any]] = self._remembered(f"{name} samples", {"do": "samples", "name": name})["items"]
        return found

    def _remembered(self, key: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What was found out about a built-in data set, which never changes."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        found = self._ask(request, Limits.for_size(_OF_BUILT_IN))
        with self._lock:
            self._answers[key] = found
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return found

    def _ask(self, request: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
        return self.inspector.ask({**request, "datasets_dir": str(self._datasets_dir)}, limits)

"""What a user is told when memory ran out: what was foreseen, what was there, and the largest batch that fits."""

import json
import logging
from typing import final

from services.admission import Advice, advice
from services.amounts import amount
from services.errors import TrainyardError
from services.lease import Lease
from services.spec import parse_job
from services.uploads.library import Shelves
from services.uploads.store import UploadStore
from workers.memory import Watch

log = logging.getLogger(__name__)


@final
class Shortage:
    """The story of one attempt that had too little memory."""

    def __init__(self, lease: Lease, watch: Watch) -> None:
        """Tell of the attempt of `lease`, whose trainer `watch` has seen."""
        self._lease, self._watch, self._kind = lease, watch, watch.kind

    def told(self, what: str) -> str:
        """`what` happened, with the numbers and a way out."""
        need, allowed = self._need, self._watch.allowed
        parts = [what.rstrip(".") + "."]
        if need and allowed:
            parts.append(f"{amount(need)} were foreseen, {amount(allowed)} were there for it.")
        found = self._advice(need, allowed)
        if found is not None:
            parts.append(found.hint)
            parts += [f"Patch of the spec: {json.dumps(found.patch)}"] if found.patch else []
        return " ".join(parts)

    @property
    def _need(self) -> int:
        job = self._lease.job
        return job.memory_gpu if self._kind == "gpu" else job.memory_cpu

    def _advice(self, need: int, allowed: int | None) -> Advice | None:
        """What should fit, if a smaller job goes beyond what is foreseen as far as this one did."""
        if not need or allowed is None:
            return None
        there = min(need - 1, allowed * need // max(self._watch.peak, allowed))
        library = Shelves(UploadStore(self._lease.engine), self._lease.job.tenant)
        try:
            return advice(parse_job(self._lease.job.spec, library), self._kind, there, library)
        except TrainyardError as error:
            log.warning("no advice about memory: %s", error.message)
            return None

"""What is wrong with a job's training."""

from fastapi import APIRouter

from api.deps import Opened, OwnJob
from api.diagnostic_schemas import DiagnosticList, DiagnosticOut
from api.openapi import problems
from services.findings import newest

router = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])


@router.get("/diagnostics", responses=problems(404))
def list_diagnostics(job: OwnJob, record: Opened) -> DiagnosticList:
    """What the training doctor has found: the newest state of every illness, of every layer it is seen in."""
    found = newest(record.jobs, job.tenant, job.id)
    return DiagnosticList(items=[DiagnosticOut.of(event) for event in found])

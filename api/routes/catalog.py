"""What a spec may contain: its JSON Schema, and every part with documentation."""

from typing import Any

from fastapi import APIRouter

from api.deps import Reader
from api.openapi import problems
from services import spec
from services.studies.spec import study_schema

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/schema/job", responses=problems())
def show_job_schema(caller: Reader) -> dict[str, Any]:
    """JSON Schema of a job spec."""
    return spec.job_schema()


@router.get("/schema/study", responses=problems())
def show_study_schema(caller: Reader) -> dict[str, Any]:
    """JSON Schema of a study."""
    return study_schema()


@router.get("/catalog", responses=problems())
def show_catalog(caller: Reader) -> dict[str, Any]:
    """Every layer, loss, optimizer and data set with its arguments and documentation."""
    return spec.catalog()

"""What the training doctor's findings look like."""

from typing import Literal, final

from pydantic import BaseModel, Field

from api.schemas import Document, Time
from services.findings import told
from services.jobs import Event


@final
class DiagnosticOut(BaseModel):
    """One finding: what was measured where, against which threshold, what it means and what to do about it."""

    number: int = Field(description="Of the event that said it.")
    attempt: int
    at: Time
    code: str = Field(examples=["dead_relu"])
    title: str = Field(examples=["Dead rectifiers"])
    severity: Literal["warning", "error"] = "warning"
    state: Literal["present", "gone"] = Field("present", description="gone: it has passed, or another one explains it.")
    path: str | None = Field(None, examples=["network.layers[1].activation"])
    layer: str | None = Field(None, examples=["dense.relu"])
    step: int = 0
    epoch: int = 0
    measured: float | None = Field(None, description="What was found, in `unit`.")
    unit: str = ""
    threshold: float | None = None
    source: str = Field("", description="Where the threshold comes from.")
    explanation: str = ""
    next_step: str = ""
    patch: Document | None = Field(
        None, description="A change of the spec as JSON merge patch (RFC 7396): what is named is replaced, lists whole."
    )

    @classmethod
    def of(cls, event: Event) -> "DiagnosticOut":
        """From a diagnostic event."""
        place = {"number": event.number, "attempt": event.attempt, "at": event.at}
        return cls.model_validate({"title": str(event.data.get("code"))} | told(event) | place)


@final
class DiagnosticList(BaseModel):
    """The newest word on every illness and place: what is still there first, the gravest first."""

    items: list[DiagnosticOut]

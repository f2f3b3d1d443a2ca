"""How the command line prints what the training doctor found."""

import json
from collections.abc import Sequence

from rich.text import Text

from api.console import out
from api.diagnostic_schemas import DiagnosticOut
from services.findings import one_line

STYLES = {"error": "red", "warning": "yellow"}


def print_diagnostics(found: Sequence[DiagnosticOut]) -> None:
    """What is wrong now with figure, explanation, next step and patch; what has passed in a line."""
    for item in found:
        line = one_line(item.model_dump())
        out.print(Text(line, style=STYLES[item.severity] if item.state == "present" else "dim"), soft_wrap=True)
        if item.state == "gone":
            continue
        for text in (item.explanation, item.next_step):
            out.print(f"    {text}", markup=False, soft_wrap=True)
        if item.patch is not None:
            out.print(Text(f"    patch: {json.dumps(item.patch)}", style="dim"), soft_wrap=True)

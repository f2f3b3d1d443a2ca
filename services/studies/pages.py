"""The pages of the studies: prose by hand; specs, tables, pictures and verdicts from real runs filled in.

`<!-- study: NAME -->` quotes examples/studies/NAME.yaml; where docs/studies/NAME.json holds the result of a run
(`trainyard study … --follow --json`), its picture, its table and its verdict follow. Each goes to `<!-- end -->`.
`python3 run.py docs` renews them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from services.studies.chart import draw
from services.studies.words import number

FOLDER: Final = Path("docs/studies")
EXAMPLES: Final = Path("examples/studies")

_BLOCK = re.compile(r"<!-- study: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def files() -> dict[Path, str]:
    """Every page and every picture as it should be."""
    pages = {page: page.read_text() for page in sorted(FOLDER.glob("*.md"))}
    filled = {page: _BLOCK.sub(lambda found: _study(found[1]), text) for page, text in pages.items()}
    drawn = {FOLDER / f"{name}.svg": draw(result, name) for name in quoted(pages.values()) if (result := run_of(name))}
    return filled | drawn


def write() -> None:
    """Renew pages and pictures."""
    for file, text in files().items():
        file.write_text(text)


def quoted(texts: Any) -> list[str]:
    """The studies that pages quote."""
    return [found[1] for text in texts for found in _BLOCK.finditer(text)]


def run_of(name: str) -> dict[str, Any] | None:
    """The result of the run that a page shows, where there was one."""
    file = FOLDER / f"{name}.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return None if found is None else found.get("result", found)


def _study(name: str) -> str:
    spec = (EXAMPLES / f"{name}.yaml").read_text()
    told = (
        f"\n<!-- from examples/studies/{name}.yaml -->\n```yaml\n{spec}```\n\n"
        f"    trainyard study examples/studies/{name}.yaml --follow\n\n"
    )
    result = run_of(name)
    return f"<!-- study: {name} -->\n{told}{'' if result is None else _result(name, result)}<!-- end -->"


def _result(name: str, result: Mapping[str, Any]) -> str:
    findings = "".join(f"- {sentence}\n" for sentence in result["findings"])
    return (
        f"![The curves of {name}]({name}.svg)\n\n{_table(result['columns'], result['rows'])}\n"
        f"> {result['verdict']}\n\nCertainty: {result['certainty']}.\n\n{findings}\n"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    kept = [k for k, column in enumerate(columns) if column != "job"]
    lines = [[columns[k] for k in kept], ["---"] * len(kept), *([_cell(row[k]) for k in kept] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "–" if value is None else "yes" if value else "no"
    return number(float(value)) if isinstance(value, int | float) else str(value)

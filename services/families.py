"""The pages of the families of networks: prose by hand; jobs, pictures and refusals filled in from what there is.

In a page, `<!-- job: NAME -->` quotes examples/NAME.yaml under its picture, `<!-- other jobs -->` quotes those of the
family that no page names, `<!-- mistake: NAME | path = value -->` changes that job and quotes what the service answers,
and `<!-- result -->` says where the figures stand. Each goes to `<!-- end -->`. `python3 run.py docs` renews them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from services.agents.review import AgentPreflight
from services.documents import from_yaml
from services.drawing import draw
from services.errors import Invalid
from services.preflight import Preflight
from services.spec import check_job, parse_job

FOLDER: Final = Path("docs/families")
EXAMPLES: Final = Path("examples")
RESULTS: Final = Path("docs/results.md")
RECURRENT: Final = {"simple_rnn", "lstm", "gru"}

_BLOCK = re.compile(r"<!-- (job|other jobs|mistake|result)(?:: (.*?))? -->\n(.*?)<!-- end -->", re.DOTALL)
_STEP = re.compile(r"[^.\[\]]+")


def files() -> dict[Path, str]:
    """Every page and every picture as it should be."""
    pages = {page: page.read_text() for page in sorted(FOLDER.glob("*.md"))}
    named = {name for text in pages.values() for name in quoted(text)}
    filled = {page: _filled(page, text, named) for page, text in pages.items()}
    shown = sorted({name for text in filled.values() for name in quoted(text, deep=True)})
    drawn = {name: _picture(name) for name in shown}
    return filled | {FOLDER / f"{name}.svg": svg for name, svg in drawn.items() if svg}


def write() -> None:
    """Renew pages and pictures; pictures of jobs that are gone go too."""
    wanted = files()
    for stale in set(FOLDER.glob("*.svg")) - wanted.keys():
        stale.unlink()
    for file, text in wanted.items():
        file.write_text(text)


def quoted(text: str, *, deep: bool = False) -> list[str]:
    """The jobs that a page quotes by name; `deep`: all that it quotes."""
    if deep:
        return re.findall(r"^<!-- from examples/(\w+)\.yaml -->$", text, re.MULTILINE)
    return [found[2].strip() for found in _BLOCK.finditer(text) if found[1] == "job"]


def family(job: Mapping[str, Any]) -> str:
    """The page that a job belongs to unless another names it."""
    types = {layer["type"] if isinstance(layer, dict) else layer for layer in job.get("network", {}).get("layers", [])}
    tasks = {"reinforcement": "reinforcement", "autoencoder": "autoencoder", "forecasting": "forecasting",
             "language_model": "text"}  # fmt: skip
    if found := tasks.get(str(job.get("task"))):
        return found
    if "embedding" in types:
        return "text"
    if types & RECURRENT:
        return "recurrent"
    return "convolution" if any("conv" in kind for kind in types) else "dense"


def _filled(page: Path, text: str, named: set[str]) -> str:
    made: dict[str, Callable[[str], str]] = {
        "job": _job,
        "other jobs": lambda _: "".join(_job(name) for name in _others(page.stem, named)),
        "mistake": _mistake,
        "result": lambda _: _result(),
    }

    def renewed(found: re.Match[str]) -> str:
        head = f"<!-- {found[1]}{': ' + found[2] if found[2] else ''} -->"
        return f"{head}\n{made[found[1]]((found[2] or '').strip())}<!-- end -->"

    return _BLOCK.sub(renewed, text)


def _others(page: str, named: set[str]) -> list[str]:
    return [
        file.stem
        for file in sorted(EXAMPLES.glob("*.yaml"))
        if file.stem not in named and family(from_yaml(file.read_bytes())) == page
    ]


def _job(name: str) -> str:
    file = EXAMPLES / f"{name}.yaml"
    if not file.exists():
        return ""
    picture = f"![The network of {name}]({name}.svg)\n\n" if _picture(name) else ""
    return (
        f"\n{picture}<!-- from examples/{name}.yaml -->\n```yaml\n{file.read_text()}```\n\n"
        f"    trainyard submit examples/{name}.yaml --follow\n\n"
    )


def _picture(name: str) -> str | None:
    outline = checked((EXAMPLES / f"{name}.yaml").read_text()).outline
    return draw(outline, name) if outline.get("layers") else None


def checked(job: str | dict[str, Any]) -> Preflight | AgentPreflight:
    """The preflight of a job; Invalid with every mistake."""
    return check_job(parse_job(job))


def _mistake(wish: str) -> str:
    """What the service answers to a job after changes; a wrong page when it answers nothing."""
    name, *changes = (part.strip() for part in wish.split("|"))
    file = EXAMPLES / f"{name}.yaml"
    if not file.exists():
        return ""
    job = from_yaml(file.read_bytes())
    for change in changes:
        try:
            _changed(job, change)
        except (KeyError, IndexError) as error:
            raise ValueError(f"{wish!r} speaks of a part that the example does not have") from error
    try:
        checked(job)
    except Invalid as error:
        told = "\n".join(f"{m.path} {m.message}" + (f"\n    {m.hint}" if m.hint else "") for m in error.mistakes)
        return f"```text\n{told}\n```\n"
    raise ValueError(f"nothing is wrong with {wish!r}, though a page says so")


def _changed(job: Any, change: str) -> None:
    """Set `path = value` in a job; without a value, take it away."""
    path, _, value = (part.strip() for part in change.partition("="))
    *way, last = (int(step) if step.lstrip("-").isdigit() else step for step in _STEP.findall(path))
    for step in way:
        job = job[step]
    if value:
        job[last] = from_yaml(f"value: {value}".encode())["value"]
    else:
        del job[last]


def _result() -> str:
    told = f"Measured through HTTP, with time and device: [{RESULTS.stem}](../{RESULTS.name}).\n"
    return told if RESULTS.exists() else ""

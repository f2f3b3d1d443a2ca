"""Asks the package index about known vulnerabilities of every locked version: `python3 run.py audit`.

The index is the one that pip uses here; many mirrors offer no JSON API, and then this says that nothing was checked.
A vulnerability that does not concern us is listed in `.ci/accepted.txt`: `PACKAGE VERSION ID YYYY-MM-DD reason`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Set, Tuple  # noqa: UP035

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = ROOT / ".ci" / "accepted.txt"
LINE = re.compile(r"^(\S+) (\S+) (\S+) (\d{4}-\d\d-\d\d) (\S.{9,})$")
SECONDS = 10.0
DEFAULT = "from pip._internal.models.index import PyPI; print(PyPI.pypi_url)"


def locked(root: Path = ROOT) -> List[Tuple[str, str]]:  # noqa: UP006
    """(package, version) of everything in the locks."""
    texts = [file.read_text() for file in sorted(root.glob("requirements*.lock"))]
    return sorted({pair for text in texts for pair in re.findall(r"^([A-Za-z0-9._-]+)==([^ \\;]+)", text, re.M)})


def index() -> str:
    """The JSON API of the index that pip uses, without a slash at its end."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if told:
        return re.sub(r"/simple/?$", "", told) + "/pypi"
    return subprocess.run([sys.executable, "-c", DEFAULT], capture_output=True, text=True, check=True).stdout.strip()


def ask(url: str) -> Optional[Dict[str, Any]]:  # noqa: UP006, UP045
    """A JSON document; None when it cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            found = json.loads(answer.read())
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return found if isinstance(found, dict) and "vulnerabilities" in found else None


def accepted(text: str) -> Set[Tuple[str, str, str]]:  # noqa: UP006
    """(package, version, id) of what is listed; a line without date and reason is refused."""
    found = set()
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        match = LINE.match(line)
        if match is None:
            sys.exit(f"{ACCEPTED.name}: say PACKAGE VERSION ID YYYY-MM-DD and a reason, not: {line}")
        found.add((match[1], match[2], match[3]))
    return found


def audit(
    packages: List[Tuple[str, str]],  # noqa: UP006
    listed: Set[Tuple[str, str, str]],  # noqa: UP006
    look: Callable[[str], Optional[Dict[str, Any]]],  # noqa: UP006, UP045
    base: str,
) -> Optional[List[str]]:  # noqa: UP006, UP045
    """A sentence for each known vulnerability that is not listed; None when the index does not tell."""
    wrong = []
    for name, version in packages:
        answer = look(f"{base}/{name}/{version}/json")
        if answer is None:
            return None
        for one in answer["vulnerabilities"]:
            names = {one["id"], *one.get("aliases", [])}
            if not one.get("withdrawn") and not [id for id in names if (name, version, id) in listed]:
                mended = ", ".join(one.get("fixed_in") or ["no version"])
                wrong.append(
                    f"{name} {version}: {one['id']} ({one.get('summary') or 'no summary'}); mended in {mended}"
                )
    return wrong


def main() -> int:
    """Print what was found; 1 when something is wrong, 0 otherwise, also when nothing could be checked."""
    packages, listed = locked(), accepted(ACCEPTED.read_text() if ACCEPTED.exists() else "")
    wrong = audit(packages, listed, ask, index())
    if wrong is None:
        print("audit: the package index here does not tell of vulnerabilities; NOTHING WAS CHECKED.")
        return 0
    print("\n".join([*wrong, f"audit: {len(packages)} packages, {len(wrong)} known vulnerabilities not listed."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What processes log: one event a line in the form that is asked for, nothing that moves a cursor, no secret."""

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logs import JsonLines, TextLines, escaped, without_secrets
from services.settings import Settings

SECRET = "ty_0123456789ab_" + "x" * 43
PROGRAM = """
import logging
from services.logs import configure
from services.settings import get_settings
configure(get_settings())
logging.getLogger("a").info("one %s", "two\\nthree", extra={"job": "j"})
logging.getLogger("a").debug("silent")
"""


def said(formatter: logging.Formatter, message: str, error: Exception | None = None, **extra: Any) -> str:
    """What a formatter makes of one event."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("trainyard", logging.INFO, __file__, 1, message, None, info)
    vars(record).update(extra)
    handler.handle(record)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json", "auto"])
def test_the_setting_decides_and_what_is_no_terminal_gets_json(form: str) -> None:
    env = {"TRAINYARD_LOG_FORMAT": form, "PYTHONPATH": ".", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    [line] = done.stderr.splitlines()
    if form == "text":
        assert line.endswith("info    a: one two\\nthree job=j")
    else:
        found = json.loads(line)
        assert (found["message"], found["level"], found["job"]) == ("one two\nthree", "info", "j")
        assert found["at"].endswith("Z")


@given(st.text())
def test_a_line_is_a_line_whatever_is_said(text: str) -> None:
    for formatter in (TextLines(), JsonLines()):
        shown = said(formatter, text)
        assert len(shown.splitlines()) == 1
        assert not [c for c in shown[:-1] if ord(c) < 32 and c != "\t"]
        shown.encode()


def test_a_trace_cannot_pass_for_an_event() -> None:
    forged = ValueError("x\n2026-01-01T00:00:00.000Z info    trainyard: all is well")
    first, *rest = said(TextLines(), "failed", forged).splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("    ") for line in rest)
    assert json.loads(said(JsonLines(), "failed", forged))["trace"].startswith("ValueError")


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()], ids=["text", "json"])
def test_a_secret_that_got_so_far_is_left_out(formatter: logging.Formatter) -> None:
    url = "postgresql://trainyard:hush-hush@db/x"
    text = said(formatter, f"{SECRET} {url}", ValueError(SECRET, url), key=SECRET, database=url)
    assert "x" * 20 not in text
    assert "hush" not in text
    assert text.count("ty_0123456789ab_") == 3


def test_everything_else_stays() -> None:
    text = "redis://127.0.0.1:6379/0 ty_short http://host/a:b@c"
    assert without_secrets(text) == text
    assert escaped("a\tb ünï") == "a\tb ünï"


def test_workers_and_the_api_ask_for_that_form() -> None:
    from pathlib import Path

    for file in ("workers/main.py", "api/listen.py"):
        assert "configure(settings)" in Path(file).read_text()
    assert Settings(_env_file=None).log_format == "auto"

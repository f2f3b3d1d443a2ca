"""The child that reads what strangers send: bound hand and foot, and whatever becomes of it, there is a reason."""

import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from services.errors import Invalid, NotDownloaded, Unavailable
from services.uploads.inspector import Inspector
from services.uploads.limits import Limits

SMALL = Limits(cpu_seconds=1, memory_bytes=2**29, seconds=10.0, answer_bytes=100_000)
BOUND = "import sys,json,os;from services.uploads.limits import Limits;r=json.loads(sys.stdin.read());"
BOUND += "Limits(**r['limits']).impose();"


def ask(code: str, limits: Limits = SMALL, **request: Any) -> dict[str, Any]:
    """What a child that runs `code` under limits says."""
    return Inspector([sys.executable, "-c", BOUND + code]).ask(request, limits)


def refused(code: str, limits: Limits = SMALL) -> tuple[str, str]:
    """Code and message of the refusal; there is always a remedy."""
    with pytest.raises(Invalid) as found:
        ask(code, limits)
    (mistake,) = found.value.mistakes
    assert mistake.path == "body"
    assert mistake.hint
    return mistake.code, mistake.message


def test_a_finding_comes_back() -> None:
    assert ask("print(json.dumps({'found': {'echo': r['word']}}))", word="Ä\n") == {"echo": "Ä\n"}


def test_endless_computing_is_ended_with_the_reason() -> None:
    code, message = refused("\nwhile True: pass")
    assert (code, "1 seconds of computing" in message) == ("too_demanding", True)


def test_endless_sleep_is_ended_with_the_reason() -> None:
    began = time.monotonic()
    code, message = refused("import time; time.sleep(60)", Limits(5, 2**29, 0.5))
    assert (code, "0.5 seconds" in message) == ("too_demanding", True)
    assert time.monotonic() - began < 5


def test_too_much_memory_is_refused_with_the_reason() -> None:
    code, message = refused("x = bytearray(2**30)")
    assert (code, "0.5 GiB of memory" in message) == ("unreadable", True)


def test_a_reader_that_breaks_is_a_refusal_and_not_our_end() -> None:
    for end in ("os.abort()", "os.kill(os.getpid(), 11)", "os._exit(7)", "raise RuntimeError('x')"):
        assert refused(end)[0] == "unreadable"


def test_an_endless_answer_is_cut_off() -> None:
    assert refused("\nwhile True: print('x' * 10000)")[0] == "too_demanding"


def test_endless_complaints_are_not_kept() -> None:
    found = ask("[print('x' * 1000, file=sys.stderr) for _ in range(5000)]; print(json.dumps({'found': {}}))")
    assert found == {}


def test_what_kills_it_from_outside_is_not_the_files_fault() -> None:
    with pytest.raises(Unavailable):
        ask("os.kill(os.getpid(), 9)")


def test_it_can_write_no_file(tmp_path: Path) -> None:
    file = tmp_path / "out"
    found = ask(
        "\ntry: said = open(r['file'], 'wb', buffering=0).write(b'x')\nexcept OSError: said = 0\n"
        "print(json.dumps({'found': {'said': said}}))",
        file=str(file),
    )
    assert found["said"] == 0
    assert not file.exists() or file.stat().st_size == 0


def test_it_learns_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = ask("print(json.dumps({'found': dict(os.environ)}))")
    assert "secret" not in str(found)


def test_it_reaches_no_network_where_the_kernel_lets_it_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = ask(
            "import socket\n"
            "try: socket.create_connection(('127.0.0.1', r['port']), 2); said = 'reached'\n"
            "except OSError: said = 'cut off'\n"
            "own = os.readlink('/proc/self/ns/net') != r['ours']\n"
            "print(json.dumps({'found': {'said': said, 'own': own}}))",
            port=server.getsockname()[1],
            ours=os.readlink("/proc/self/ns/net"),
        )
    assert found["said"] == ("cut off" if found["own"] else "reached")


def test_a_refusal_keeps_its_mistakes_and_calls_the_file_as_its_owner_does() -> None:
    say = "print(json.dumps({'refused': {'code': 'invalid', 'message': 'm', 'mistakes': "
    say += "[{'path': 'dataset.target', 'code': 'c', 'message': '.tmp is bad', 'hint': None}]}}))"
    with pytest.raises(Invalid) as found:
        Inspector([sys.executable, "-c", BOUND + say]).ask({}, SMALL, called=(".tmp", "sales"))
    assert [(m.path, m.message) for m in found.value.mistakes] == [("dataset.target", "sales is bad")]


def test_a_data_set_that_is_not_here_is_a_conflict() -> None:
    with pytest.raises(NotDownloaded) as found:
        ask("print(json.dumps({'refused': {'code': 'not_downloaded', 'message': 'm', 'hint': 'h', 'mistakes': []}}))")
    assert (found.value.message, found.value.hint) == ("m", "h")


def test_a_service_that_ends_takes_its_children_along() -> None:
    inspector = Inspector([sys.executable, "-c", "import time; time.sleep(60)"])
    threading.Timer(0.3, inspector.stop).start()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        inspector.ask({}, SMALL)
    with pytest.raises(Unavailable):
        inspector.ask({}, SMALL)
    assert time.monotonic() - began < 5


def test_a_larger_file_gets_more_as_far_as_the_machine_has_it() -> None:
    small, large = Limits.for_size(0), Limits.for_size(2**31)
    assert large.cpu_seconds > small.cpu_seconds
    assert large.seconds > large.cpu_seconds
    assert small.memory_bytes <= large.memory_bytes < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

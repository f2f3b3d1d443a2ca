"""The API starts without the numeric core (only requests for models load it), and ends at once."""

import contextlib
import gc
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from api.listen import GARBAGE, settle
from tests.api.stage import iris

HEAVY = ("numba", "llvmlite", "sklearn", "scipy", "pandas", "torch", "cupy")
PROGRAM = f"""
import json, sys, tempfile
from pathlib import Path
from starlette.testclient import TestClient
from api.main import create_app
from services.settings import Settings
with tempfile.TemporaryDirectory() as folder:
    settings = Settings(_env_file=None, data_dir=Path(folder))
    with TestClient(create_app(settings, ring=print), "http://localhost", client=("127.0.0.1", 1)) as client:
        key = (Path(folder) / "admin_key").read_text().strip()
        headers = {{"Authorization": f"Bearer {{key}}"}}
        for path in ("/readyz", "/openapi.json", "/v1/catalog", "/v1/datasets", "/v1/jobs", "/metrics"):
            assert client.get(path, headers=headers).status_code == 200, path
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def test_neither_start_nor_the_common_requests_import_the_numeric_core() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


SERVER = """
import sys
from pathlib import Path
import uvicorn
from api.main import DRAIN_SECONDS, create_app
from services.settings import Settings
settings = Settings(_env_file=None, data_dir=Path(sys.argv[1]), port=int(sys.argv[2]))
app = create_app(settings, ring=print)
uvicorn.run(app, port=settings.port, timeout_graceful_shutdown=DRAIN_SECONDS, log_level="warning")
"""


def test_a_server_with_an_open_stream_ends_at_once_and_quietly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [sys.executable, "-c", SERVER, tmp_path, str(port)]
    with (
        subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        until_it_answers(client)
        client.headers["Authorization"] = f"Bearer {(tmp_path / 'admin_key').read_text().strip()}"
        id = client.post("/v1/jobs", json=iris()).json()["id"]
        with client.stream("GET", f"/v1/jobs/{id}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: state"
            started = time.monotonic()
            server.terminate()
            list(lines)
        _, complaints = server.communicate(timeout=10)
    assert time.monotonic() - started < 2.5
    assert "Traceback" not in complaints


def until_it_answers(client: httpx2.Client) -> None:
    """Wait for a server that is starting."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        with contextlib.suppress(httpx2.TransportError):
            client.get("/livez")
            return
        time.sleep(0.1)
    raise TimeoutError("the server did not start")


def test_what_the_start_has_made_is_never_searched_for_garbage_again() -> None:
    before = gc.get_threshold()
    try:
        settle()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == GARBAGE
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)

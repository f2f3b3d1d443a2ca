"""The API starts without the numeric core: requests for models load it, nothing else does."""

import json
import subprocess
import sys

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

"""A private PostgreSQL on a Unix socket, made from the machine's own binaries; nothing in it needs to survive."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

QUICK = {"synchronous_commit": "off"}
"""What a database may do whose server is never killed."""
_ALWAYS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "autovacuum": "off"}


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: who it runs as instead, in words of subprocess."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def make_cluster(programs: Path, folder: Path) -> None:
    """Make a cluster in `folder`, which is given to the user that PostgreSQL runs as."""
    who = other_user()
    if who:
        os.chown(folder, who["user"], who["group"])
    make = ["-D", folder / "data", "-U", "trainyard", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([programs / "initdb", *make], check=True, **quiet, **who)


def server_command(programs: Path, folder: Path, settings: dict[str, str]) -> list[str]:
    """The words that start the cluster's server, listening in `folder` alone."""
    options = [word for name, value in {**_ALWAYS, **settings}.items() for word in ("-c", f"{name}={value}")]
    data = str(folder / "data")
    return [str(programs / "postgres"), "-D", data, "-k", str(folder), "-c", "listen_addresses=", *options]


def url_of(folder: Path) -> str:
    """The address of the cluster's one database."""
    return f"postgresql://trainyard@/postgres?host={folder}"


def wait_for_server(folder: Path, seconds: float = 20.0) -> None:
    """Return once the server answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(f"host={folder} user=trainyard dbname=postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)

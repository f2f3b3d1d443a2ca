"""The API process of the stack: serves on a socket that the launcher has bound, so no port is ever raced for."""

import gc
import socket
import sys

import uvicorn

from api.main import DRAIN_SECONDS, create_app

GARBAGE = (20_000, 20, 50)
"""For gc.set_threshold: what a request leaves is freed by its counts; cycles are few and may wait."""


def settle() -> None:
    """Take the 150,000 objects that the start has made out of every later search for garbage, which would stop all
    answers for as long as it takes to look at them: a tenth of a second and more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def main() -> None:
    """Serve on the inherited socket whose number is the only argument."""
    config = uvicorn.Config(
        create_app(), access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_SECONDS
    )
    settle()
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()

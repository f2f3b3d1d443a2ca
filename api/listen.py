"""The API process of the stack: serves on a socket that the launcher has bound, so no port is ever raced for."""

import socket
import sys

import uvicorn

from api.main import DRAIN_SECONDS, create_app


def main() -> None:
    """Serve on the inherited socket whose number is the only argument."""
    config = uvicorn.Config(
        create_app(), access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_SECONDS
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()

"""The API process: serves on the socket that the launcher has bound, so no port is ever raced for, or binds its own.

`python -m api.listen` in a container or under a supervisor; `python -m api.listen FD` for the stack.
"""

import gc
import socket
import sys

import uvicorn

from api.bind import check_bind
from api.main import DRAIN_SECONDS, create_app
from services.logs import configure
from services.settings import Settings, get_settings

GARBAGE = (20_000, 20, 50)
"""For gc.set_threshold: what a request leaves is freed by its counts; cycles are few and may wait."""


def settle() -> None:
    """Take the 150,000 objects that the start has made out of every later search for garbage, which would stop all
    answers for as long as it takes to look at them: a tenth of a second and more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def main() -> None:
    """Serve on the inherited socket whose number is the only argument, or on the settings' address."""
    settings = get_settings()
    check_bind(settings)
    configure(settings)
    # Forwarded headers are our own middleware's business, and only behind a proxy.
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    settle()
    with listener(settings, sys.argv[1:]) as ours:
        uvicorn.Server(config).run(sockets=[ours])


def listener(settings: Settings, arguments: list[str]) -> socket.socket:
    """The socket to serve on."""
    if arguments:
        return socket.socket(fileno=int(arguments[0]))
    return socket.create_server((settings.host, settings.port), backlog=2048)


if __name__ == "__main__":
    main()

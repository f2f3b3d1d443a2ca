"""What a proxy in front of us says about the client. Believed only where the settings say that there is one."""

import ipaddress
from typing import Final, final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

SCHEMES: Final = frozenset({"http", "https"})


@final
class Forwarded:
    """Takes the client's address and the scheme from the proxy next to us.

    Of several values the last one counts: the proxy has written it, whatever stood there before came from the client.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if address := address_in(last(headers, "x-forwarded-for")):
                scope["client"] = (address, 0)
            if (scheme := last(headers, "x-forwarded-proto").lower()) in SCHEMES:
                scope["scheme"] = scheme
        await self.app(scope, receive, send)


def last(headers: Headers, name: str) -> str:
    """The last of all values of a header; "" when there is none."""
    return ",".join(headers.getlist(name)).rpartition(",")[2].strip()


def address_in(text: str) -> str | None:
    """The IP address in `1.2.3.4`, `1.2.3.4:5`, `::1` or `[::1]:5`; None where there is none."""
    bare = (
        text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0] if text.count(":") == 1 else text
    )
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None

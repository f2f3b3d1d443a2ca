"""Which addresses may be listened on."""

import ipaddress

from services.errors import Forbidden
from services.settings import Settings


def check_bind(settings: Settings) -> None:
    """Forbidden when others could reach the API without a proxy that speaks TLS: keys would travel in clear."""
    if settings.behind_proxy or is_loopback(settings.host):
        return
    what = f"{settings.host or 'Every address'} can be reached from elsewhere, and keys would travel unencrypted."
    hint = "Put a proxy with TLS before it and say TRAINYARD_BEHIND_PROXY=true, or listen on 127.0.0.1."
    raise Forbidden(what, hint=hint)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name is trusted only if it is localhost."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"

"""What every request must keep to, and what every answer carries, before any route is asked.

- The Host header names this server: else another site's name has been pointed at our address (DNS rebinding).
- Whatever changes something, and every WebSocket, comes from our own page (CSRF). Other programs send an Origin too.
- A body has an end, and it is near.
- Answers forbid whatever the page does not need (Content-Security-Policy), inline script above all.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.annotate.errors import ApiError, error_content

BODY_BYTES = 2**20  # a sketch of 10,000 frames has 200 kB
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost"})

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Headers of every answer."""


class Gate:
    """ASGI middleware that does what the module's docstring says."""

    def __init__(self, app: ASGIApp, host: str, body_bytes: int = BODY_BYTES):
        """`host` is the address that the server listens at."""
        self._app = app
        self._host = host
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is not None:
                await receive()
                return await send({"type": "websocket.close", "code": 1008, "reason": refusal[2]})
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                # What is not marked as lasting is asked for anew: episodes change, and so does the page.
                answered.setdefault("cache-control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
            await send(message)

        if refusal is not None:
            status, code, sentence = refusal
            return await JSONResponse(error_content(code, sentence), status)(scope, receive, send_with_headers)
        return await self._app(scope, self._limited(receive), send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return (
                403,
                "cross_site",
                "this server does not go by that name: open the link that it printed",
            )
        if (scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS) and not _same_origin(headers, host):
            return 403, "cross_site", "this did not come from the sketching page: open the link that was printed"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._body_bytes:
            return 413, "too_large", f"the body is larger than {self._body_bytes:,} bytes: send less"
        return None

    def _is_ours(self, host: str) -> bool:
        name = _host_name(host)
        if name == self._host or name in _LOOPBACK_NAMES:
            return True
        with contextlib.suppress(ValueError):
            # No name can be pointed anywhere where there is none, so any address will do when we listen at all of them.
            return ipaddress.ip_address(name).is_loopback or is_everywhere(self._host)
        return is_everywhere(self._host) and name in {socket.gethostname().lower(), socket.getfqdn().lower()}

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._body_bytes:  # a body that came in chunks did not tell its length
                raise ApiError(413, "too_large", f"the body is larger than {self._body_bytes:,} bytes: send less")
            return message

        return receive_limited


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine only."""
    if host in _LOOPBACK_NAMES:
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def is_everywhere(host: str) -> bool:
    """Whether an address to listen at means every address of the machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def _host_name(host: str) -> str:
    """`[::1]:8765` -> `::1`, `Localhost:8765` -> `localhost`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _same_origin(headers: Headers, host: str) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is not None:
        return origin.lower() in _origins(host.lower())
    return site is not None


def _origins(host: str) -> Iterable[str]:
    return f"http://{host}", f"https://{host}"  # https: behind a proxy that encrypts

"""What every request must pass before the page's program sees it.

The first part of the path is a token, so that other users of the machine and other pages in the
browser cannot ask for anything. Host and Origin are checked as well: a page of another site, or a
name that it has bound to this machine (DNS rebinding), is refused even if it knew the token.
"""

import hmac
import ipaddress
import socket
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Refuses requests, and adds headers to responses.

    application: sees the path without the token. token: the first part of the path. host: the
    address that the server listens at. max_body_bytes: of a request.
    """

    def __init__(self, application: ASGIApp, *, token: str, host: str, max_body_bytes: int):
        self._application, self._token = application, token.encode()
        self._names = allowed_names(host)
        self._takes_addresses = not is_loopback(host)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        body = None if refusal else await self._body(Headers(scope=scope), receive)
        if refusal is None and body is None:
            refusal = PlainTextResponse("the request is too large", 413)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        rest = "/" + scope["path"].lstrip("/").partition("/")[2]
        inner = {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}
        await self._application(inner, _replayed(body or b"", receive), send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            return PlainTextResponse("this server does not have that name", 421)
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return PlainTextResponse("requests of other sites are refused", 403)
        token, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self._token):
            return PlainTextResponse("open the address that the terminal shows", 403)
        return None

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server."""
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        else:
            name = name.partition(":")[0]
        return name in self._names or (self._takes_addresses and _is_address(name))

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body of a request; None if it is too large, which is noticed before it is kept."""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._max_body_bytes:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                return None
            if not message.get("more_body", False):
                break
        return b"".join(parts)


def is_loopback(host: str) -> bool:
    """Whether a server at this address is reached from this machine alone."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def allowed_names(host: str) -> Collection[str]:
    """The names that a Host header may have, in small letters, for a server at this address."""
    names = {*_LOOPBACK_NAMES, host.lower()}
    if not is_loopback(host):
        names.update((socket.gethostname().lower(), socket.getfqdn().lower()))
    return names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body, then what comes after it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay

"""The server of the page: from a socket to the end by Ctrl-C."""

import contextlib
import socket

import uvicorn
from starlette.types import ASGIApp

from annotator.workspace import Workspace
from util.errors import InputError

_PATIENCE_SECONDS = 3  # for requests that are being answered


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. port: 0 takes one that is free. Raises InputError if it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); choose another"
            " address or port"
        ) from error
    return listener


class PageServer(uvicorn.Server):
    """Ends the workspace before it waits for open requests."""

    def __init__(self, application: ASGIApp, workspace: Workspace):
        super().__init__(
            uvicorn.Config(
                application,
                log_level="warning",
                access_log=False,  # the addresses hold the token
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_PATIENCE_SECONDS,
            )
        )
        self._workspace = workspace

    def handle_exit(self, *arguments) -> None:
        """Called for Ctrl-C and SIGTERM."""
        self._workspace.is_closing = True
        self._workspace.propagation.cancel()
        super().handle_exit(*arguments)

    def serve_until_stopped(self, listener: socket.socket) -> None:
        """Answer requests until the process is told to end, then finish what is being done."""
        try:
            with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn at its end
                self.run(sockets=[listener])
        finally:
            self._workspace.close()

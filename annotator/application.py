"""The addresses below which the page and what it shows and changes are found.

    /                          the page
    /static/NAME               its modules and styles
    /api/state?after=N         the state; with `after`, as soon as its revision is above N
    /api/frames/N.jpg          a frame
    /api/labels/N              its labels, a byte a pixel
    /api/draw, /api/masks/N/ID, /api/undo, …   changes, each a POST that answers with the state

Reading and changing run in threads; the server itself never waits for them.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from annotator.encoding import mask_bytes, unpacked_mask
from annotator.guard import Guard
from annotator.workspace import Workspace
from inference.interactive import Stroke
from util.errors import InputError, reason_in_one_line

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_KEPT = {"Cache-Control": "private, max-age=3600"}  # the address of a frame is that of one run
_SMALLEST_BOUND = 1_000_000  # bytes of a request
_MAX_POINTS = 10_000  # of all strokes of a request
_LOOK_SECONDS, _WAIT_SECONDS = 0.05, 10.0


def application(workspace: Workspace, *, token: str, host: str = "127.0.0.1") -> ASGIApp:
    """The ASGI application of a workspace. token: see Guard. host: the address it listens at."""
    files = {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _TYPES}
    handlers = _Handlers(workspace, files)
    inner = Starlette(
        routes=handlers.routes(),
        exception_handlers={InputError: _refuse, OSError: _refuse},
    )
    bound = max(_SMALLEST_BOUND, mask_bytes(workspace.project.size))
    return Guard(inner, token=token, host=host, max_body_bytes=bound)


async def _refuse(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": reason_in_one_line(error)}, 400)


class _Handlers:
    def __init__(self, workspace: Workspace, files: dict[str, bytes]):
        self._workspace, self._files = workspace, files

    def routes(self) -> list[Route]:
        change = self._change
        workspace = self._workspace
        return [
            Route("/", self._page),
            Route("/static/{name}", self._static),
            Route("/api/state", self._state),
            Route("/api/frames/{frame:int}.jpg", self._frame),
            Route("/api/labels/{frame:int}", self._labels),
            Route("/api/masks/{frame:int}/{object:int}", self._set_mask, methods=["POST"]),
            Route("/api/draw", change(self._draw), methods=["POST"]),
            Route("/api/undo", change(lambda values: workspace.undo()), methods=["POST"]),
            Route("/api/redo", change(lambda values: workspace.redo()), methods=["POST"]),
            Route("/api/remove_object", change(self._remove_object), methods=["POST"]),
            Route("/api/remove_annotation", change(self._remove_annotation), methods=["POST"]),
            Route("/api/propagate", change(self._propagate), methods=["POST"]),
            Route("/api/cancel", change(self._cancel), methods=["POST"]),
            Route("/api/suggest", change(self._suggest), methods=["POST"]),
            Route("/api/export", change(self._export), methods=["POST"]),
        ]

    # Reading

    async def _page(self, request: Request) -> Response:
        return Response(self._files["index.html"], media_type="text/html")

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        return Response(self._files[name], media_type=_TYPES[Path(name).suffix])

    async def _state(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        if after.lstrip("-").isdecimal():
            await self._wait_for_change(int(after))
        return JSONResponse(await run_in_threadpool(self._workspace.state))

    async def _wait_for_change(self, after: int) -> None:
        """Wait until the revision is another than `after`, but not for long."""
        end = time.monotonic() + _WAIT_SECONDS
        while self._workspace.revision == after and time.monotonic() < end:
            if self._workspace.is_closing:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _frame(self, request: Request) -> Response:
        content = self._workspace.image(request.path_params["frame"])
        return Response(content, media_type="image/jpeg", headers=_KEPT)

    def _labels(self, request: Request) -> Response:
        content = self._workspace.labels(request.path_params["frame"])
        headers = {"Content-Encoding": "deflate"}
        return Response(content, media_type="application/octet-stream", headers=headers)

    # Changes

    def _change(self, work: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Callable:
        """A handler that does something with the values of a request, in a thread, and answers
        with the state and what `work` returns."""

        async def handle(request: Request) -> Response:
            try:
                values = await request.json() if await request.body() else {}
            except ClientDisconnect:
                return PlainTextResponse("")
            except ValueError:
                raise InputError("the request is not JSON; reload the page") from None
            if not isinstance(values, dict):
                raise InputError("the request is not an object of JSON; reload the page")
            return await run_in_threadpool(self._answer, work, values)

        return handle

    def _answer(self, work: Callable, values: dict[str, Any]) -> Response:
        try:
            more = work(values) or {}
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            text = f"the request lacks a value, or one is wrong ({error}); reload the page"
            raise InputError(text) from error
        return JSONResponse({**self._workspace.state(), **more})

    async def _set_mask(self, request: Request) -> Response:
        content = await request.body()
        frame, object_id = request.path_params["frame"], request.path_params["object"]

        def work(values: dict[str, Any]) -> None:
            mask = unpacked_mask(content, self._workspace.project.size)
            self._workspace.set_mask(frame, object_id, mask)

        return await run_in_threadpool(self._answer, work, {})

    def _draw(self, values: dict[str, Any]) -> None:
        if sum(len(entry["points"]) for entry in values.get("strokes", ())) > _MAX_POINTS:
            raise InputError(f"more than {_MAX_POINTS} points; draw shorter strokes")
        strokes = [
            Stroke(entry["points"], bool(entry["positive"]), float(entry["radius"]))
            for entry in values.get("strokes", ())
        ]
        box = values.get("box")
        if box is not None:
            x0, y0, x1, y1 = map(float, box)
            box = (x0, y0, x1, y1)
        self._workspace.draw(values["frame"], values["object"], strokes, box)

    def _remove_object(self, values: dict[str, Any]) -> None:
        self._workspace.remove_object(values["object"])

    def _remove_annotation(self, values: dict[str, Any]) -> None:
        self._workspace.remove_annotation(values["frame"])

    def _propagate(self, values: dict[str, Any]) -> None:
        self._workspace.propagation.start()

    def _cancel(self, values: dict[str, Any]) -> None:
        self._workspace.propagation.cancel()

    def _suggest(self, values: dict[str, Any]) -> dict[str, Any]:
        by = values.get("by", "keys")
        return {"suggested": self._workspace.suggest(int(values.get("count", 3)), by)}

    def _export(self, values: dict[str, Any]) -> dict[str, Any]:
        folder = self._workspace.export(overlay=bool(values.get("overlay", False)))
        return {"exported": str(folder)}

"""Live sources for tests: synthetic frames, and a server that streams them."""

import http.server
import threading
import time
from pathlib import Path

import cv2
from toy_trees import HEIGHT, WIDTH, toy_frames

from dataset import LiveVideo, TruncatedVideoError
from dataset.video.feeds import Feed

_DISTINCT_FRAMES = 20
_STREAMED_FRAMES = 8
STALL_SECONDS = 3


class ScriptedFeed(Feed):
    """A feed of synthetic frames.

    Args:
        count: number of frames.
        interval_seconds: between two frames.
        stalls_before: hang for STALL_SECONDS before this frame.
        changes_at: the frames from this one on are smaller.
    """

    address = "camera 0"

    def __init__(
        self,
        count: int,
        interval_seconds: float = 0.0,
        stalls_before: int | None = None,
        changes_at: int | None = None,
    ):
        self.images = list(toy_frames(min(count, _DISTINCT_FRAMES), 0)[0])
        self.count = count
        self.interval_seconds = interval_seconds
        self.stalls_before = stalls_before
        self.changes_at = changes_at
        self.read_count = 0

    def open(self):
        self.frames_per_second = 25.0

    def read(self):
        if self.read_count == self.stalls_before:
            time.sleep(STALL_SECONDS)
        if self.read_count >= self.count:
            return None
        time.sleep(self.interval_seconds)
        image = self.images[self.read_count % len(self.images)]
        self.read_count += 1
        is_smaller = self.changes_at is not None and self.read_count > self.changes_at
        return image[:40] if is_smaller else image

    def close(self):
        pass

    def check_end(self, frames_read):
        raise TruncatedVideoError(f"{self.address}: ended after {frames_read} frames")


def live_video(feed: Feed, mask: Path, *, newest_only: bool = False, **settings) -> LiveVideo:
    return LiveVideo(feed, mask, "live", newest_only=newest_only, **settings)


def read_slowly(video: LiveVideo, seconds: float) -> list[int]:
    """The positions of a live video's frames, to its end. seconds: a pause after each."""
    positions = []
    try:
        for frame in video.frames():
            assert frame.name == f"{frame.index:05d}"
            positions.append(frame.index)
            time.sleep(seconds)
    except TruncatedVideoError:
        pass
    return positions


def write_video(path: Path, count: int, rate: float) -> None:
    """Write a Motion JPEG file of synthetic frames."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (WIDTH, HEIGHT))
    for image in toy_frames(count, 0)[0]:
        video.write(image[..., ::-1].copy())
    video.release()


class StreamingServer:
    """Motion JPEG over HTTP, as network cameras send it.

    /ends sends 8 frames and closes the connection, /stalls sends 8 frames and then nothing,
    /runs never ends. The context's value is the server's URL, with a password.
    """

    def __enter__(self) -> str:
        released = self._released = threading.Event()
        jpegs = [
            cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
            for image in toy_frames(_STREAMED_FRAMES, 0)[0]
        ]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                sent = 0
                while not released.is_set() and (sent < len(jpegs) or self.path == "/runs"):
                    jpeg = jpegs[sent % len(jpegs)]
                    header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                    try:
                        self.wfile.write(header.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
                    except OSError:
                        return
                    sent += 1
                    time.sleep(0.03)
                if self.path == "/stalls":
                    released.wait(30)

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://me:secret@127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exception):
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

"""Make, propagate and correct masks on a page in the browser.

python -m annotator VIDEO [--project FOLDER] [--system …]

Prints the page's address and opens it. Every change is kept in the project's folder at once;
Ctrl-C ends the program. Needs starlette and uvicorn: pip install -r requirements-annotator.txt
"""

import argparse
import importlib.util
import secrets
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from dataset import local_path
from inference import SYSTEMS, VideoSegmenter
from inference.interactive import InteractiveProject
from util.errors import InputError, run_command
from util.flags import FlagParser

_NEEDED = ("starlette", "uvicorn")
_DEFAULT_RESOLUTION = 480
_TOKEN_BYTES = 24


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="python -m annotator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("video", metavar="VIDEO", help="a video file, a folder of frames, or a stack of images")
    project = "the project's folder, new or begun before (default: VIDEO.project)"
    add("--project", type=Path, metavar="FOLDER", help=project)
    export = "where results are exported (default: VIDEO.masks)"
    add("--export", type=Path, metavar="OUT", help=export)
    add("--system", choices=tuple(SYSTEMS), default="stcn", help="default: stcn")
    weights = "weights (default: the small network shipped for the system)"
    add("--model", type=Path, metavar="CHECKPOINT", help=weights)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    resolution = (
        "masks are predicted at a shorter side of N pixels; -1: as stored (default: %(default)s)"
    )
    add("--resolution", type=int, default=_DEFAULT_RESOLUTION, metavar="N", help=resolution)
    memory = "every stretch of the video also reads all annotated frames"
    add("--permanent_memory", action="store_true", help=memory)
    host = "the address to listen at (default: %(default)s, this machine alone)"
    add("--host", default="127.0.0.1", help=host)
    add("--port", type=int, default=0, metavar="N", help="default: one that is free")
    add("--no_browser", action="store_true", help="do not open the browser")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the page that the flags describe, until Ctrl-C. Returns the exit code."""
    flags = _parser().parse_args(arguments)
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"the annotator needs {' and '.join(missing)}, not installed here; pip install -r"
            " requirements-annotator.txt"
        )
    if not 0 <= flags.port <= 65535:
        raise InputError(f"--port {flags.port}: ports are 1 to 65535, and 0 for one that is free")
    video = local_path(flags.video)
    name = video.resolve().name if video.is_dir() else video.stem
    segmenter = VideoSegmenter.from_checkpoint(
        flags.model,
        flags.system,
        device=flags.device,
        resolution=flags.resolution,
        permanent_memory=flags.permanent_memory,
    )
    folder = flags.project or Path(f"{name}.project")
    with InteractiveProject.open(folder, str(video), segmenter) as project:
        _serve(project, flags.export or Path(f"{name}.masks"), flags)
    print(f"everything is saved in {folder}")
    return 0


def _serve(project: InteractiveProject, export_folder: Path, flags: argparse.Namespace) -> None:
    # optional packages, checked by main
    from annotator.application import application
    from annotator.guard import is_loopback
    from annotator.server import PageServer, listening_socket
    from annotator.workspace import Workspace

    workspace = Workspace(project, export_folder)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with listening_socket(flags.host, flags.port) as listener:
        port = listener.getsockname()[1]
        host = f"[{flags.host}]" if ":" in flags.host else flags.host
        address = f"http://{host}:{port}/{token}/"
        if not is_loopback(flags.host):
            print(
                f"warning: other machines can reach {flags.host}; whoever knows the address can"
                " see the video and change its masks, and the connection is not encrypted",
                file=sys.stderr,
            )
        print(f"{project.name}: {address}\nCtrl-C ends the program.", flush=True)
        if not flags.no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server = PageServer(application(workspace, token=token, host=flags.host), workspace)
        server.serve_until_stopped(listener)


if __name__ == "__main__":
    run_command(main)

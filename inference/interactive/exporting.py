"""The results of a project as the eval scripts write theirs.

Legend: H W frame size.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.interactive.project_video import ProjectVideo
from inference.output.overlay import OverlayWriter, require_encoder
from inference.output.paths import CHOOSE_ANOTHER, OutputPaths
from inference.output.recorded_run import RecordedRun
from inference.output.run_folder import RunFolder
from inference.output.writer import ResultWriter
from util.errors import InputError
from util.palette import DAVIS_PALETTE

_SCRIPT = "interactive project"


def export(
    output: Path,
    video: ProjectVideo,
    results: Mapping[int, np.ndarray],
    settings: Mapping[str, Any],
    *,
    masks: Collection[Path],
    overlay: bool,
) -> Path:
    """Write OUT/VIDEO/FRAME.png and OUT/config.json; returns OUT/VIDEO.

    results: labels uint8 [H, W] by frame. settings: see VideoSegmenter.identity. masks: the files
    of the annotations. overlay: also write OUT/overlays/VIDEO.mp4 (or .webm).
    An earlier export is replaced. Raises InputError if OUT holds anything else of these names, or
    lies among the frames or in the project; OSError if it cannot be written.
    """
    if overlay:
        require_encoder()
    _refuse_other_results(output)
    folder = RunFolder(output, {"script": _SCRIPT, **settings}, overwrite=True)
    inputs = dataclasses.replace(video.inputs, masks=sorted(masks))
    videos = {video.name: inputs}
    folder.check_request(videos)
    with folder.hold(), contextlib.ExitStack() as stack:
        folder.check(videos)
        folder.prepare(videos, with_overlays=overlay)
        folder.begin(video.name, inputs)
        drawn = None
        if overlay:
            drawn = stack.enter_context(
                OverlayWriter(folder.overlays, video.name, DAVIS_PALETTE, video.frames_per_second)
            )
        writer = stack.enter_context(ResultWriter(folder.results))
        files = stack.enter_context(writer.video(video.name, DAVIS_PALETTE))
        if drawn is None:
            for index, labels in results.items():
                files.write(video.name_of(index), labels)
        else:
            for frame in video.read(0, max(results) + 1):
                labels = results[frame.index]
                files.write(video.name_of(frame.index), labels)
                drawn.add(video.name_of(frame.index), np.asarray(frame.image), labels)
    return folder.paths.video(video.name)


def _refuse_other_results(output: Path) -> None:
    recorded = RecordedRun.read(OutputPaths(output).config)
    if recorded is not None and recorded.settings.get("script") != _SCRIPT:
        raise InputError(
            f"{output}: holds results of another script ({recorded.settings.get('script')});"
            f" {CHOOSE_ANOTHER}"
        )

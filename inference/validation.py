"""Validation: J and F of a network in training on held-out videos, and the best weights so far.

The videos are segmented as in an evaluation (an inference copy of the network, a session, each
object's first mask only) and scored by the project's own scorer. The training is not affected.

Legend: H W height and width of a frame in pixels.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import Layout, Video, check_masks, prefetch
from dataset.folders import MASK_SUFFIXES, list_files
from dataset.image_file import image_sizes, size_text
from dataset.label_map import read_label_map
from dataset.video.folder_source import FolderSource
from inference.config import system_config
from inference.output.writer import ResultWriter
from inference.runner import share_out
from inference.scoring import ObjectScores, VideoFolders, read_labels, score_videos
from inference.scoring.report import overall_scores
from inference.segmenter import DEFAULT_LOOKAHEAD, VideoSegmenter, require_slots
from model import VOSNetwork, save_weights
from model.config import NetworkConfig
from util.distributed import exit_together_on_error, gather_objects, rank
from util.errors import InputError, explain_out_of_memory
from util.files import natural_key, write_json
from util.palette import DAVIS_PALETTE
from util.text import counted

BEST_WEIGHTS_NAME, BEST_RECORD_NAME = "best.pth", "best.json"
_FEWEST_MASKS = 3  # the first is given and the last is not scored
_FRAMES_AHEAD = 4
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationScores:
    """Scores in 0..1: means over all objects of all sequences.

    per_sequence: J&F of each sequence, the mean over its objects. seconds: the whole validation.
    """

    j: float
    f: float
    j_and_f: float
    per_sequence: Mapping[str, float]
    seconds: float

    def as_scalars(self) -> dict[str, float]:
        """The overall scores by the names under which they are logged."""
        return {"validation/j_and_f": self.j_and_f, "validation/j": self.j, "validation/f": self.f}


class Validator:
    """Scores networks on the videos of a root."""

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str] | None = None,
        *,
        resolution: int | None = None,
        max_frames: int | None = None,
        system: str = "stcn",
        **settings: Any,
    ):
        """Read and check the data.

        root: of DAVIS; or JPEGImages/VIDEO and Annotations/VIDEO, with the truth in Truth/VIDEO if
        that exists.
        sequences: by default the validation list of DAVIS-2017, or else that of DAVIS-2016, which
        is scored as one object; all sequences if there is no ImageSets.
        resolution: the working shorter side in pixels, -1 as stored; by default as stored for
        DAVIS, 480 elsewhere. max_frames: of each sequence, from its first mask on; by default all.
        system, settings: as VideoSegmenter takes them.

        Raises InputError if a sequence has fewer than three masks in its frames (the first is given
        and the last is not scored), a mask is unreadable or differs from its frame in size, or
        other data or settings are wrong. Every mask that is needed is read.
        """
        if max_frames is not None and max_frames < _FEWEST_MASKS:
            raise InputError(
                f"validation on {counted(max_frames, 'frame')} of each sequence: at least "
                f"{_FEWEST_MASKS} are needed, because the first is given and the last is not scored"
            )
        self._layout = Layout.of(Path(root))
        if sequences is None and not self._layout.lists_folder.is_dir():
            sequences = self._layout.names()
        resolution = self._layout.resolution if resolution is None else resolution
        self._config = system_config(system, resolution=resolution, **settings)
        self._max_frames = max_frames
        self._videos = {video.name: video for video in self._layout.open(sequences)}
        check_masks(self._videos.values())
        self._truth_folder = self._layout.truth_folder
        self._truth = {name: self._truth_of(video) for name, video in self._videos.items()}
        _run_all(check for name in self._videos for check in self._mask_checks(name))

    @property
    def sequences(self) -> tuple[str, ...]:
        """The names of the sequences, in order."""
        return tuple(self._videos)

    @property
    def sequence_folders(self) -> frozenset[Path]:
        """The folders of their frames, links resolved: none of them may be trained on."""
        return frozenset((self._layout.frames_folder / name).resolve() for name in self._videos)

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores depend on, apart from the weights, as plain values."""
        has_own_truth = self._truth_folder != self._layout.masks_folder
        return {
            "root": str(self._layout.root.resolve()),
            "sequences": list(self.sequences),
            "protocol": self._layout.protocol,
            "single_object": self._layout.single_object,
            "max_frames": self._max_frames,
            **({"truth": self._truth_folder.name} if has_own_truth else {}),
            "system": self._config.as_dict(),
        }

    def check(self, network: NetworkConfig) -> None:
        """Raise InputError if networks of this configuration lack what the system uses.

        To be called before a training, which would otherwise end at its first validation.
        """
        require_slots(
            network,
            self._config,
            f"validation of network {network.name}",
            "train a network that has them, or without validation",
        )

    def check_not_trained_on(self, video_folders: Collection[Path]) -> None:
        """Raise InputError if one of the sequences is among the folders of training videos."""
        shared = sorted(self.sequence_folders & frozenset(video_folders))
        if shared:
            raise InputError(
                f"{shared[0]}: is trained on and validated on; "
                f"leave it out of the training by --exclude {shared[0].name}"
            )

    def score(self, network: VOSNetwork) -> ValidationScores:
        """The scores of a network, on the device it is on.

        Neither the network nor a random state changes. Every process of the group must call this:
        they share the sequences, and each gets the same scores.
        """
        start = time.perf_counter()
        device = next(network.parameters()).device
        with (
            exit_together_on_error(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
        ):
            share = share_out({name: len(names) for name, names in self._truth.items()})[rank()]
            objects = self._score_share(network, share) if share else []
        parts = gather_objects((objects, time.perf_counter() - start))
        objects = [row for part, _ in parts for row in part]
        overall = overall_scores(objects, seen_unseen=False)
        by_sequence = defaultdict(list)
        for row in objects:
            by_sequence[row.sequence].append(row.jf_mean)
        return ValidationScores(
            j=overall.j_mean,
            f=overall.f_mean,
            j_and_f=overall.jf_mean,
            per_sequence={name: float(np.mean(by_sequence[name])) for name in self.sequences},
            seconds=max(seconds for _, seconds in parts),
        )

    def _frames_of(self, video: Video) -> list[str]:
        """The names of the frames that are segmented."""
        names = [path.stem for path in self._layout.frame_files(video.name)]
        return names[video.first_index :][: self._max_frames]

    def _truth_of(self, video: Video) -> list[str]:
        """The names of the frames that are segmented and have a mask."""
        frames = self._frames_of(video)
        masks = self._truth_folder / video.name
        names = [name for name in frames if (masks / f"{name}.png").is_file()]
        if len(names) < _FEWEST_MASKS:
            raise InputError(
                f"{masks}: {counted(len(names), 'mask')} in the {counted(len(frames), 'frame')} to "
                "validate on; validation needs the truth of every frame: leave this sequence out"
            )
        return names

    def _mask_checks(self, name: str) -> Iterator[Callable[[], object]]:
        """Reads each mask of a video as the scorer and a session will.

        Those are the masks of the truth, and those given, if objects may join after the first
        frame. A wrong mask should not end a training hours later.
        """
        source = FolderSource.of_folder(self._layout.frames_folder / name)
        mask_files = list_files(self._layout.masks_folder / name, MASK_SUFFIXES)
        given = {path.stem: path for path in mask_files}
        # the first mask has been checked; its size tells which way up the frames are read
        first_mask = given[source.name_of(self._videos[name].first_index)]
        first_size = image_sizes(first_mask).stored
        sizes = {
            frame: source.size(source.index_of(Path(f"{frame}.png")), first_size)
            for frame in self._frames_of(self._videos[name])
        }
        for frame in self._truth[name]:
            path = self._truth_folder / name / f"{frame}.png"
            yield functools.partial(self._check_truth, path, sizes[frame])
        if not self._layout.is_davis:
            for frame, size in sizes.items():
                if frame in given:
                    yield functools.partial(read_label_map, given[frame], size)

    def _check_truth(self, path: Path, frame_size: tuple[int, int]) -> None:
        size = read_labels(path, self._layout.single_object).shape
        if size != frame_size:
            raise InputError(
                f"{path}: mask of {size_text(size)} for a frame of {size_text(frame_size)}; "
                "validation needs the truth at the size of the frames"
            )

    def _score_share(self, network: VOSNetwork, share: Sequence[str]) -> Sequence[ObjectScores]:
        """Results are written to files, as in an evaluation, and removed afterwards."""
        device = next(network.parameters()).device
        segmenter = VideoSegmenter(network, self._config, device=device)
        with tempfile.TemporaryDirectory(prefix="validation-") as folder:
            with ResultWriter(Path(folder)) as writer:
                for sequence in share:
                    self._segment(segmenter, sequence, writer)
            videos = [
                VideoFolders(
                    name=name,
                    truth=self._truth_folder / name,
                    result=Path(folder, name),
                    frame_names=self._truth[name],
                )
                for name in sorted(share, key=natural_key)
            ]
            return score_videos(
                videos, protocol=self._layout.protocol, single_object=self._layout.single_object
            ).objects

    def _segment(self, segmenter: VideoSegmenter, sequence: str, writer: ResultWriter) -> None:
        """Write the results of the frames that are scored."""
        needed = set(self._truth[sequence])
        with (
            explain_out_of_memory(
                f"validation on {sequence}: {segmenter.device}",
                "validate at a lower --val_resolution",
                purpose="it beside the training",
            ),
            writer.video(sequence, DAVIS_PALETTE) as output,
            contextlib.closing(self._results(segmenter, self._videos[sequence], needed)) as results,
        ):
            for name, labels in results:
                output.write(name, labels)

    def _results(
        self, segmenter: VideoSegmenter, video: Video, needed: Collection[str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The name and labels [H, W] of each frame that is needed."""
        session, names = segmenter.session(lookahead=DEFAULT_LOOKAHEAD), {}
        with contextlib.closing(prefetch(video.frames(), _FRAMES_AHEAD)) as frames:
            for frame in itertools.islice(frames, self._max_frames):
                names[frame.schedule_index] = frame.name
                result = session.step(
                    frame.image,
                    frame.labels,
                    index=frame.schedule_index,
                    wanted=frame.name in needed,
                )
                if result is not None:
                    yield names[result.frame_index], result.labels
        for result in session.drain():
            yield names[result.frame_index], result.labels


def _run_all(checks: Iterable[Callable[[], object]]) -> None:
    """Call all on threads. Raises the first error; the remaining ones are not called then."""
    with ThreadPoolExecutor() as pool:
        try:
            for _ in pool.map(lambda check: check(), checks):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _with_added_settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings of a validation, with the defaults of those of the memory that were added
    since: earlier versions ran with them."""
    system = recorded.get("system")
    if system is None:
        return dict(recorded)
    memory = {"permanent": False, **system["memory"]}
    return {**recorded, "system": {**system, "memory": memory}}


class BestWeights:
    """The weights with the best scores so far, in the main process only.

    FOLDER/best.pth holds the weights, FOLDER/best.json their iteration and scores.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, from_scratch: bool = False):
        """Read the record of an earlier run, if there is one.

        settings: of the validator; a record of other settings is ignored with a warning.
        from_scratch: the training starts from scratch, so any record is ignored.
        Raises InputError if best.json has another form.
        """
        self._folder, self._settings = folder, json.loads(json.dumps(settings))
        self.iteration: int | None = None
        self.j_and_f: float | None = None
        path = folder / BEST_RECORD_NAME
        if from_scratch or not path.exists():
            return
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            iteration, j_and_f = int(record["iteration"]), float(record["j_and_f"])
            is_comparable = _with_added_settings(record["validation"]) == self._settings
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: not a record of the best weights; remove it, and the next validation "
                "writes a new one"
            ) from error
        if not is_comparable:
            _log.warning(
                "%s: the best weights were scored by another validation; the next one replaces "
                "them",
                path,
            )
            return
        self.iteration, self.j_and_f = iteration, j_and_f

    def offer(self, iteration: int, scores: ValidationScores, network: VOSNetwork) -> bool:
        """Keep these weights if they score better than those kept. Returns whether they do.

        Raises OSError if they cannot be written; the former ones are kept then.
        """
        if self.j_and_f is not None and scores.j_and_f <= self.j_and_f:
            return False
        save_weights(self._folder / BEST_WEIGHTS_NAME, network)
        record = {
            "iteration": iteration,
            **dataclasses.asdict(scores),
            "validation": self._settings,
        }
        write_json(self._folder / BEST_RECORD_NAME, record)
        self.iteration, self.j_and_f = iteration, scores.j_and_f
        return True

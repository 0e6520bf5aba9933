"""J and F of a network in training on held-out videos, and the weights that scored best. The training goes on as if nothing had happened.

The videos are segmented as an evaluation would (a copy of the network, the engine, each object's first mask alone) and scored by the project's own scorer.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from util.distributed import exit_together_on_error, gather_objects, rank, world_size
from util.errors import InputError, explain_out_of_memory
from util.files import natural_key
from util.palette import DAVIS_PALETTE
from util.run_record import write_json
from util.text import counted

BEST_WEIGHTS_NAME, BEST_RECORD_NAME = "best.pth", "best.json"
_FEWEST_MASKS = 3  # the first is given and the last is not scored
_FRAMES_AHEAD = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationScores:
    """Means over all objects of all sequences, in 0..1; per_sequence: J&F of each, the mean over its objects. seconds: what all of it took."""

    j: float
    f: float
    j_and_f: float
    per_sequence: Mapping[str, float]
    seconds: float

    def as_scalars(self) -> dict[str, float]:
        """The overall scores by the names under which they are logged."""
        return {"validation/j_and_f": self.j_and_f, "validation/j": self.j, "validation/f": self.f}


class Validator:
    """Scores networks on the videos of a root.

    root: of DAVIS, whose validation list counts where `sequences` is None (of 2017 before 2016, which is scored as one object; all of them where there is no
    ImageSets); or ROOT/JPEGImages/VIDEO and ROOT/Annotations/VIDEO, with the truth in ROOT/Truth/VIDEO where that is there.
    max_frames: of each sequence, from its first mask on; None: all. resolution: the working shorter side in pixels, -1 as stored; None: as stored for DAVIS,
    480 elsewhere. system and settings: as VideoSegmenter takes them. Raises InputError where a sequence has fewer than three masks in its frames, since the
    first is given and the last is not scored, where a mask cannot be read or has not its frame's size (each that counts is read), and for whatever else is
    wrong with the data or the settings.
    """

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
        self._layout = Layout.of(Path(root))
        if (
            sequences is None and not self._layout.lists_folder.is_dir()
        ):  # also where it is laid out like DAVIS: every sequence
            sequences = self._layout.names()
        self._system, self._overrides = (
            system,
            {
                "resolution": self._layout.resolution if resolution is None else resolution,
                **settings,
            },
        )
        self._config = system_config(system, **self._overrides)
        self._max_frames = max_frames
        self._videos = {video.name: video for video in self._layout.open(sequences)}
        check_masks(self._videos.values())
        self._truth_folder = self._layout.truth_folder
        self._truth = {name: self._truth_of(video) for name, video in self._videos.items()}
        self._check_files()

    @property
    def sequences(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._videos)

    @property
    def sequence_folders(self) -> frozenset[Path]:
        """The folders their frames lie in, links resolved: none of them may be trained on."""
        return frozenset((self._layout.frames_folder / name).resolve() for name in self._videos)

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores depend on beside the weights, as plain values."""
        return {
            "root": str(self._layout.root.resolve()),
            "sequences": list(self.sequences),
            "protocol": self._layout.protocol,
            "single_object": self._layout.single_object,
            "max_frames": self._max_frames,
            **(
                {}
                if self._truth_folder == self._layout.masks_folder
                else {"truth": self._truth_folder.name}
            ),
            "system": self._config.as_dict(),
        }

    def check(self, network: NetworkConfig) -> None:
        """Raise InputError where networks of this configuration lack what the system uses: before a training, not at its first validation."""
        require_slots(
            network,
            self._config,
            f"validation of network {network.name}",
            "train a network that has them, or without validation",
        )

    def score(self, network: VOSNetwork) -> ValidationScores:
        """The scores of a network, on the device it is on.

        Neither the network nor a random state changes. Of several processes each must call this: the sequences are shared out among them, and each gets the same scores.
        """
        start = time.perf_counter()
        device = next(network.parameters()).device
        with (
            exit_together_on_error(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
        ):
            share = share_out(
                {name: len(names) for name, names in self._truth.items()}, world_size()
            )[rank()]
            objects = self._score_share(network, share) if share else []
        parts = gather_objects((objects, time.perf_counter() - start))
        objects = [row for part, _ in parts for row in part]
        overall = overall_scores(objects, youtube=False)
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
        """Names of the frames that count."""
        return [path.stem for path in self._layout.frame_files(video.name)][video.first_index :][
            : self._max_frames
        ]

    def _truth_of(self, video: Video) -> list[str]:
        """Names of the frames that count and have a mask."""
        if self._max_frames is not None and self._max_frames < _FEWEST_MASKS:
            found = counted(self._max_frames, "frame")
            raise InputError(
                f"validation on {found} of each sequence: at least {_FEWEST_MASKS} are needed, the first is given and the last is not scored"
            )
        frames = self._frames_of(video)
        masks = self._truth_folder / video.name
        names = [name for name in frames if (masks / f"{name}.png").is_file()]
        if len(names) < _FEWEST_MASKS:
            found = (
                f"{counted(len(names), 'mask')} in the {counted(len(frames), 'frame')} that count"
            )
            raise InputError(
                f"{masks}: {found}; validation needs the truth of every frame: leave this sequence out"
            )
        return names

    def _check_files(self) -> None:
        """Read every mask that counts, as the scorer and the engine will: one that they would refuse should not end a training hours later."""
        with ThreadPoolExecutor() as pool:
            try:
                for _ in pool.map(
                    lambda check: check(),
                    [check for name in self._videos for check in self._checks(name)],
                ):
                    pass
            except BaseException:  # one is enough
                pool.shutdown(cancel_futures=True)
                raise

    def _checks(self, name: str) -> Iterator[Callable[[], object]]:
        """Of each mask of a video: of the truth, and, where an object may be given after the first frame, of those given."""
        source = FolderSource.of_folder(self._layout.frames_folder / name)
        given = {
            path.stem: path for path in list_files(self._layout.masks_folder / name, MASK_SUFFIXES)
        }
        first_size = image_sizes(given[source.name_of(self._videos[name].first_index)])[
            0
        ]  # it was checked, and says which way up the frames are read
        sizes = {
            frame: source.size(source.index_of(Path(f"{frame}.png")), first_size)
            for frame in self._frames_of(self._videos[name])
        }
        for frame in self._truth[name]:
            yield functools.partial(
                self._check_truth, self._truth_folder / name / f"{frame}.png", sizes[frame]
            )
        for frame in () if self._layout.is_davis else [frame for frame in sizes if frame in given]:
            yield functools.partial(read_label_map, given[frame], sizes[frame])

    def _check_truth(self, path: Path, frame_size: tuple[int, int]) -> None:
        size = read_labels(path, self._layout.single_object).shape
        if size != frame_size:
            raise InputError(
                f"{path}: mask of {size_text(size)} for a frame of {size_text(frame_size)}; validation needs the truth at the frames' size"
            )

    def _score_share(self, network: VOSNetwork, share: Sequence[str]) -> Sequence[ObjectScores]:
        """The results are files, as an evaluation's; they are removed."""
        segmenter = VideoSegmenter(
            network, self._system, device=next(network.parameters()).device, **self._overrides
        )
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
        """Write the results of the frames that are compared."""
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
        """Name and labels [H, W] of each frame that counts and is needed."""
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


class BestWeights:
    """The weights that scored best so far: FOLDER/best.pth, and FOLDER/best.json, which says at which iteration and how well. In the main process alone.

    settings: the validator's; what best.json holds counts only if it was scored with the same, which is said. fresh: nothing counts that is there, since the
    training begins anew. Raises InputError where best.json is not of this form.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, fresh: bool = False):
        self._folder, self._settings = folder, json.loads(json.dumps(settings))
        self.iteration: int | None = None
        self.j_and_f: float | None = None
        path = folder / BEST_RECORD_NAME
        if fresh or not path.exists():
            return
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            iteration, j_and_f, scored_with = (
                int(record["iteration"]),
                float(record["j_and_f"]),
                record["validation"],
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}: not a record of the best weights; remove it, and the next validation writes it anew"
            ) from error
        if scored_with != self._settings:
            print(
                f"warning: {path}: the best weights were scored by another validation; the next one replaces them",
                file=sys.stderr,
                flush=True,
            )
            return
        self.iteration, self.j_and_f = iteration, j_and_f

    def offer(self, iteration: int, scores: ValidationScores, network: VOSNetwork) -> bool:
        """Keep these weights if they score better than those kept; says whether. Raises OSError where they cannot be written: what was kept stays."""
        if self.j_and_f is not None and scores.j_and_f <= self.j_and_f:
            return False
        save_weights(self._folder / BEST_WEIGHTS_NAME, network)
        write_json(
            self._folder / BEST_RECORD_NAME,
            {"iteration": iteration, **dataclasses.asdict(scores), "validation": self._settings},
        )
        self.iteration, self.j_and_f = iteration, scores.j_and_f
        return True

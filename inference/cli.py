"""The eval scripts as programs: from flags and a data set to results, scores and totals.

Settings are resolved here once and passed on as values.
"""

import argparse
import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dataset import VideoDataset
from inference import runner
from inference.config import SYSTEMS
from inference.ensemble import EnsembleSegmenter
from inference.flags import resolve_settings
from inference.measurements import Totals
from inference.output.run_folder import RunFolder
from inference.propagation import Direction
from inference.runner import FailedVideosError
from inference.scoring import score_videos, videos_below
from inference.segmenter import VideoSegmenter, shipped_weights
from model.network import SLOTS
from util.distributed import (
    exit_together_on_error,
    gather_objects,
    is_main,
    process_group,
    world_size,
)
from util.errors import EXIT_INPUT_ERROR, InputError, run_command
from util.files import file_sha256
from util.run_record import git_commit
from util.text import without_secrets

# a process that has finished waits for the videos of the others, however long these are
_PATIENCE = datetime.timedelta(days=7)


def start(main: Callable[[], None]) -> None:
    """Run an eval script's main, alone or as one of torchrun's processes; exit with its code."""

    def joined() -> None:
        # also if videos are segmented on GPUs, processes exchange only a few numbers
        with process_group(torch.device("cpu"), _PATIENCE):
            main()

    run_command(joined)


class Evaluation:
    """A run of an eval script, from flags and a data set to results, scores and totals.

    data: describes the data beside its root, as plain values for config.json.
    defaults: the data set's settings, by short name, for those that the flags leave open.
    subfolder: of --output, for the results. direction: see runner.run.
    Raises InputError for wrong flags, checkpoints or devices; nothing has been written then.
    """

    def __init__(
        self,
        flags: argparse.Namespace,
        dataset: VideoDataset,
        *,
        data: Mapping[str, Any],
        defaults: Mapping[str, Any],
        subfolder: str = ".",
        direction: Direction = "forward",
    ):
        self._flags = flags
        self._direction = direction
        self._dataset = dataset
        config = resolve_settings(flags, defaults)
        weights = [shipped_weights(config)] if flags.model is None else flags.model
        self._members = [
            VideoSegmenter.from_checkpoint(
                path,
                config,
                network=flags.network,
                similarity=flags.similarity,
                window=flags.window,
                device=flags.device,
            )
            for path in weights
        ]
        self._segmenter = self._members[0]
        if len(weights) > 1 or self._views():
            self._segmenter = EnsembleSegmenter(self._members, scales=flags.scales, flip=flags.flip)
        self._folder = RunFolder(
            flags.output,
            self._settings(weights, data),
            run=self._circumstances(weights),
            subfolder=subfolder,
            overwrite=flags.overwrite,
        )

    def run(self) -> Totals:
        """Segment the videos that are not finished yet.

        If some of several videos are wrong, ends the program after the others: with a line for each
        and exit code 2.
        """
        try:
            totals = runner.run(
                self._dataset,
                self._segmenter,
                self._folder,
                lookahead=self._flags.lookahead,
                direction=self._direction,
                overlays=self._flags.overlay,
                soft=self._flags.soft,
                trace=self._flags.trace,
            )
        except FailedVideosError as error:
            if is_main():
                for failure in error.failures:
                    print(f"error: {without_secrets(failure)}", file=sys.stderr, flush=True)
                if error.totals.frames:
                    print_totals(error.totals)
            # no process ends before the errors are shown: the launcher ends all with the first
            gather_objects(None)
            raise SystemExit(EXIT_INPUT_ERROR) from None
        notes = (note for member in self._members for note in _notes_on_unused_slots(member))
        for note in dict.fromkeys(notes):
            print_note(note)
        return totals

    def score(
        self,
        truth: Path,
        protocol: str = "davis",
        *,
        meta: Path | None = None,
        single_object: bool = False,
    ) -> None:
        """Score the results: a table on stdout, OUT/scores.json and OUT/scores.csv.

        truth: the folder of VIDEO/FRAME.png. protocol: a row of inference.scoring.PROTOCOLS.
        meta: the file that the protocol needs. single_object: all ids are one object, as in
        DAVIS-2016.
        The main process scores; the others wait.
        """
        with exit_together_on_error():
            if not is_main():
                return
            with self._folder.hold():
                report = score_videos(
                    videos_below(truth, self._folder.results, self._dataset.names),
                    protocol=protocol,
                    meta=meta,
                    single_object=single_object,
                    with_provenance=True,
                )
                print(report.as_table(), flush=True)
                json_path, csv_path = self._folder.paths.scores
                report.write_json(json_path)
                report.write_csv(csv_path)

    def _views(self) -> dict[str, Any]:
        """The flags of test-time augmentation; empty if they are not given."""
        flags = self._flags
        if flags.scales == [1.0] and not flags.flip:
            return {}
        return {"scales": flags.scales, "flip": flags.flip}

    def _settings(self, weights: Sequence[Path], data: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides the results, for config.json."""
        flags = self._flags
        networks = [member.network.config for member in self._members]
        config = self._segmenter.config.as_dict()
        return {
            "script": flags.script,
            "system": config.pop("name"),
            **config,
            "network": _one_or_all([network.name for network in networks]),
            "similarity": _one_or_all([network.similarity for network in networks]),
            **({} if flags.window is None else {"window": flags.window}),
            "weights_sha256": _one_or_all([file_sha256(path) for path in weights]),
            **self._views(),
            "data_root": str(self._dataset.root.resolve()),
            **data,
            "corrections": flags.corrections,
            "palette": None if flags.palette is None else _fingerprint(flags.palette),
        }

    def _circumstances(self, weights: Sequence[Path]) -> dict[str, Any]:
        """What config.json also records, though it does not decide the results."""
        now = datetime.datetime.now(datetime.timezone.utc)
        return {
            "weights": _one_or_all([str(path.resolve()) for path in weights]),
            "device": str(self._segmenter.device),
            "processes": world_size(),
            "lookahead": self._flags.lookahead,
            "started": now.isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "git_commit": git_commit(),
        }


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    """The value of a single checkpoint, or those of all, in the order of --model."""
    return values[0] if len(values) == 1 else list(values)


def _notes_on_unused_slots(segmenter: VideoSegmenter) -> list[str]:
    """A note for each slot of the network that the system does not use.

    Slots that settings leave out are left out on purpose.
    """
    expected = {*segmenter.config.slots, *SYSTEMS[segmenter.config.name].slots}
    notes = []
    for slot, row in SLOTS.items():
        if getattr(segmenter.network.config, slot) is not None and slot not in expected:
            users = " or ".join(name for name, system in SYSTEMS.items() if slot in system.slots)
            notes.append(f"the checkpoint's {row.title} was not used; --system {users} uses it")
    return notes


def print_note(text: str) -> None:
    """Print a note on stderr, in the main process only."""
    if is_main():
        print(f"note: {text}", file=sys.stderr, flush=True)


def print_totals(totals: Totals) -> None:
    """Print the line of totals, which ends stdout, in the main process only."""
    if is_main():
        print(totals.as_json(), flush=True)


def require_truth(truth: Path, names: Sequence[str], flag: str, remedy: str | None = None) -> None:
    """Raise InputError if the truth of a video is missing or consists of its first mask only.

    truth: the folder of VIDEO/FRAME.png. flag: needs it. remedy: by default, to leave flag out.
    """
    for name in names:
        if len(list((truth / name).glob("[!.]*.png"))) < 2:
            raise InputError(
                f"{truth / name}: {flag} needs the truth of every frame, which is not here; "
                f"{remedy or f'leave {flag} out'}"
            )


def _fingerprint(text: str) -> str:
    """A file by its path and content, a folder by its path, anything else unchanged."""
    path = Path(text)
    if path.is_file():
        return f"{path.resolve()} sha256 {file_sha256(path)}"
    return str(path.resolve()) if path.is_dir() else text

"""Train a network: `torchrun --nproc_per_node=N train.py --stage 0|1|2|3|clip|remn|synthetic --id NAME …`, or plain `python train.py …` on one device."""

import argparse
import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import torch

from dataset.layout import read_names_text
from dataset.training.loading import DEFAULT_PATIENCE_SECONDS, TrainingBatch, training_batches
from dataset.training.pictures import draw_batch
from dataset.training.record import FilesRecord, describe_difference, record_files, summarise_record
from dataset.training.samples import MixedTrainingData
from dataset.training.skipped_files import SkipLog, SkippedFile
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from inference.config import MAX_WORKING_PIXELS, system_config
from inference.validation import BestWeights, Validator
from model import PRESETS, NetworkConfig, VOSNetwork, build_network, save_weights
from model.backbones import fetch_backbones, has_imagenet_weights, load_backbones
from model.checkpoint import (
    StoredNetwork,
    TrainingState,
    load_state,
    newest_checkpoint,
    read_network,
    save_checkpoint,
    save_in_turn,
    set_aside_beyond,
)
from model.config import MOST_KEY_CHANNELS, Similarity, with_window
from model.network import SLOTS
from model.training.loss_monitor import LossMonitor
from model.training.rollout import RolloutResult, check_frames, check_slots
from model.training.stages import STAGES, TrainingConfig
from model.training.trainer import Trainer
from util.charts import draw_curves
from util.device import AMP_DTYPES, select_device
from util.distributed import (
    check_agreement,
    default_workers,
    exit_together_on_error,
    gather_objects,
    is_first_of_machine,
    is_main,
    max_over_processes,
    process_group,
    rank,
    world_size,
)
from util.errors import EXIT_INPUT_ERROR, InputError, explain_out_of_memory, run_command
from util.files import check_plain_name, remove_unfinished
from util.flags import DefaultsFormatter, FlagParser
from util.folder_lock import folder_lock
from util.process import StopSignals
from util.run_record import MetricsLog, git_commit, package_versions, write_json
from util.seeds import seed_everything
from util.settings import parse_settings, with_setting
from util.text import counted

RUNS = Path("runs")
_MOST = 2**31  # of any count


def parse_arguments() -> argparse.Namespace:
    parser = FlagParser(prog="train.py", description=__doc__, formatter_class=DefaultsFormatter)
    parser.add_argument(
        "--stage",
        required=True,
        choices=STAGES,
        help="which recipe (model/training/stages.py holds the table)",
    )
    parser.add_argument("--id", required=True, help="name of the run: results go to runs/ID")

    start = parser.add_argument_group("network and where it starts")
    start.add_argument(
        "--network",
        choices=PRESETS,
        metavar="PRESET",
        help="network to train: %(choices)s; default: the stage's",
    )
    start.add_argument(
        "--similarity",
        choices=get_args(Similarity),
        help="of query and memory keys; default: the network's (l2)",
    )
    start.add_argument(
        "--key_channels",
        type=int,
        metavar="C",
        help="channels of a key; default: the network's (64)",
    )
    start.add_argument(
        "--window",
        type=int,
        nargs=3,
        metavar=("T", "H", "W"),
        help="frames, rows and columns of the refinement's windows; default: the network's (2 7 7)",
    )
    start.add_argument(
        "--load_network", metavar="FILE", help="start from these weights, with a fresh optimiser"
    )
    start.add_argument(
        "--load_model",
        metavar="FILE|auto",
        help="go on with a training checkpoint; auto: the newest whole one of this run, or afresh",
    )
    start.add_argument(
        "--allow_other_data",
        action="store_true",
        help="go on although the training data are not those of the checkpoint; what differs is printed",
    )
    start.add_argument(
        "--backbone_weights",
        nargs="+",
        metavar="none|imagenet|FILE",
        help="what the encoders start from without the two above; default: the stage's",
    )

    data = parser.add_argument_group("data")
    data.add_argument(
        "--static_root",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of still images with masks",
    )
    data.add_argument(
        "--davis_root",
        nargs="+",
        default=[],
        metavar="DIR",
        help="DAVIS, or folders laid out like it",
    )
    data.add_argument("--yv_root", nargs="+", default=[], metavar="DIR", help="YouTube-VOS")
    data.add_argument("--bl_root", nargs="+", default=[], metavar="DIR", help="BL30K")
    data.add_argument(
        "--video_root",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="further folders laid out like DAVIS; NAME can be a kind in --mix",
    )
    data.add_argument(
        "--subset", metavar="FILE", help="names of the training videos to use, a name a line"
    )
    data.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="VIDEO",
        help="training videos to leave out (to choose settings on)",
    )
    data.add_argument(
        "--mix",
        nargs="+",
        metavar="KIND=SHARE",
        help="kinds of samples and their shares: static=0.25 video=0.4 synthetic=0.35",
    )
    data.add_argument(
        "--crop_size",
        type=int,
        metavar="PIXELS",
        help="side of the square training crop in pixels, a multiple of 16",
    )
    data.add_argument(
        "--crop_area",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="share of a video's frame that a crop covers",
    )
    data.add_argument("--frames", type=int, metavar="N", help="frames of a sample")
    data.add_argument(
        "--clip_frames",
        type=int,
        metavar="N",
        help="frames predicted together: after its first frame, a sample is whole clips of N",
    )
    data.add_argument(
        "--max_skip",
        type=int,
        metavar="N",
        help="at most N frames are skipped between neighbours of a sample; default: the stage's",
    )
    data.add_argument("--max_objects", type=int, metavar="N", help="objects of a sample, at most")
    data.add_argument(
        "--num_workers",
        type=int,
        default=default_workers(),
        metavar="N",
        help="loading processes beside each training process; samples do not depend on it",
    )
    hung = "loading processes that give no batch for so long count as hung, which ends the training"
    data.add_argument(
        "--worker_patience",
        type=int,
        default=DEFAULT_PATIENCE_SECONDS,
        metavar="SECONDS",
        help=hung,
    )
    data.add_argument(
        "--cache_megabytes",
        type=int,
        default=1500,
        metavar="MB",
        help="decoded images that each loading process keeps, in megabytes",
    )

    recipe = parser.add_argument_group("recipe; defaults: the stage's")
    recipe.add_argument(
        "-b",
        "--batch_size",
        type=int,
        metavar="N",
        help="samples an iteration, over all processes and accumulated parts",
    )
    recipe.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="each process computes its share of a batch in N parts: less memory, the same gradients",
    )
    recipe.add_argument(
        "-i", "--iterations", type=int, metavar="N", help="iterations of the whole training"
    )
    recipe.add_argument(
        "--lr", type=float, dest="learning_rate", metavar="RATE", help="learning rate at the start"
    )
    recipe.add_argument(
        "--schedule", choices=["steps", "cosine"], help="how the learning rate falls"
    )
    recipe.add_argument(
        "--steps",
        type=int,
        nargs="*",
        metavar="N",
        help="iterations at which it falls (schedule steps)",
    )
    recipe.add_argument(
        "--gamma", type=float, metavar="FACTOR", help="factor it falls by (schedule steps)"
    )
    recipe.add_argument(
        "--warmup_iterations",
        type=int,
        metavar="N",
        help="first iterations, over which the learning rate rises",
    )
    recipe.add_argument(
        "--optimizer", choices=["adam", "adamw"], help="adamw decouples the weight decay"
    )
    recipe.add_argument(
        "--weight_decay", type=float, metavar="DECAY", help="of weights that have a gradient"
    )
    recipe.add_argument(
        "--clip_gradient_norm",
        type=float,
        metavar="NORM",
        help="gradients of a larger norm are scaled down to it",
    )
    recipe.add_argument(
        "--learn_batch_norms",
        action=argparse.BooleanOptionalAction,
        help="let batch norms follow the data",
    )
    recipe.add_argument(
        "--average_decay",
        type=float,
        metavar="DECAY",
        help="keep an exponential moving average of the weights with this decay; 0: none",
    )
    recipe.add_argument("--seed", type=int, metavar="S", help="of samples and initial weights")
    recipe.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="any value of the table, such as bootstrap.final_fraction=0.2",
    )

    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device",
        default="auto",
        help="auto (default), cpu, cuda or mps; by torchrun each process takes a GPU of its own",
    )
    machine.add_argument(
        "--amp",
        choices=["off", *AMP_DTYPES],
        help="mixed precision; default: the stage's on CUDA, off on the CPU",
    )
    machine.add_argument(
        "--no_amp", action="store_const", const="off", dest="amp", help="the same as --amp off"
    )
    machine.add_argument(
        "--checkpoint_activations",
        action="store_true",
        default=None,
        help="compute activations again in the backward pass: less memory, a third slower",
    )
    machine.add_argument(
        "--compile",
        action="store_true",
        default=None,
        help="run the network's parts through torch.compile",
    )

    record = parser.add_argument_group("record")
    record.add_argument(
        "--save_every",
        type=int,
        default=1000,
        metavar="N",
        help="write a checkpoint every N iterations, and when a signal asks to stop",
    )
    record.add_argument(
        "--keep_checkpoints",
        type=int,
        default=3,
        metavar="K",
        help="keep the newest K checkpoints; 0: all",
    )
    record.add_argument(
        "--log_every",
        type=int,
        default=100,
        metavar="N",
        help="print a line of metrics every N iterations",
    )
    record.add_argument(
        "--image_every",
        type=int,
        default=1000,
        metavar="N",
        help="show a batch in TensorBoard every N iterations; 0: never",
    )
    record.add_argument(
        "--val_root",
        metavar="DIR",
        help="validate on held-out videos laid out like DAVIS (J and F), and keep the best weights in best.pth",
    )
    record.add_argument(
        "--val_sequences", nargs="+", metavar="VIDEO", help="validate on these videos only"
    )
    record.add_argument(
        "--val_frames", type=int, metavar="N", help="validate on the first N frames of each video"
    )
    record.add_argument(
        "--val_resolution",
        type=int,
        metavar="N",
        help="validate at a shorter side of N pixels; default: as eval_davis.py, or eval_generic.py",
    )
    record.add_argument(
        "--val_every",
        type=int,
        default=5000,
        metavar="N",
        help="validate every N iterations, and at the end",
    )
    return parser.parse_args()


def resolve_config(arguments: argparse.Namespace, device: torch.device) -> TrainingConfig:
    """The stage's values with what the command line changes."""
    given = {
        field.name: getattr(arguments, field.name, None)
        for field in dataclasses.fields(TrainingConfig)
    }
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
    if arguments.mix:
        given["mix"] = tuple(_share(item) for item in arguments.mix)
    if arguments.amp is None and device.type != "cuda":
        given["amp"] = "off"
    if arguments.average_decay == 0:
        given["average_decay"] = None
    config = dataclasses.replace(STAGES[arguments.stage], **given)
    for name, value in parse_settings(arguments.set):
        config = with_setting(config, name, value, fixed=("stage", "mix", *given))
    config.check()
    system_config(config.system)
    if arguments.backbone_weights is None and not has_imagenet_weights(PRESETS[config.network]):
        config = dataclasses.replace(config, backbone_weights=("none",))
    at_least = {
        "batch_size": 1,
        "accumulate": 1,
        "iterations": 1,
        "crop_size": 1,
        "frames": 2,
        "clip_frames": 1,
        "max_objects": 1,
        "save_every": 1,
        "log_every": 1,
        "val_every": 1,
    }
    at_least |= {"worker_patience": 1}
    at_least |= {
        "keep_checkpoints": 0,
        "image_every": 0,
        "num_workers": 0,
        "cache_megabytes": 0,
        "seed": 0,
    }
    for name, smallest in at_least.items():
        value = getattr(config if hasattr(config, name) else arguments, name)
        if not smallest <= value < _MOST:
            raise InputError(
                f"{name} is {value}; it must be at least {smallest}"
                + (f", and below {_MOST:,}" if value >= _MOST else "")
            )
    if config.batch_size % (world_size() * config.accumulate):
        raise InputError(
            f"batch size {config.batch_size} over {counted(world_size(), 'process', 'es')} in {counted(config.accumulate, 'part')}: "
            "each part needs the same whole number of samples; change -b, --accumulate or --nproc_per_node"
        )
    if config.crop_size % 16 or config.crop_size > (largest := math.isqrt(MAX_WORKING_PIXELS)):
        raise InputError(
            f"--crop_size {config.crop_size}: it must be a multiple of 16"
            + (f", and at most {largest:,}" if config.crop_size % 16 == 0 else "")
        )
    return config


def _share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    try:
        return kind, float(share)
    except ValueError as error:
        raise InputError(f"--mix {text}: write KIND=SHARE, for instance video=0.4") from error


def resolve_network(
    arguments: argparse.Namespace, config: TrainingConfig, start: NetworkConfig | None = None
) -> NetworkConfig:
    """The preset with what the command line changes. start: of the weights it starts from, which say what is not seen in their names and shapes where no flag does."""
    given = {
        name: getattr(arguments, name)
        for name in ("similarity", "key_channels")
        if getattr(arguments, name) is not None
    }
    if start is not None:
        given.setdefault("similarity", start.similarity)
    if not 1 <= given.get("key_channels", 1) <= MOST_KEY_CHANNELS:
        raise InputError(
            f"key_channels is {arguments.key_channels}; it must be at least 1 and at most {MOST_KEY_CHANNELS:,}"
        )
    if arguments.window is not None and PRESETS[config.network].refiner is None:
        raise InputError(
            f"--window: network {config.network} has no refinement; leave it out, or choose another --network"
        )
    window = (
        start.refiner.window
        if arguments.window is None and start is not None and start.refiner is not None
        else arguments.window
    )
    network = with_window(dataclasses.replace(PRESETS[config.network], **given), window)
    for slot, row in SLOTS.items():
        rate = getattr(config.slot_rates, slot)
        if rate != 1 and getattr(network, slot) is None:
            raise InputError(
                f"slot_rates.{slot} is {rate:g}, but network {network.name} has no {row.title}; leave it out, or choose another --network"
            )
    check_slots(network, config.clip_frames, config.reduce_frames)
    check_frames(config.frames, config.clip_frames, config.reduce_frames)
    return network


def build_data(arguments: argparse.Namespace, config: TrainingConfig) -> MixedTrainingData:
    """The samples of the whole training, from the roots given."""
    named: dict[str, list[str]] = {}
    for item in arguments.video_root:
        name, _, path = item.partition("=")
        if not name or not path:
            raise InputError(f"--video_root {item}: write NAME=DIR")
        named.setdefault(name, []).append(path)
    roots = TrainingRoots(
        static=arguments.static_root,
        davis=arguments.davis_root,
        youtube=arguments.yv_root,
        bl=arguments.bl_root,
        named=named,
    )
    data = build_training_data(
        roots,
        SampleConfig(
            **{
                field.name: getattr(config, field.name)
                for field in dataclasses.fields(SampleConfig)
            }
        ),
        mix=dict(config.mix),
        samples=config.iterations * config.batch_size,
        seed=config.seed,
        subset=None if arguments.subset is None else read_names(Path(arguments.subset)),
        exclude=arguments.exclude,
        cache_megabytes=arguments.cache_megabytes,
    )
    if data.distinct_samples is not None and data.distinct_samples < config.batch_size:
        raise InputError(
            f"the data has {counted(data.distinct_samples, 'different sample')}, fewer than a batch of {config.batch_size}; give more data or a smaller -b"
        )
    return data


def read_names(path: Path) -> list[str]:
    """A name a line. Raises InputError where the file holds none or is no text."""
    names = read_names_text(path).split()
    if not names:
        raise InputError(f"{path}: holds no names of videos; write one a line")
    return names


def choose_checkpoint(arguments: argparse.Namespace) -> Path | None:
    """What to go on with: the file named, the newest whole one of the run for `auto`, or None to start afresh."""
    folder, wanted = RUNS / arguments.id, arguments.load_model
    if wanted == "auto":
        found = newest_checkpoint(folder / "checkpoints")
        print(
            f"{folder}/checkpoints: no checkpoint to go on with, starting afresh"
            if found is None
            else f"going on with {found}"
        )
        return found
    if wanted is None and (folder / "config.json").exists():
        raise InputError(
            f"{folder}: this run exists; go on with it by --load_model auto, or choose another --id"
        )
    return wanted and Path(wanted)


def build_start(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    network_config: NetworkConfig,
    start: StoredNetwork | None,
    fresh: bool,
) -> VOSNetwork:
    """The network a training starts from: from weights given, or fresh."""
    seed_everything(config.seed)
    network = build_network(network_config)
    if start is not None:
        lines = [
            f"has no weights of the network's {slot}, which starts fresh"
            for slot in load_state(network, start.state, arguments.load_network, train_on=True)
        ]
        for line in lines + unlike_preset(start.config, network_config):
            if is_main():
                print(f"{arguments.load_network}: {line}")
    elif fresh:
        for line in load_backbones(network, config.backbone_weights):
            if is_main():
                print(line)
    return network


def unlike_preset(start: NetworkConfig | None, network: NetworkConfig) -> list[str]:
    """What to say of the weights a training starts from: where they were trained otherwise than the preset, or than this training goes on."""
    if start is None:
        return []
    ours, preset = network, PRESETS.get(network.name, network)
    parts = {"similarity": tuple(config.similarity for config in (start, ours, preset))}
    if start.refiner is not None and ours.refiner is not None and preset.refiner is not None:
        parts["windows of"] = tuple(
            "×".join(map(str, config.refiner.window)) for config in (start, ours, preset)
        )
    return [
        f"was trained with {part} {theirs}; this training goes on with {own}"
        for part, (theirs, own, usual) in parts.items()
        if theirs != own or own != usual
    ]


def check_files(chosen: Path, state: TrainingState, files: FilesRecord, allow_others: bool) -> None:
    """Raises InputError where the training data are not those of the checkpoint to go on with; where that is allowed, says in what they differ."""
    if state.files is None:
        print(
            f"{chosen}: does not record its training data, so whether they are the same is not checked"
        )
        return
    try:
        found = describe_difference(state.files, files)
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"{chosen}: the checkpoint is damaged inside (its record of training data); go on with an earlier one"
        ) from error
    if found is None:
        return
    if not allow_others:
        remedy = "give the roots, --subset, --exclude and --mix that it had, add --allow_other_data to go on with these, or start anew with --load_network"
        raise InputError(f"{chosen}: its training data were others ({found}); {remedy}")
    print(
        f"warning: {chosen}: its training data were others ({found}); training goes on with these",
        file=sys.stderr,
        flush=True,
    )


def build_validator(
    arguments: argparse.Namespace, data: MixedTrainingData, system: str, network: NetworkConfig
) -> Validator:
    """As a system runs the network, refined where it has a refinement.

    Raises InputError where a video of the training would be validated on, or the network lacks what the system uses.
    """
    limits = {"max_frames": arguments.val_frames, "resolution": arguments.val_resolution}
    validator = Validator(
        arguments.val_root,
        arguments.val_sequences,
        system=system,
        refine=network.refiner is not None,
        **limits,
    )
    validator.check(network)
    shared = sorted(validator.sequence_folders & data.video_folders)
    if shared:
        raise InputError(
            f"{shared[0]}: is trained on and validated on; leave it out of the training by --exclude {shared[0].name}"
        )
    return validator


class Run:
    """What a training leaves in runs/ID: checkpoints, metrics, pictures, validation. Every process has one; the main process alone writes."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        trainer: Trainer,
        data: MixedTrainingData,
        files: FilesRecord,
    ):
        """files: what the data are drawn from, of the main process. Raises InputError where videos of the training would be validated on, or what validation needs is missing."""
        self.arguments, self.trainer, self.files = arguments, trainer, files
        self.record = {
            "training": trainer.config.as_dict(),
            "network": trainer.network.config.as_dict(),
            "flags": vars(arguments),
            "processes": world_size(),
            "data": summarise_record(files),
            "git_commit": git_commit(),
            "versions": package_versions(),
        }
        self.folder = RUNS / arguments.id
        self.skipped = SkipLog(data.total_files)
        self.saved_iteration: int | None = None
        self.kept_iteration = trainer.iteration  # of which there is a checkpoint, or was to be one
        self.validator = (
            build_validator(arguments, data, trainer.config.system, trainer.network.config)
            if arguments.val_root
            else None
        )
        if not is_main():
            return
        for path in set_aside_beyond(self.folder / "checkpoints", trainer.iteration):
            print(
                f"{path}: beyond iteration {trainer.iteration}, from which training goes on; set aside"
            )
        for folder in (self.folder, self.folder / "checkpoints"):
            remove_unfinished(folder)
        write_json(self.folder / "config.json", self.record)
        self.log = MetricsLog(
            self.folder,
            trainer.config.iterations,
            arguments.log_every,
            resumed_at=trainer.iteration,
            device=trainer.device,
        )
        for name, value in self.record.items():
            print(f"{name}: {json.dumps(value)}")
        if trainer.config.warmup_iterations >= trainer.config.iterations:
            print(
                f"note: the learning rate rises over {trainer.config.warmup_iterations:,} iterations, longer than this training; --warmup_iterations sets it"
            )
        self.log.text("configuration", f"```\n{json.dumps(self.record, indent=2)}\n```")
        if self.validator:
            self.best = BestWeights(
                self.folder, self.validator.settings, from_scratch=trainer.iteration == 0
            )

    def note_skipped(self, files: list[SkippedFile]) -> None:
        """Name files that had to be skipped. Raises InputError where too many of them are damaged."""
        for line in self.skipped.add(files):
            print(line, file=sys.stderr, flush=True)
        self.skipped.check()

    def after_step(
        self, waited_seconds: float, results: list[RolloutResult], batches: list[TrainingBatch]
    ) -> None:
        """Log, and save and validate where this iteration is one for it."""
        arguments, iteration = self.arguments, self.trainer.iteration
        last = iteration == self.trainer.config.iterations
        if is_main():
            means = {
                name: torch.stack([getattr(result, name).detach() for result in results]).mean()
                for name in ("loss", "iou")
            }
            learning_rate = self.trainer.scheduler.get_last_lr()[0]
            if len(results[0].parts) > 1:
                means |= {
                    name: torch.stack([result.parts[name] for result in results]).mean()
                    for name in results[0].parts
                }
            self.log.step(
                iteration,
                waited_seconds,
                means,
                learning_rate=learning_rate,
                skipped_files=len(self.skipped.files),
            )
            if arguments.image_every and (iteration % arguments.image_every == 0 or last):
                sample = batches[-1].tensors
                with self.log.paused():
                    self.log.image(
                        "samples",
                        draw_batch(
                            sample["frames"], sample["labels"], results[-1].logits.argmax(2)
                        ),
                        iteration,
                    )
        saves = iteration % arguments.save_every == 0 or last
        validates = self.validator is not None and (iteration % arguments.val_every == 0 or last)
        if saves:  # before the validation: its failure then costs no iteration
            self.save()
        if validates:
            self.validate()
        if saves or validates:
            self.draw()

    def validate(self) -> None:
        """The scores of the network as it is. Every process takes part."""
        with self.log.paused() if is_main() else contextlib.nullcontext():
            scores = self.validator.score(self.trainer.final_network)
            if is_main():
                self.log.scalars(self.trainer.iteration, scores.as_scalars())
                with going_on_without(
                    f"the best weights, those of iteration {self.trainer.iteration},"
                ):
                    self.best.offer(self.trainer.iteration, scores, self.trainer.final_network)

    def save(self) -> None:
        """A checkpoint. Every process takes part. Where there is no space for it, training goes on and the older ones stay."""
        state = self.trainer.state(self.record, self.files)
        self.kept_iteration = self.trainer.iteration
        if is_main():
            with (
                self.log.paused(),
                going_on_without(f"the checkpoint of iteration {self.trainer.iteration}"),
            ):
                save_in_turn(self.folder / "checkpoints", state, self.arguments.keep_checkpoints)
                self.saved_iteration = self.trainer.iteration

    def draw(self) -> None:
        """The curves so far, those of the latest validation too."""
        if is_main():
            with (
                self.log.paused(),
                going_on_without(f"the curves of iteration {self.trainer.iteration}"),
            ):
                draw_curves(self.folder, self.arguments.id)

    def reads_losses(self, iteration: int, device: torch.device) -> bool:
        """Whether the step to `iteration` may wait for the device: always on the CPU, which has no queue of work;
        on a GPU where something is logged or saved, so that it is never idle in between."""
        every = (self.arguments.log_every, self.arguments.save_every, self.arguments.val_every)
        return (
            device.type == "cpu"
            or iteration == self.trainer.config.iterations
            or any(iteration % n == 0 for n in every)
        )

    def check_losses(self, monitor: LossMonitor, data: MixedTrainingData) -> None:
        """End the training in every process where a loss went wrong in one, before anything of it is saved."""
        found = monitor.check()
        (troubled,) = max_over_processes(found is not None)
        if not troubled:
            return
        if found is None:
            raise SystemExit(EXIT_INPUT_ERROR)
        iteration, trouble = found
        config = self.trainer.config
        again = iter(
            training_batches(
                data, config.batch_size, iteration, workers=0, accumulate=config.accumulate
            )
        )
        parts = [dict(next(again).tensors) for _ in range(config.accumulate)]
        path = self.folder / f"bad_batch_{iteration:06d}_process{rank()}.pth"
        with going_on_without("the batch"):
            save_checkpoint(path, {"iteration": iteration, "trouble": trouble, "parts": parts})
        raise InputError(
            f"iteration {iteration}: {trouble}; its batch is kept in {path}, the checkpoints are as they were; look at it, or lower --lr"
        )

    def keep(self) -> None:
        """Before an end in trouble between two iterations, of which every process knows: the iterations since the last checkpoint."""
        if self.kept_iteration != self.trainer.iteration:
            self.stop()

    def stop(self) -> None:
        """Before its end: all that is needed to go on."""
        self.save()
        self.draw()
        if is_main():
            self.log.close()
            lost = (
                ""
                if self.saved_iteration == self.trainer.iteration
                else ", without a checkpoint of it"
            )
            print(
                f"stopped at iteration {self.trainer.iteration}{lost}; go on with --load_model auto",
                file=sys.stderr,
                flush=True,
            )

    def finish(self) -> None:
        """At its end: the weights that remain."""
        if is_main():
            save_weights(self.folder / "weights.pth", self.trainer.final_network)
            self.log.close()
            print(f"weights: {self.folder / 'weights.pth'}")


@contextlib.contextmanager
def going_on_without(what: str) -> Iterator[None]:
    """A full disk costs what could not be written, with a warning, never the training."""
    try:
        yield
    except OSError as error:
        print(
            f"warning: {what} could not be saved ({error}); what was saved before stays",
            file=sys.stderr,
            flush=True,
        )


def memory_for_batch(
    device: torch.device, config: TrainingConfig
) -> contextlib.AbstractContextManager[None]:
    """A memory that does not suffice for an iteration is said in one line, with what takes less."""
    batch = f"{counted(config.batch_size, 'sample')} of {counted(config.frames, 'frame')} at {config.crop_size} pixels on network {config.network}"
    remedy = "--accumulate N, --checkpoint_activations, a smaller -b or --crop_size, or a smaller --network"
    return explain_out_of_memory(str(device), remedy, purpose=f"a batch ({batch})")


def prepare(
    arguments: argparse.Namespace, device: torch.device
) -> tuple[Trainer, MixedTrainingData, FilesRecord]:
    """All that a training needs, in every process (the record of its files in the main one); what is wrong in one of them ends all, with one line."""
    with exit_together_on_error():
        check_agreement(vars(arguments))
    with exit_together_on_error():
        config = resolve_config(arguments, device)
        start = read_network(arguments.load_network) if arguments.load_network else None
        network_config = resolve_network(arguments, config, start and start.config)
        data = build_data(arguments, config)
        files = record_files(data.file_sources) if is_main() else {}
        chosen = choose_checkpoint(arguments) if is_main() else None
    with exit_together_on_error():
        check_agreement({"files of training data": data.total_files})
    chosen = gather_objects(chosen)[0]  # by the main process, so that all go on with the same
    with exit_together_on_error():
        if is_first_of_machine() and not (chosen or arguments.load_network):
            fetch_backbones(build_network(network_config), config.backbone_weights)
    with exit_together_on_error():
        state = TrainingState.from_checkpoint(chosen) if chosen else None
        network = build_start(arguments, config, network_config, start, fresh=state is None)
    trainer = Trainer(network, config, device)
    with exit_together_on_error():
        if state is not None:
            trainer.restore(state)
            if is_main():
                check_files(chosen, state, files, arguments.allow_other_data)
    return trainer, data, files


def train(arguments: argparse.Namespace, device: torch.device) -> int:
    """Returns the exit code: 0 where training is done, 128 and the signal's number where it was asked to stop."""
    trainer, data, files = prepare(arguments, device)
    config = trainer.config
    monitor = LossMonitor()
    with StopSignals() as signals, contextlib.ExitStack() as opened:
        with exit_together_on_error():
            run = Run(arguments, trainer, data, files)
        pinned = {"pin_memory": device.type == "cuda"}
        share = training_batches(
            data,
            config.batch_size,
            trainer.iteration,
            arguments.num_workers,
            config.accumulate,
            arguments.worker_patience,
            **pinned,
        )
        loader = opened.enter_context(contextlib.closing(share))
        while trainer.iteration < config.iterations:
            asked = time.perf_counter()
            try:
                with exit_together_on_error():
                    batches = [next(loader) for _ in range(config.accumulate)]
                    waited_seconds = time.perf_counter() - asked
                    run.note_skipped([file for batch in batches for file in batch.skipped])
            except (InputError, OSError, SystemExit):
                run.check_losses(monitor, data)
                run.keep()
                raise
            results = []
            with memory_for_batch(device, config):
                for batch in batches:
                    results.append(trainer.forward(batch.tensors))
                    trainer.backward(results[-1].loss)
            monitor.add(trainer.iteration, [result.loss for result in results])
            (signal_number,) = max_over_processes(signals.received or 0)
            if signal_number or run.reads_losses(trainer.iteration + 1, device):
                run.check_losses(monitor, data)
            with memory_for_batch(device, config):
                trainer.step()
            run.after_step(waited_seconds, results, batches)
            if signal_number and trainer.iteration < config.iterations:
                run.stop()
                return 128 + signal_number
    run.finish()
    return 0


@contextlib.contextmanager
def run_held(run_id: str) -> Iterator[None]:
    """Keep other trainings out of runs/ID. Raises InputError in every process where one is there, or where the id leads out of runs/."""
    with contextlib.ExitStack() as stack:
        with exit_together_on_error():
            for part in run_id.split("/"):
                check_plain_name(part, f"--id {run_id}")
            if any(
                "\ud800" <= character <= "\udfff" for character in run_id
            ):  # bytes that are no UTF-8
                raise InputError(
                    f"--id {run_id}: is no UTF-8, as TensorBoard needs the names of its folders; choose another"
                )
            if is_main():
                stack.enter_context(
                    folder_lock(RUNS / run_id, "wait until it has ended, or choose another --id")
                )
        yield


def main() -> int:
    arguments = parse_arguments()
    device = select_device(arguments.device)
    with process_group(device), run_held(arguments.id):
        return train(arguments, device)


if __name__ == "__main__":
    run_command(main)

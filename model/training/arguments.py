"""The flags of train.py that say which network is trained, how, and how it is recorded.

The flags for data are in dataset/training/arguments.py; network_choice.py makes a network of the
flags. A flag that is not given is None: the stage's value counts (model/training/stages.py).
"""

import argparse
import contextlib
import dataclasses
from typing import get_args

import torch

from model.backbones import has_imagenet_weights
from model.config import PRESETS, Similarity, preset
from model.training.network_choice import NETWORK_PREFIX
from model.training.run import RecordConfig
from model.training.stages import STAGES, TrainingConfig
from util.device import AMP_DTYPES
from util.distributed import world_size
from util.errors import InputError, explain_out_of_memory
from util.flags import add_settings_flag
from util.settings import parse_settings, with_setting
from util.text import counted


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add --stage and --id."""
    parser.add_argument(
        "--stage",
        required=True,
        choices=STAGES,
        help="which recipe (model/training/stages.py holds the table)",
    )
    parser.add_argument("--id", required=True, help="name of the run: results go to runs/ID")


def add_start_flags(parser: argparse.ArgumentParser) -> None:
    """Add the group `network and where it starts`."""
    group = parser.add_argument_group("network and where it starts")
    group.add_argument(
        "--network",
        choices=PRESETS,
        metavar="PRESET",
        help="network to train: %(choices)s; default: the stage's",
    )
    group.add_argument(
        "--similarity",
        choices=get_args(Similarity),
        help="of query and memory keys; default: the network's (l2)",
    )
    group.add_argument(
        "--key_channels",
        type=int,
        metavar="C",
        help="channels of a key; default: the network's (64)",
    )
    group.add_argument(
        "--window",
        type=int,
        nargs=3,
        metavar=("T", "H", "W"),
        help="frames, rows and columns of the refinement's windows; default: the network's (2 7 7)",
    )
    group.add_argument(
        "--load_network", metavar="FILE", help="start from these weights, with a new optimiser"
    )
    group.add_argument(
        "--load_model",
        metavar="FILE|auto",
        help="resume from a training checkpoint; auto: the newest undamaged one of this run, "
        "or from scratch if there is none",
    )
    group.add_argument(
        "--allow_other_data",
        action="store_true",
        help="resume even if the training data differ from the checkpoint's; prints how",
    )
    group.add_argument(
        "--backbone_weights",
        nargs="+",
        metavar="none|imagenet|FILE",
        help="what the encoders start from without the two above; default: the stage's",
    )


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    """Add the group `recipe`, which changes values of the stage."""
    group = parser.add_argument_group("recipe; defaults: the stage's")
    _add_batch_flags(group)
    _add_optimizer_flags(group)
    group.add_argument("--seed", type=int, metavar="S", help="of samples and initial weights")
    add_settings_flag(
        group,
        "any value of the table, such as bootstrap.final_fraction=0.2, or of the network's "
        "own modules, such as network.enhancer.window=5,5",
    )


def _add_batch_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-b",
        "--batch_size",
        type=int,
        metavar="N",
        help="samples per iteration, over all processes and accumulated parts",
    )
    group.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="each process computes its share of a batch in N parts: less memory, same gradients",
    )
    group.add_argument(
        "-i", "--iterations", type=int, metavar="N", help="iterations of the whole training"
    )


def _add_optimizer_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--lr",
        type=float,
        dest="learning_rate",
        metavar="RATE",
        help="learning rate at the start",
    )
    add("--schedule", choices=["steps", "cosine"], help="how the learning rate falls")
    add(
        "--steps",
        type=int,
        nargs="*",
        metavar="N",
        help="iterations at which it falls (schedule steps)",
    )
    add("--gamma", type=float, metavar="FACTOR", help="factor it falls by (schedule steps)")
    add(
        "--warmup_iterations",
        type=int,
        metavar="N",
        help="first iterations, over which the learning rate rises",
    )
    add("--optimizer", choices=["adam", "adamw"], help="adamw decouples the weight decay")
    add("--weight_decay", type=float, metavar="DECAY", help="of weights that have a gradient")
    add(
        "--clip_gradient_norm",
        type=float,
        metavar="NORM",
        help="gradients of a larger norm are scaled down to it",
    )
    add(
        "--learn_batch_norms",
        action=argparse.BooleanOptionalAction,
        help="let batch norms follow the data",
    )
    add(
        "--average_decay",
        type=float,
        metavar="DECAY",
        help="keep an exponential moving average of the weights with this decay; 0: none",
    )


def add_machine_flags(parser: argparse.ArgumentParser) -> None:
    """Add the group `machine`: options that change speed and memory, but not what is computed."""
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device",
        default="auto",
        help="auto (default), cpu, cuda or mps; under torchrun each process takes its own GPU",
    )
    group.add_argument(
        "--amp",
        choices=["off", *AMP_DTYPES],
        help="mixed precision; default: the stage's on CUDA, off on the CPU",
    )
    group.add_argument(
        "--no_amp", action="store_const", const="off", dest="amp", help="the same as --amp off"
    )
    group.add_argument(
        "--checkpoint_activations",
        action="store_true",
        default=None,
        help="compute activations again in the backward pass: less memory, a third slower",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        default=None,
        help="run the network's parts through torch.compile",
    )


def add_record_flags(parser: argparse.ArgumentParser) -> None:
    """Add the group `record`: checkpoints, metrics and validation."""
    group = parser.add_argument_group("record")
    defaults = RecordConfig()

    def add_every(name: str, text: str, metavar: str = "N") -> None:
        default = getattr(defaults, name)
        group.add_argument(f"--{name}", type=int, default=default, metavar=metavar, help=text)

    add_every("save_every", "write a checkpoint every N iterations, and when a signal asks to stop")
    add_every("keep_checkpoints", "keep the newest K checkpoints; 0: all", metavar="K")
    add_every("log_every", "print a line of metrics every N iterations")
    add_every("image_every", "show a batch in TensorBoard every N iterations; 0: never")
    group.add_argument(
        "--val_root",
        metavar="DIR",
        help="validate on held-out videos laid out like DAVIS (J and F), "
        "and keep the best weights in best.pth",
    )
    group.add_argument(
        "--val_sequences", nargs="+", metavar="VIDEO", help="validate on these videos only"
    )
    group.add_argument(
        "--val_frames", type=int, metavar="N", help="validate on the first N frames of each video"
    )
    group.add_argument(
        "--val_resolution",
        type=int,
        metavar="N",
        help="validate at a shorter side of N pixels; "
        "default: as eval_davis.py, or eval_generic.py",
    )
    add_every("val_every", "validate every N iterations, and at the end")


def explain_small_memory(
    config: TrainingConfig, device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """Turn a lack of memory in an iteration into an InputError that names flags which help."""
    size = f"{counted(config.batch_size, 'sample')} of {counted(config.frames, 'frame')}"
    return explain_out_of_memory(
        str(device),
        "--accumulate N, --checkpoint_activations, a smaller -b or --crop_size, "
        "or a smaller --network",
        purpose=f"a batch ({size} at {config.crop_size} pixels on network {config.network})",
    )


def resolve_config(arguments: argparse.Namespace, device: torch.device) -> TrainingConfig:
    """The stage's values with those that the flags change.

    Raises InputError for a value that is out of its range, or a batch that cannot be divided.
    """
    flags = {
        field.name: getattr(arguments, field.name, None)
        for field in dataclasses.fields(TrainingConfig)
    }
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in flags.items()
        if value is not None
    }
    if arguments.mix:
        given["mix"] = tuple(_parse_share(item) for item in arguments.mix)
    if arguments.amp is None and device.type != "cuda":
        given["amp"] = "off"
    if arguments.average_decay == 0:
        given["average_decay"] = None
    config = dataclasses.replace(STAGES[arguments.stage], **given)
    for name, value in parse_settings(arguments.set):
        if not name.startswith(NETWORK_PREFIX):
            config = with_setting(config, name, value, fixed=("stage", "mix", *given))
    config.check()
    if config.batch_size % (world_size() * config.accumulate):
        raise InputError(
            f"batch size {config.batch_size} over {counted(world_size(), 'process', 'es')} in "
            f"{counted(config.accumulate, 'part')}: each part needs the same whole number of "
            "samples; change -b, --accumulate or --nproc_per_node"
        )
    if arguments.backbone_weights is None and not has_imagenet_weights(preset(config.network)):
        config = dataclasses.replace(config, backbone_weights=("none",))
    return config


def _parse_share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    try:
        return kind, float(share)
    except ValueError as error:
        raise InputError(f"--mix {text}: write KIND=SHARE, for instance video=0.4") from error

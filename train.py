"""Train a network: `torchrun --nproc_per_node=N train.py --stage 0|3|synthetic --id NAME …`, or plain `python train.py …` on one device."""

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from dataset.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training import training_batches
from model import PRESETS, build_network, save_weights
from model.checkpoint import TrainingState, load_state, network_state, read_checkpoint
from model.training import AUTOCAST_DTYPES, STAGES, Learner, TrainingConfig
from util.distributed import is_main, process_group, select_device, world_size
from util.errors import InputError, run_command
from util.flags import FlagParser
from util.run_record import MetricsLog, git_commit, write_json

RUNS = Path("runs")


def parse_arguments() -> argparse.Namespace:
    parser = FlagParser(prog="train.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--stage", required=True, choices=STAGES, help="which recipe (model/training.py holds the table)")
    parser.add_argument("--id", required=True, help="name of the run: results go to runs/ID")
    parser.add_argument("--network", choices=PRESETS, help="network to train; default: the stage's")
    parser.add_argument("--load_network", metavar="FILE", help="start from these weights, with a fresh optimiser")
    parser.add_argument("--load_model", metavar="FILE|auto", help="go on with a training checkpoint; auto: the newest of this run, or afresh")
    parser.add_argument("--static_root", nargs="+", default=[], metavar="DIR", help="folders of images beside their masks")
    parser.add_argument("--davis_root", nargs="+", default=[], metavar="DIR", help="DAVIS, or folders laid out like it")
    parser.add_argument("--yv_root", nargs="+", default=[], metavar="DIR", help="YouTube-VOS")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="VIDEO", help="training videos to leave out (to choose settings on)")
    parser.add_argument("--mix", nargs="+", metavar="KIND=SHARE", help="kinds of samples and their shares: static=0.25 video=0.4 synthetic=0.35")
    parser.add_argument("-b", "--batch_size", type=int, help="samples a step, over all processes")
    parser.add_argument("-i", "--iterations", type=int)
    parser.add_argument("--lr", type=float, dest="learning_rate")
    parser.add_argument("--steps", type=int, nargs="*", help="iterations at which the learning rate falls")
    parser.add_argument("--gamma", type=float, help="factor it falls by")
    parser.add_argument("--crop_size", type=int, help="side of the square training crop in pixels, a multiple of 16")
    parser.add_argument("--max_objects", type=int)
    parser.add_argument("--learn_batch_norms", action=argparse.BooleanOptionalAction, help="let batch norms follow the data; default: the stage's")
    parser.add_argument("--save_every", type=int, default=1000, metavar="N", help="checkpoint every N iterations")
    parser.add_argument("--log_every", type=int, default=50, metavar="N", help="a line of metrics every N iterations")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--num_workers", type=int, default=1, help="loading processes beside each training process")
    parser.add_argument("--cache_megabytes", type=int, default=1500, help="decoded images each loading process may hold")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", choices=["off", *AUTOCAST_DTYPES], help="mixed precision; default: the stage's on CUDA, off on the CPU")
    parser.add_argument("--no_amp", action="store_const", const="off", dest="amp")
    return parser.parse_args()


def resolve_config(arguments: argparse.Namespace, device: torch.device) -> TrainingConfig:
    """The stage's values with what the command line changes."""
    given = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(TrainingConfig)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None}
    if arguments.mix:
        given["mix"] = tuple(_share(item) for item in arguments.mix)
    if arguments.amp is None and device.type != "cuda":
        given["amp"] = "off"
    config = dataclasses.replace(STAGES[arguments.stage], **given)
    at_least = {"batch_size": 1, "iterations": 1, "crop_size": 1, "max_objects": 1, "save_every": 1, "log_every": 1, "num_workers": 0, "cache_megabytes": 0, "seed": 0}
    for name, smallest in at_least.items():
        value = getattr(config if hasattr(config, name) else arguments, name)
        if value < smallest:
            raise InputError(f"{name} is {value}; it must be at least {smallest}")
    if not config.learning_rate > 0:
        raise InputError(f"learning_rate is {config.learning_rate}; it must be above 0")
    if config.batch_size % world_size():
        raise InputError(f"batch size {config.batch_size} over {world_size()} processes: each needs the same whole number of samples; change -b or --nproc_per_node")
    if config.crop_size % 16:
        raise InputError(f"--crop_size {config.crop_size}: it must be a multiple of 16")
    return config


def _share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    try:
        return kind, float(share)
    except ValueError as error:
        raise InputError(f"--mix {text}: write KIND=SHARE, for instance video=0.4") from error


def find_checkpoint(folder: Path, wanted: str | None) -> Path | None:
    """The training checkpoint to go on with: a file, the newest of the run for `auto`, or None to start afresh."""
    if wanted != "auto":
        return Path(wanted) if wanted else None
    found = sorted((path for path in folder.glob("checkpoints/*.pth") if path.stem.isdigit()), key=lambda path: int(path.stem))
    if not found and is_main():
        print(f"{folder}/checkpoints: no checkpoint yet, starting afresh")
    return found[-1] if found else None


def build_learner(arguments: argparse.Namespace, config: TrainingConfig, device: torch.device) -> Learner:
    """A network fresh, from weights, or with everything else from a training checkpoint."""
    folder = RUNS / arguments.id
    resumed = find_checkpoint(folder, arguments.load_model)
    if resumed is None and (folder / "config.json").exists():
        raise InputError(f"{folder}: this run exists; go on with it by --load_model auto, or choose another --id")
    torch.manual_seed(config.seed)
    network = build_network(config.network)
    if arguments.load_network:
        load_state(network, network_state(read_checkpoint(arguments.load_network), arguments.load_network), arguments.load_network, train_on=True)
    learner = Learner(network, config, device)
    if resumed:
        learner.restore(TrainingState.from_checkpoint(resumed))
    return learner


def fetch(batches: Iterator[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The next batch. An InputError met in a loading process arrives with that process's traceback; only its own line is kept."""
    try:
        return next(batches)
    except InputError as error:
        raise InputError(str(error).strip().splitlines()[-1].split("InputError: ", 1)[-1]) from None


def train(arguments: argparse.Namespace, device: torch.device) -> None:
    config = resolve_config(arguments, device)
    roots = TrainingRoots(static=arguments.static_root, davis=arguments.davis_root, youtube=arguments.yv_root)
    sample = SampleConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(SampleConfig)})
    data = build_training_data(
        roots,
        sample,
        mix=dict(config.mix),
        samples=config.iterations * config.batch_size,
        seed=config.seed,
        exclude=arguments.exclude,
        cache_megabytes=arguments.cache_megabytes,
    )
    learner = build_learner(arguments, config, device)
    folder, commit = RUNS / arguments.id, git_commit()
    log = None
    if is_main():
        record = {"training": config.as_dict(), "network": learner.network.config.as_dict(), "roots": dataclasses.asdict(roots), "exclude": arguments.exclude, "git_commit": commit}
        write_json(folder / "config.json", record)
        log = MetricsLog(folder, config.iterations, every=arguments.log_every)

    batches = iter(training_batches(data, config.batch_size, learner.iteration, arguments.num_workers))
    while learner.iteration < config.iterations:
        fetched = time.perf_counter()
        batch = fetch(batches).tensors
        waited = time.perf_counter() - fetched
        result = learner.forward(batch)
        learner.backward(result.loss)
        learner.step()
        if is_main():
            log.step(learner.iteration, waited, lambda: {"loss": float(result.loss.detach()), "iou": float(result.iou), "learning_rate": learner.scheduler.get_last_lr()[0]})  # noqa: B023
            if learner.iteration % arguments.save_every == 0 or learner.iteration == config.iterations:
                learner.state(commit).save(folder / "checkpoints" / f"{learner.iteration:06d}.pth")
    if is_main():
        save_weights(folder / "weights.pth", learner.final_network)
        log.close()
        print(f"weights: {folder / 'weights.pth'}")


def main() -> None:
    arguments = parse_arguments()
    device = select_device(arguments.device)
    with process_group(device):
        train(arguments, device)


if __name__ == "__main__":
    run_command(main)

"""Train a network: `torchrun --nproc_per_node=N train.py --stage 0|3|synthetic --id NAME …`, or plain `python train.py …` on one device."""

import argparse
import contextlib
import dataclasses
import time
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from dataset.sources import SampleConfig, TrainingRoots, build_training_data
from model import PRESETS, Rollout, build_network, save_weights
from model.checkpoint import TrainingState, load_state, network_state, read_checkpoint
from model.network import freeze_batch_norms
from model.training import AUTOCAST_DTYPES, STAGES, TrainingConfig, build_average, build_optimizer, build_scheduler
from util.distributed import is_main, process_group, rank, select_device, world_size
from util.errors import InputError, run_command
from util.run_record import MetricsLog, git_commit, set_seed, write_json

RUNS = Path("runs")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
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
    for name in ("batch_size", "iterations", "crop_size", "max_objects", "learning_rate"):
        if getattr(config, name) <= 0:
            raise InputError(f"{name} is {getattr(config, name)}; it must be above 0")
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


def training_loader(data: torch.utils.data.Dataset, config: TrainingConfig, first_iteration: int, workers: int) -> DataLoader:
    """This process's batches from an iteration on. Item numbers follow from the iteration alone, so a resumed run sees what it would have seen."""
    per_rank = config.batch_size // world_size()
    batches = [
        range(iteration * config.batch_size + rank() * per_rank, iteration * config.batch_size + (rank() + 1) * per_rank)
        for iteration in range(first_iteration, config.iterations)
    ]
    return DataLoader(data, batch_sampler=batches, num_workers=workers, pin_memory=torch.cuda.is_available(), prefetch_factor=4 if workers else None)


def find_checkpoint(folder: Path, wanted: str | None) -> Path | None:
    """The training checkpoint to go on with: a file, the newest of the run for `auto`, or None to start afresh."""
    if wanted != "auto":
        return Path(wanted) if wanted else None
    found = sorted(folder.glob("checkpoints/*.pth"), key=lambda path: int(path.stem))
    if not found and is_main():
        print(f"{folder}/checkpoints: no checkpoint yet, starting afresh")
    return found[-1] if found else None


def train(arguments: argparse.Namespace, device: torch.device) -> None:
    config = resolve_config(arguments, device)
    folder = RUNS / arguments.id
    resumed = find_checkpoint(folder, arguments.load_model)
    if resumed is None and (folder / "config.json").exists():
        raise InputError(f"{folder}: this run exists; go on with it by --load_model auto, or choose another --id")
    roots = TrainingRoots(static=arguments.static_root, davis=arguments.davis_root, youtube=arguments.yv_root)
    samples = SampleConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(SampleConfig)})
    data = build_training_data(
        roots,
        samples,
        mix=dict(config.mix),
        samples=config.iterations * config.batch_size,
        seed=config.seed,
        exclude=arguments.exclude,
        cache_megabytes=arguments.cache_megabytes,
    )
    set_seed(config.seed)
    network = build_network(config.network)
    if arguments.load_network:
        load_state(network, network_state(read_checkpoint(arguments.load_network), arguments.load_network), arguments.load_network, train_on=True)
    network.to(device, memory_format=torch.channels_last)
    average = build_average(network, config)
    rollout = Rollout(network, config.bootstrap)
    optimizer = build_optimizer(network, config)
    scheduler = build_scheduler(optimizer, config)
    scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
    autocast = torch.autocast(device.type, AUTOCAST_DTYPES[config.amp]) if config.amp != "off" else contextlib.nullcontext()

    first_iteration = 0
    if resumed:
        state = TrainingState.from_checkpoint(resumed)
        network.load_state_dict(state.network)
        if average is not None:
            average.load_state_dict(state.average)
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
        scaler.load_state_dict(state.scaler)
        torch.set_rng_state(state.torch_random_state)
        first_iteration = state.iteration
    parallel = DistributedDataParallel(rollout, device_ids=[device.index] if device.type == "cuda" else None) if world_size() > 1 else rollout
    parallel.train()
    if not config.learn_batch_norms:
        freeze_batch_norms(network)

    def save(iteration: int) -> None:
        TrainingState(
            network=network.state_dict(),
            average=average.state_dict() if average is not None else None,
            optimizer=optimizer.state_dict(),
            scheduler=scheduler.state_dict(),
            scaler=scaler.state_dict(),
            iteration=iteration,
            torch_random_state=torch.get_rng_state(),
            network_config=network.config.as_dict(),
            training_config=config.as_dict(),
            git_commit=git_commit(),
        ).save(folder / "checkpoints" / f"{iteration:06d}.pth")

    log = None
    if is_main():
        write_json(folder / "config.json", {"training": config.as_dict(), "network": network.config.as_dict(), "roots": dataclasses.asdict(roots), "git_commit": git_commit()})
        log = MetricsLog(folder)

    started, waited, since = time.perf_counter(), 0.0, first_iteration
    batches = iter(training_loader(data, config, first_iteration, arguments.num_workers))
    for iteration in range(first_iteration, config.iterations):
        fetched = time.perf_counter()
        batch = {name: value.to(device, non_blocking=True) for name, value in next(batches).items()}
        waited += time.perf_counter() - fetched
        with autocast:
            result = parallel(**batch, iteration=iteration)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(result.loss).backward()
        if config.clip_gradient_norm is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_gradient_norm)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        if average is not None:
            average.update_parameters(network)

        done = iteration + 1
        if is_main() and (done % arguments.log_every == 0 or done == config.iterations):
            elapsed = time.perf_counter() - started
            scalars = {
                "loss": float(result.loss.detach()),
                "iou": float(result.iou),
                "learning_rate": optimizer.param_groups[0]["lr"],
                "steps_per_second": (done - since) / elapsed,
                "waiting_share": waited / elapsed,
            }
            log.write(done, config.iterations, scalars)
            started, waited, since = time.perf_counter(), 0.0, done
        if is_main() and (done % arguments.save_every == 0 or done == config.iterations):
            save(done)
    if is_main():
        save_weights(folder / "weights.pth", average.module if average is not None else network)
        log.close()
        print(f"weights: {folder / 'weights.pth'}")


def main() -> None:
    arguments = parse_arguments()
    device = select_device(arguments.device)
    with process_group(device):
        train(arguments, device)


if __name__ == "__main__":
    run_command(main)

"""Train a network: `python train.py …`, or `torchrun --nproc_per_node=N train.py …` on N GPUs."""

import argparse
import contextlib
import dataclasses
from pathlib import Path

import torch

from dataset.training.arguments import add_data_flags, build_data
from dataset.training.iterations import IterationLoader, LoadingConfig
from dataset.training.pictures import draw_batch
from dataset.training.record import FilesRecord, check_same_files, record_files, summarise_record
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig
from inference.config import system_config
from inference.validation import BestWeights, Validator
from model import NetworkConfig, build_network
from model.backbones import fetch_backbones, load_backbones
from model.checkpoint import read_network
from model.training import arguments as flags
from model.training.checkpoints import TrainingState
from model.training.loss_monitor import LossMonitor
from model.training.network_choice import resolve_network
from model.training.rollout import RolloutResult
from model.training.run import (
    RecordConfig,
    Run,
    choose_checkpoint,
    describe_run,
    locked_run,
    warn_if_unsaved,
)
from model.training.start import load_start
from model.training.trainer import Trainer
from util.device import select_device
from util.distributed import (
    check_agreement,
    exit_together_on_error,
    gather_objects,
    is_first_of_machine,
    is_main,
    max_over_processes,
    process_group,
)
from util.errors import InputError, run_command
from util.flags import DefaultsFormatter, FlagParser
from util.process import StopSignals
from util.ranges import INTEGER_LIMIT, check_ranges
from util.seeds import seed_everything
from util.settings import select_fields


def parse_arguments() -> argparse.Namespace:
    parser = FlagParser(prog="train.py", description=__doc__, formatter_class=DefaultsFormatter)
    flags.add_run_flags(parser)
    flags.add_start_flags(parser)
    add_data_flags(parser)
    flags.add_recipe_flags(parser)
    flags.add_machine_flags(parser)
    flags.add_record_flags(parser)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a training is made of, in every process."""

    trainer: Trainer
    data: MixedTrainingData
    files: FilesRecord  # what the samples are drawn from; empty in all but the main process
    record_config: RecordConfig
    validator: Validator | None


def build_parts(arguments: argparse.Namespace, device: torch.device, folder: Path) -> Parts:
    """From flags to parts. An error in one process ends all of them, with one line."""
    with exit_together_on_error():
        check_agreement(vars(arguments))
    with exit_together_on_error():
        record_config = select_fields(RecordConfig, arguments)
        check_ranges(record_config, integers_below=INTEGER_LIMIT)
        config = flags.resolve_config(arguments, device)
        system_config(config.system)  # raises InputError for an unknown system
        start = read_network(arguments.load_network) if arguments.load_network else None
        network_config = resolve_network(arguments, config, start and start.config)
        data = build_data(
            arguments,
            select_fields(SampleConfig, config),
            mix=dict(config.mix),
            iterations=config.iterations,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        files = record_files(data.file_sources) if is_main() else {}
        checkpoint = choose_checkpoint(folder, arguments.load_model) if is_main() else None
    with exit_together_on_error():
        check_agreement({"files of training data": data.total_files})
    checkpoint = gather_objects(checkpoint)[0]  # all processes resume from the main one's choice
    with exit_together_on_error():
        if is_first_of_machine() and not (checkpoint or start):
            fetch_backbones(build_network(network_config), config.backbone_weights)
    with exit_together_on_error():
        state = TrainingState.from_checkpoint(checkpoint) if checkpoint else None
        seed_everything(config.seed)
        network = build_network(network_config)
        if start is not None:
            print_lines(load_start(network, start, arguments.load_network))
        elif state is None:
            print_lines(load_backbones(network, config.backbone_weights))
    trainer = Trainer(network, config, device)
    with exit_together_on_error():
        if state is not None:
            trainer.restore(state)
            if is_main():
                check_same_files(state.files, files, checkpoint, arguments.allow_other_data)
        validator = build_validator(arguments, config.system, network_config, data)
    return Parts(trainer, data, files, record_config, validator)


def print_lines(lines: list[str]) -> None:
    """Print in the main process alone."""
    for line in lines if is_main() else ():
        print(line)


def build_validator(
    arguments: argparse.Namespace, system: str, network: NetworkConfig, data: MixedTrainingData
) -> Validator | None:
    """Validates as `system` runs the network; None without --val_root."""
    if not arguments.val_root:
        return None
    validator = Validator(
        arguments.val_root,
        arguments.val_sequences,
        system=system,
        refine=network.refiner is not None,
        max_frames=arguments.val_frames,
        resolution=arguments.val_resolution,
    )
    validator.check(network)
    validator.check_not_trained_on(data.video_folders)
    return validator


def open_run(
    arguments: argparse.Namespace, parts: Parts, folder: Path
) -> tuple[Run, BestWeights | None]:
    """The record of the training, and the best weights so far (in the main process)."""
    description = describe_run(parts.trainer, vars(arguments), summarise_record(parts.files))
    run = Run(folder, parts.record_config, parts.trainer, description, parts.files)
    if parts.validator is None or not is_main():
        return run, None
    from_scratch = parts.trainer.iteration == 0
    return run, BestWeights(folder, parts.validator.settings, from_scratch=from_scratch)


def train(arguments: argparse.Namespace, device: torch.device, folder: Path) -> int:
    """Returns the exit code: 0, or 128 + N if signal N stopped the training."""
    parts = build_parts(arguments, device, folder)
    trainer, config, monitor = parts.trainer, parts.trainer.config, LossMonitor()
    with StopSignals() as signals, contextlib.ExitStack() as stack:
        with exit_together_on_error():
            run, best = open_run(arguments, parts, folder)
        loader = IterationLoader(
            parts.data,
            select_fields(LoadingConfig, arguments),
            batch_size=config.batch_size,
            accumulate=config.accumulate,
            first_iteration=trainer.iteration,
            pin_memory=device.type == "cuda",
        )
        stack.enter_context(contextlib.closing(loader))
        while trainer.iteration < config.iterations:
            try:
                batch = loader.next()
            except (InputError, OSError, SystemExit):
                run.check_losses(monitor, loader.load_again)
                run.save_unsaved()
                raise

            results: list[RolloutResult] = []
            with flags.explain_small_memory(config, device):
                for part in batch.parts:
                    results.append(trainer.forward(part.tensors))
                    trainer.backward(results[-1].loss)
            monitor.add(trainer.iteration, [result.loss for result in results])
            (signal_number,) = max_over_processes(signals.received or 0)
            if signal_number or run.waits_for_losses():
                run.check_losses(monitor, loader.load_again)
            with flags.explain_small_memory(config, device):
                trainer.step()

            run.log_step(results, batch.waited_seconds, len(loader.skipped.files))
            if run.is_due(run.config.image_every):
                show_batch(run, batch.parts[-1].tensors, results[-1])
            saves = run.is_due(run.config.save_every)
            validates = parts.validator is not None and run.is_due(run.config.val_every)
            if saves:  # before the validation, so that its failure loses no iteration
                run.save()
            if validates:
                validate(run, parts.validator, best)
            if saves or validates:
                run.draw()
            if signal_number and trainer.iteration < config.iterations:
                run.stop()
                return 128 + signal_number
    run.finish()
    return 0


def show_batch(run: Run, sample: dict[str, torch.Tensor], result: RolloutResult) -> None:
    """Show samples with their truth and the predictions in TensorBoard."""
    if is_main():
        with run.paused():
            picture = draw_batch(sample["frames"], sample["labels"], result.logits.argmax(2))
            run.log.image("samples", picture, run.trainer.iteration)


def validate(run: Run, validator: Validator, best: BestWeights | None) -> None:
    """Score the network and keep its weights if they are the best so far. Every process takes
    part; the main process (which has `best`) writes."""
    iteration, network = run.trainer.iteration, run.trainer.final_network
    with run.paused():
        scores = validator.score(network)
        if best is not None:
            run.log.scalars(iteration, scores.as_scalars())
            with warn_if_unsaved(f"the best weights, those of iteration {iteration},"):
                best.offer(iteration, scores, network)


def main() -> int:
    arguments = parse_arguments()
    device = select_device(arguments.device)
    with process_group(device), locked_run(arguments.id) as folder:
        return train(arguments, device, folder)


if __name__ == "__main__":
    run_command(main)

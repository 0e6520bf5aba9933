"""`training_memory`: peak memory of a training step, and settings that fit common cards. GB are
10^9 bytes."""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from model.training.stages import STAGES, TrainingConfig
from scripts.benchmarks.command import add_command, add_training_step, check_training
from scripts.benchmarks.step_memory import StepMemory, computed_memory, measured_memory
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import AMP_DTYPES, select_device
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

MARGIN_GB = 1.5  # for what is not counted: cuDNN workspaces, fragmentation, the CUDA context
CARDS_GB = (8, 11, 24)
GPU_COUNTS = (1, 2, 4)
_RECIPE_STAGES = ("0", "3")
_NOTES = {
    "computed": (
        "Computed, not measured: without cuDNN workspaces, fragmentation and the CUDA context; "
        f"allow 1 to {MARGIN_GB} GB for them."
    ),
    "measured": (
        "Measured: the most memory that torch allocated; without fragmentation and the CUDA "
        "context."
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How a batch is trained: `batch` samples per iteration on `gpus` cards, each one's share in
    `accumulate` parts."""

    stage: str
    network: str
    crop_size: int
    amp: str
    batch: int
    gpus: int
    accumulate: int = 1
    checkpoint_activations: bool = False

    @property
    def samples_per_process(self) -> int:
        return self.batch // self.gpus

    @property
    def samples_per_part(self) -> int:
        """Samples that pass through the network together."""
        return self.samples_per_process // self.accumulate

    def process_config(self) -> TrainingConfig:
        """The configuration of one process."""
        names = ("network", "crop_size", "amp", "accumulate", "checkpoint_activations")
        return dataclasses.replace(
            STAGES[self.stage],
            batch_size=self.samples_per_process,
            **{name: getattr(self, name) for name in names},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A plan, the memory of its step, and the card it is meant for (None: no particular one)."""

    plan: Plan
    memory: StepMemory
    card_gb: int | None = None

    @property
    def fits(self) -> bool:
        """Whether the step fits the card, with a margin for what is not counted."""
        return self.card_gb is None or self.memory.peak / 1e9 + MARGIN_GB <= self.card_gb


def choose_recipe(plan: Plan, card_gb: int, memory_of: Callable[[Plan], StepMemory]) -> Recipe:
    """The smallest number of parts with which a step of the plan fits the card.

    Activations are recomputed only if single samples do not fit otherwise. If nothing fits, the
    plan that takes the least memory is chosen.
    """
    tried = []
    for checkpointed in (False, True):
        for parts in range(1, plan.samples_per_process + 1):
            if plan.samples_per_process % parts:
                continue
            changed = dataclasses.replace(
                plan, accumulate=parts, checkpoint_activations=checkpointed
            )
            tried.append(Recipe(plan=changed, memory=memory_of(changed), card_gb=card_gb))
            if tried[-1].fits:
                return tried[-1]
    return min(tried, key=lambda recipe: recipe.memory.peak)


def run_training_memory(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Peak memory of a training step in one process: measured on CUDA, computed elsewhere."""
    for stage in _RECIPE_STAGES if flags.recipes else (flags.stage,):
        check_training(flags.network, STAGES[stage])
    device = select_device(flags.device)
    how = "measured" if device.type == "cuda" else "computed"
    measure = functools.partial(measured_memory, device=device)
    memory_of_config = measure if how == "measured" else computed_memory

    def memory_of(plan: Plan) -> StepMemory:
        recomputed = ", activations recomputed" if plan.checkpoint_activations else ""
        samples = counted(plan.samples_per_part, "sample")
        print_progress(f"stage {plan.stage}, {samples}{recomputed}")
        return memory_of_config(plan.process_config(), several_processes=plan.gpus > 1)

    if flags.recipes:
        recipes = _fitting_recipes(flags, functools.cache(memory_of))
    else:
        plan = _plan_of(flags)
        recipes = [Recipe(plan=plan, memory=memory_of(plan))]
    table = markdown_table(_header(flags.recipes, how), (_row(recipe) for recipe in recipes))
    step = f"{flags.network}, {flags.crop_size}×{flags.crop_size}, amp {flags.amp}"
    title = f"Memory of a training step in each process: {step}"
    figures = [
        {**dataclasses.asdict(recipe), "fits": recipe.fits, "how": how} for recipe in recipes
    ]
    return f"### {title}\n\n{table}\n\n{_NOTES[how]}", figures


def _plan_of(flags: argparse.Namespace) -> Plan:
    """The plan that the flags describe. Raises: InputError if its parts are not equal."""
    batch = flags.batch or STAGES[flags.stage].batch_size
    if batch % (flags.gpus * flags.accumulate):
        parts = f"{counted(flags.gpus, 'GPU')} in {counted(flags.accumulate, 'part')}"
        raise InputError(
            f"--batch {batch} over {parts}: each part needs the same whole number of samples; "
            "change one of them"
        )
    names = (
        "stage",
        "network",
        "crop_size",
        "amp",
        "gpus",
        "accumulate",
        "checkpoint_activations",
    )
    return Plan(batch=batch, **{name: getattr(flags, name) for name in names})


def _fitting_recipes(
    flags: argparse.Namespace, memory_of: Callable[[Plan], StepMemory]
) -> list[Recipe]:
    """Stages 0 and 3 with their published batches, on all cards and numbers of GPUs."""
    shared = {name: getattr(flags, name) for name in ("network", "crop_size", "amp")}
    plans = {
        (stage, gpus): Plan(stage=stage, gpus=gpus, batch=STAGES[stage].batch_size, **shared)
        for stage in _RECIPE_STAGES
        for gpus in GPU_COUNTS
    }
    return [
        choose_recipe(plans[stage, gpus], card_gb, memory_of)
        for stage in _RECIPE_STAGES
        for card_gb in CARDS_GB
        for gpus in GPU_COUNTS
    ]


def _header(recipes: bool, how: str) -> tuple[str, ...]:
    columns = (
        "GPUs",
        "batch",
        "samples per part",
        "`--accumulate`",
        "`--checkpoint_activations`",
        "between steps, GB",
        f"{how} peak, GB",
    )
    return ("stage", "card, GB", *columns, "fits") if recipes else ("stage", *columns)


def _row(recipe: Recipe) -> tuple[object, ...]:
    plan, memory = recipe.plan, recipe.memory
    cells = (
        plan.gpus,
        plan.batch,
        plan.samples_per_part,
        plan.accumulate,
        "yes" if plan.checkpoint_activations else "no",
        f"{memory.resting / 1e9:.2f}",
        f"{memory.peak / 1e9:.2f}",
    )
    if recipe.card_gb is None:
        return (plan.stage, *cells)
    return (plan.stage, recipe.card_gb, *cells, "yes" if recipe.fits else "no")


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "training_memory", run_training_memory, "stcn", frame_size=False)
    add_training_step(parser)
    parser.add_argument(
        "--batch", type=at_least(1), help="samples per step on all GPUs; default: the stage's"
    )
    parser.add_argument(
        "--gpus", type=at_least(1), default=1, help="processes that share the batch"
    )
    parser.add_argument(
        "--accumulate", type=at_least(1), default=1, help="parts of each process's share"
    )
    parser.add_argument(
        "--checkpoint_activations",
        action="store_true",
        help="recompute activations in the backward pass",
    )
    parser.add_argument(
        "--amp", choices=["off", *AMP_DTYPES], default="fp16", help="mixed precision"
    )
    parser.add_argument(
        "--recipes",
        action="store_true",
        help="settings that fit common cards, with the published batches of stages 0 and 3",
    )

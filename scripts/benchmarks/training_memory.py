"""Peak memory of a training step: computed where there is no GPU, measured on one. In GB of 10^9 bytes.

Computed: one step of model.training.trainer.Trainer, with averaged weights and whatever else its configuration asks for, runs on fake tensors, which have sizes
and types but no content (torch's FakeTensorMode), while a ledger counts every tensor storage from its making to its end, rounded up as torch's CUDA
allocator rounds. Gradients, activations kept for the backward pass, Adam's states, half-precision copies of weights and temporary tensors are all
there as torch makes them; mixed precision is the CPU's, which chooses the same types as CUDA's in these networks. What lies below torch's own tensors is
not: cuDNN workspaces, fragmentation, the CUDA context. MARGIN_GB is allowed for them.

Legend: B samples of a part, T frames, K objects, S side of the crop in pixels.
"""

import argparse
import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model import VOSNetwork, build_network
from model.training.stages import STAGES, TrainingConfig
from model.training.trainer import Trainer
from scripts.benchmarks.command import add_command, add_training_step, check_training
from scripts.benchmarks.timing import note
from scripts.common.tables import markdown_table
from util.device import AMP_DTYPES, select_device
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

MARGIN_GB = 1.5
CUDA_BLOCK_BYTES = 512  # torch's CUDA allocator gives memory in multiples of it
CARDS_GB = (8, 11, 24)
GPU_COUNTS = (1, 2, 4)
_RECIPE_STAGES = ("0", "3")
METHOD = {
    "computed": f"Computed, not measured: leaves out cuDNN workspaces, fragmentation and the CUDA context; allow 1 to {MARGIN_GB} GB for them.",
    "measured": "Measured: the most memory torch held; leaves out fragmentation and the CUDA context.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMemory:
    """In bytes. resting: between two steps (weights, their average, Adam's states). peak: the most during a step."""

    resting: int
    peak: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How a batch is trained on: `batch` samples an iteration over `gpus` cards, each one's share in `accumulate` parts."""

    stage: str
    network: str
    crop_size: int
    amp: str
    batch: int
    gpus: int
    accumulate: int = 1
    checkpoint_activations: bool = False

    @property
    def share(self) -> int:
        """Samples of one process."""
        return self.batch // self.gpus

    @property
    def part(self) -> int:
        """Samples that go through the network at once."""
        return self.share // self.accumulate

    def process_config(self) -> TrainingConfig:
        """What one process trains."""
        names = ("network", "crop_size", "amp", "accumulate", "checkpoint_activations")
        return dataclasses.replace(
            STAGES[self.stage],
            batch_size=self.share,
            **{name: getattr(self, name) for name in names},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A plan, what a step of it takes, and the card it is meant for; card_gb None: for none in particular."""

    plan: Plan
    memory: StepMemory
    card_gb: int | None = None

    @property
    def fits(self) -> bool:
        return self.card_gb is None or self.memory.peak / 1e9 + MARGIN_GB <= self.card_gb


class StorageLedger(TorchDispatchMode):
    """Counts the bytes of all tensor storages made while it is active, while they live. Works on fake tensors and on real ones.

    items: what a fake tensor answers when it is asked for its content; the training step asks for nothing but the largest number of objects.
    """

    def __init__(self, block_bytes: int = CUDA_BLOCK_BYTES, items: int = 1):
        super().__init__()
        self.block_bytes, self.items = block_bytes, items
        self.live = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        arguments: tuple = (),
        keywords: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default and isinstance(
            arguments[0], FakeTensor
        ):
            return self.items
        result = function(*arguments, **(keywords or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # the same for all views of one storage
        if key in self._known:
            return
        size = -(-storage.nbytes() // self.block_bytes) * self.block_bytes
        self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.live -= size


def computed_memory(
    config: TrainingConfig,
    *,
    block_bytes: int = CUDA_BLOCK_BYTES,
    fake: bool = True,
    several_processes: bool = False,
) -> StepMemory:
    """One process's memory in a step of `config`, whose batch is that process's share.

    fake=False runs the same on real tensors of the CPU (to check the computation). several_processes: gradients stay between steps, in buckets.
    """
    ledger = StorageLedger(block_bytes, config.max_objects)
    with FakeTensorMode() if fake else torch.random.fork_rng(devices=[]), ledger:
        network = _in_place(build_network(config.network))
        trainer = Trainer(network, config, torch.device("cpu"))
        _prepare(trainer, keep_gradients=several_processes or config.accumulate > 1)
        ledger.peak = resting = ledger.live
        kept = _step(trainer)
        del kept
    return StepMemory(resting=resting, peak=ledger.peak)


def measured_memory(
    config: TrainingConfig, device: torch.device, *, several_processes: bool = False
) -> StepMemory:
    """The same on a CUDA device, measured."""
    before = torch.cuda.memory_allocated(device)
    trainer = Trainer(build_network(config.network), config, device)
    _prepare(trainer, keep_gradients=several_processes or config.accumulate > 1)
    torch.cuda.reset_peak_memory_stats(device)
    resting = torch.cuda.memory_allocated(device)
    _step(trainer)
    torch.cuda.synchronize(device)
    return StepMemory(
        resting=resting - before, peak=torch.cuda.max_memory_allocated(device) - before
    )


def _in_place(network: VOSNetwork) -> VOSNetwork:
    """The network, channels last. What the trainer does to it is spared what fake parameters cannot do: to be replaced by `to`, and to be copied."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            moved = parameter.detach()
            setattr(
                module,
                name,
                nn.Parameter(
                    moved.contiguous(memory_format=torch.channels_last)
                    if moved.dim() == 4
                    else moved
                ),
            )
    network.to = lambda *_, **__: network
    network.__deepcopy__ = lambda _: _in_place(build_network(network.config))
    return network


def _prepare(trainer: Trainer, keep_gradients: bool) -> None:
    """As after a first step: the optimiser has its states. The hardest pixels are chosen among nearly all, which takes the most memory."""
    for parameter in trainer.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=not keep_gradients)
    trainer.iteration = trainer.config.bootstrap.start_iteration + 1


def _step(trainer: Trainer) -> list[Tensor]:
    """The last part of a batch and the step after it. Of the parts before, a training loop holds the logits until the step."""
    config, device = trainer.config, trainer.device
    part, side = config.batch_size // config.accumulate, config.crop_size
    earlier = torch.empty(
        config.batch_size - part,
        config.frames - 1,
        config.max_objects + 1,
        side,
        side,
        device=device,
    )
    frames = torch.zeros(part, config.frames, 3, side, side, dtype=torch.uint8, device=device)
    labels = torch.zeros(part, config.frames, side, side, dtype=torch.uint8, device=device)
    result = trainer.forward(
        {"frames": frames, "labels": labels, "num_objects": np.full(part, config.max_objects)}
    )  # of fake tensors torch 2.4 makes no list
    trainer.backward(result.loss)
    trainer.step()
    return [earlier, result.logits]


def choose_recipe(plan: Plan, card_gb: int, memory_of: Callable[[Plan], StepMemory]) -> Recipe:
    """The fewest parts with which a step of the plan fits the card; activations are computed again only where single samples do not fit without.

    Where nothing fits, the plan that takes the least.
    """
    tried = []
    for checkpointed in (False, True):
        for parts in (parts for parts in range(1, plan.share + 1) if plan.share % parts == 0):
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

    def memory_of(plan: Plan) -> StepMemory:
        note(
            f"stage {plan.stage}, {counted(plan.part, 'sample')}{', activations computed again' if plan.checkpoint_activations else ''}"
        )
        run = (
            functools.partial(measured_memory, device=device)
            if how == "measured"
            else computed_memory
        )
        return run(plan.process_config(), several_processes=plan.gpus > 1)

    recipes = (
        _fitting_recipes(flags, functools.cache(memory_of))
        if flags.recipes
        else [_recipe_asked_for(flags, memory_of)]
    )
    cards = ("card, GB", "GPUs") if flags.recipes else ("GPUs",)
    header = (
        "stage",
        *cards,
        "batch",
        "samples a part",
        "`--accumulate`",
        "`--checkpoint_activations`",
        "between steps, GB",
        f"{how} peak, GB",
        "fits",
    )
    table = markdown_table(
        header[: None if flags.recipes else -1], (_recipe_row(recipe) for recipe in recipes)
    )
    title = f"Memory of a training step in each process: {flags.network}, {flags.crop_size}×{flags.crop_size}, amp {flags.amp}"
    return f"### {title}\n\n{table}\n\n{METHOD[how]}", [
        {**dataclasses.asdict(recipe), "fits": recipe.fits, "how": how} for recipe in recipes
    ]


def _plan(flags: argparse.Namespace, stage: str, **fields: Any) -> Plan:
    return Plan(
        stage=stage, network=flags.network, crop_size=flags.crop_size, amp=flags.amp, **fields
    )


def _recipe_asked_for(flags: argparse.Namespace, memory_of: Callable[[Plan], StepMemory]) -> Recipe:
    batch = flags.batch or STAGES[flags.stage].batch_size
    if batch % (flags.gpus * flags.accumulate):
        shares = f"over {counted(flags.gpus, 'GPU')} in {counted(flags.accumulate, 'part')}"
        raise InputError(
            f"--batch {batch} {shares}: each part needs the same whole number of samples; change one of them"
        )
    fields = {
        name: getattr(flags, name) for name in ("gpus", "accumulate", "checkpoint_activations")
    }
    plan = _plan(flags, flags.stage, batch=batch, **fields)
    return Recipe(plan=plan, memory=memory_of(plan))


def _fitting_recipes(
    flags: argparse.Namespace, memory_of: Callable[[Plan], StepMemory]
) -> list[Recipe]:
    """Stages 0 and 3 with their published batches on all cards and numbers of GPUs."""
    return [
        choose_recipe(
            _plan(flags, stage, batch=STAGES[stage].batch_size, gpus=gpus), card, memory_of
        )
        for stage in _RECIPE_STAGES
        for card in CARDS_GB
        for gpus in GPU_COUNTS
    ]


def _recipe_row(recipe: Recipe) -> tuple[object, ...]:
    plan, memory = recipe.plan, recipe.memory
    how = (
        plan.batch,
        plan.part,
        plan.accumulate,
        "yes" if plan.checkpoint_activations else "no",
        f"{memory.resting / 1e9:.2f}",
        f"{memory.peak / 1e9:.2f}",
    )
    if recipe.card_gb is None:
        return (plan.stage, plan.gpus, *how)
    return (plan.stage, recipe.card_gb, plan.gpus, *how, "yes" if recipe.fits else "no")


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "training_memory", run_training_memory, "stcn", frame_size=False)
    add_training_step(added)
    added.add_argument(
        "--batch", type=at_least(1), help="samples a step over all GPUs; default: the stage's"
    )
    added.add_argument("--gpus", type=at_least(1), default=1, help="processes that share the batch")
    added.add_argument(
        "--accumulate", type=at_least(1), default=1, help="parts each computes its share in"
    )
    added.add_argument(
        "--checkpoint_activations",
        action="store_true",
        help="compute activations again in the backward pass",
    )
    added.add_argument(
        "--amp", choices=["off", *AMP_DTYPES], default="fp16", help="mixed precision"
    )
    added.add_argument(
        "--recipes",
        action="store_true",
        help="what fits which cards, at the published batches of stages 0 and 3",
    )

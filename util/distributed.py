"""One process or several (torchrun): ranks, and the device a process works on."""

import contextlib
import datetime
import functools
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed

from util.errors import EXIT_INPUT_ERROR, InputError, end_at_once, reason_in_one_line
from util.text import counted

_LAST_PORT = 65_535
_LEAVING_SECONDS = 5
_LOST_PROCESS = re.compile(
    "gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out|processgroup", re.IGNORECASE
)


def _number(name: str, default: int, least: int, most: int | None = None) -> int:
    """A number in the environment, which torchrun sets. Raises InputError where it is none, or out of its range."""
    text = os.environ.get(name)
    if text is None:
        return default
    found = int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) else None
    if found is None or found < least or (most is not None and found > most):
        wanted = f"a whole number of at least {least}" + (
            "" if most is None else f" and at most {most}"
        )
        raise InputError(
            f"{name} is {text!r} in the environment; it must be {wanted}: start by torchrun, which sets it, or unset it to run one process"
        )
    return found


def rank() -> int:
    """This process's number, from 0; torchrun sets it."""
    return _number("RANK", 0, 0, world_size() - 1)


def is_first_of_machine() -> bool:
    """True in one process of each machine: the one that fetches what all of its processes need."""
    return _local_rank() == 0


def _local_rank() -> int:
    return _number("LOCAL_RANK", 0, 0)


def world_size() -> int:
    """Number of processes; 1 without torchrun."""
    return _number("WORLD_SIZE", 1, 1)


def default_workers() -> int:
    """Loading processes for each of the processes of this machine: a core for each, one left for the process itself, 1 to 8."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(max(cores // _number("LOCAL_WORLD_SIZE", 1, 1) - 1, 1), 8)


def is_main() -> bool:
    """True in the one process that prints and writes what all share."""
    return rank() == 0


@contextlib.contextmanager
def process_group(
    device: torch.device, patience: datetime.timedelta | None = None
) -> Iterator[None]:
    """Join the other processes (NCCL on CUDA, gloo elsewhere) where there are any, and leave them at the end.

    patience: how long one waits for the others before it gives up; None: torch's own limit, which suits training. Raises InputError where the others cannot be
    joined, and where one of them is lost: its death is noticed at once, its silence when the patience is over.
    """
    rank()  # is checked, alone too: a process that is no main one would say and write nothing
    if world_size() == 1:
        yield
        return
    place = _meeting_place()
    try:
        torch.distributed.init_process_group(backend_of(device), timeout=patience)
    except RuntimeError as error:  # a DistError; before torch 2.5 sometimes not
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{place}: process {rank()} of {world_size()} cannot join the others ({reason}); give torchrun a free --master_port, the same everywhere"
        ) from error
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and not _LOST_PROCESS.search(
            str(error)
        ):
            raise
        reason = str(error).splitlines()[0]
        remedy = "look at what the lost one said, then start all of them again (a training goes on by --load_model auto)"
        raise InputError(
            f"process {rank()} of {world_size()} has lost another one ({reason}); {remedy}"
        ) from error
    finally:
        _leave()


def _leave() -> None:
    """Leave the other processes. gloo sometimes waits for ever for one that has ended (seen with torch 2.4): then the program ends without it.

    A group that is not left ends the process by SIGABRT, since its threads still run.
    """

    def leave() -> None:
        with contextlib.suppress(RuntimeError):  # of connections that are gone already
            torch.distributed.destroy_process_group()

    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    leaving.join(_LEAVING_SECONDS)
    if leaving.is_alive():
        end_at_once()
    _talk.cache_clear()


def backend_of(device: torch.device) -> str:
    """How processes exchange tensors: NCCL where each has a GPU of its own, gloo elsewhere, since NCCL refuses a GPU that two share."""
    processes_here = _number("LOCAL_WORLD_SIZE", 1, 1)
    return (
        "nccl" if device.type == "cuda" and processes_here <= torch.cuda.device_count() else "gloo"
    )


def _meeting_place() -> str:
    """HOST:PORT where several processes meet. Raises InputError where the environment does not say it, or not this process's number."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {world_size()} and {missing[0]} is not set; start by torchrun, which sets it, or unset WORLD_SIZE to run one process"
        )
    return f"{os.environ['MASTER_ADDR']}:{_number('MASTER_PORT', 0, 1, _LAST_PORT)}"


def select_device(name: str = "auto") -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), cpu, cuda, cuda:1, mps → a device; under torchrun each process takes its own GPU.

    Raises InputError for a name that is not a device, or a device that is not there.
    """
    local_rank = _local_rank()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"--device {name}: not a device; use auto, cpu, cuda, cuda:0 or mps"
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        if device.index >= count:
            raise InputError(
                f"--device {name}: this machine shows {counted(count, 'CUDA device')} to torch {torch.__version__}; use --device cpu or another index"
            )
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: no Apple GPU is available to torch; use --device cpu")
    elif device.type not in ("cpu", "mps"):
        raise InputError(
            f"--device {name}: {device.type} is not supported; use auto, cpu, cuda or mps"
        )
    return device


@functools.cache
def _talk() -> torch.distributed.ProcessGroup:
    """A group for a few words between the processes' CPUs: it neither waits for a GPU nor gives up while one process is busy for long."""
    return torch.distributed.new_group(backend="gloo", timeout=datetime.timedelta(days=1))


def largest_of_processes(*numbers: int) -> tuple[int, ...]:
    """Each number's largest value among the processes: the same answer in all of them. Every process must ask."""
    if world_size() == 1:
        return numbers
    largest = torch.tensor(numbers, dtype=torch.int64)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX, group=_talk())
    return tuple(largest.tolist())


def average_over_processes(tensors: Sequence[torch.Tensor]) -> None:
    """Make each tensor the mean of all processes', to the bit the same in all of them. Every process must ask, with tensors of the same shapes, type and device."""
    if world_size() == 1 or not tensors:
        return
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(joined)
    joined /= world_size()
    for tensor, mean in zip(
        tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True
    ):
        tensor.copy_(mean.view_as(tensor))


def gather_objects(value: object) -> list[object]:
    """The values of all processes, in rank order, in every process."""
    if world_size() == 1:
        return [value]
    gathered: list[object] = [None] * world_size()
    torch.distributed.all_gather_object(gathered, value, group=_talk())
    return gathered


@contextlib.contextmanager
def in_all_processes() -> Iterator[None]:
    """A part of a program that every process goes through: where it fails in one, all end, and the reason is said once.

    Alone, a process raises its error as ever; of several, the main one prints the first that is no defect (see reason_in_one_line) and each exits with code 2.
    """
    failure = None
    try:
        yield
    except Exception as error:
        failure = reason_in_one_line(error)
        if world_size() == 1 or failure is None:
            raise
    if world_size() == 1:
        return
    failures = [reason for reason in gather_objects(failure) if reason is not None]
    if failures:
        if is_main():
            print(f"error: {failures[0]}", file=sys.stderr, flush=True)
        gather_objects(
            None
        )  # no process ends before the reason is said: the launcher ends all with the first
        raise SystemExit(EXIT_INPUT_ERROR)


def check_agreement(settings: Mapping[str, object]) -> None:
    """Raises InputError in every process where the settings of one differ from those of the main process, naming the first that does."""
    everyone = gather_objects(dict(settings))
    for other, theirs in enumerate(everyone):
        for name in everyone[0].keys() | theirs.keys():
            if repr(everyone[0].get(name)) != repr(
                theirs.get(name)
            ):  # not by value: nan is not even itself
                raise InputError(
                    f"process {other} was started with {name} {theirs.get(name)!r}, process 0 with {everyone[0].get(name)!r}; give all of them the same command line"
                )

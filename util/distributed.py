"""One process, or several started by torchrun: ranks, and what the processes exchange."""

import collections
import contextlib
import datetime
import functools
import os
import pickle
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed

from util.errors import EXIT_INPUT_ERROR, InputError, exit_without_cleanup, reason_in_one_line

_LAST_PORT = 65_535
_LEAVING_SECONDS = 5
_MOST_DEFAULT_WORKERS = 8
_LOST_PROCESS = re.compile(
    "gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out|processgroup", re.IGNORECASE
)


def rank() -> int:
    """The number of this process, from 0. Raises InputError if the environment is wrong."""
    return _environment_number("RANK", 0, 0, world_size() - 1)


def local_rank() -> int:
    """The number of this process among those of its machine, from 0. Raises InputError if the
    environment is wrong."""
    return _environment_number("LOCAL_RANK", 0, 0)


def world_size() -> int:
    """The number of processes; 1 without torchrun. Raises InputError if the environment is
    wrong."""
    return _environment_number("WORLD_SIZE", 1, 1)


def is_main() -> bool:
    """Whether this is the one process that prints and writes what all share."""
    return rank() == 0


def is_first_of_machine() -> bool:
    """Whether this is the one process of its machine that fetches what all of them need."""
    return local_rank() == 0


def default_workers() -> int:
    """The default number of loading processes, 1 to 8: the machine's cores are shared evenly by
    its training processes, and each keeps a core for itself."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    share = cores // _environment_number("LOCAL_WORLD_SIZE", 1, 1)
    return min(max(share - 1, 1), _MOST_DEFAULT_WORKERS)


def _environment_number(name: str, default: int, least: int, most: int | None = None) -> int:
    """A whole number that torchrun sets in the environment. Raises InputError if it is not a
    whole number, or out of its range."""
    text = os.environ.get(name)
    if text is None:
        return default
    number = int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) else None
    if number is None or number < least or (most is not None and number > most):
        upper = "" if most is None else f" and at most {most}"
        raise InputError(
            f"{name} is {text!r} in the environment; it must be a whole number of at least "
            f"{least}{upper}: start by torchrun, which sets it, or unset it to run one process"
        )
    return number


@contextlib.contextmanager
def process_group(
    device: torch.device, timeout: datetime.timedelta | None = None
) -> Iterator[None]:
    """Join the other processes, if there are any, for the time of the block.

    device: where tensors are exchanged (see choose_backend).
    timeout: how long a process waits for the others; None: torch's default, which suits training.
    Raises: InputError if the other processes cannot be joined, or one of them is lost. The end of
        a process is noticed at once, one that hangs after the timeout.
    """
    # Checked for one process too: with a wrong rank it would not be the main process, and print
    # and write nothing.
    rank()
    if world_size() == 1:
        yield
        return
    address = _rendezvous_address()
    try:
        torch.distributed.init_process_group(choose_backend(device), timeout=timeout)
    except RuntimeError as error:  # a DistError; before torch 2.5 sometimes not
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{address}: process {rank()} of {world_size()} cannot join the others ({reason}); "
            "give torchrun a free --master_port, the same everywhere"
        ) from error
    try:
        yield
    except RuntimeError as error:
        is_distributed = isinstance(error, torch.distributed.DistError)
        if not is_distributed and not _LOST_PROCESS.search(str(error)):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"process {rank()} of {world_size()} has lost another one ({reason}); look at the "
            "messages of the lost one, then start all of them again (--load_model auto resumes a "
            "training)"
        ) from error
    finally:
        _leave_process_group()


def choose_backend(device: torch.device) -> str:
    """How processes exchange tensors: NCCL if each has a GPU of its own, otherwise gloo, since
    NCCL refuses a GPU that two processes share."""
    processes_here = _environment_number("LOCAL_WORLD_SIZE", 1, 1)
    if device.type == "cuda" and processes_here <= torch.cuda.device_count():
        return "nccl"
    return "gloo"


def _rendezvous_address() -> str:
    """HOST:PORT where the processes meet. Raises InputError if the environment does not name it,
    or lacks this process's rank."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {world_size()} and {missing[0]} is not set; start by torchrun, which "
            "sets it, or unset WORLD_SIZE to run one process"
        )
    port = _environment_number("MASTER_PORT", 0, 1, _LAST_PORT)
    return f"{os.environ['MASTER_ADDR']}:{port}"


def _leave_process_group() -> None:
    """Leave the other processes.

    gloo sometimes waits forever for a process that has ended (seen with torch 2.4). The group is
    then not left, and the program must end without cleanup: threads of the group are still
    running, and would end the process by SIGABRT.
    """

    def leave() -> None:
        with contextlib.suppress(RuntimeError):  # some connections are closed already
            torch.distributed.destroy_process_group()

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    thread.join(_LEAVING_SECONDS)
    if thread.is_alive():
        exit_without_cleanup()
    _control_group.cache_clear()
    _exchanged.clear()


# The tensors exchanged last are kept until the groups are left. A group's thread may release a
# tensor late. If that is the last reference, it needs the interpreter's lock, which is held while
# the group is destroyed and waits for that thread: a deadlock, seen with torch 2.4.
_exchanged: collections.deque[torch.Tensor] = collections.deque(maxlen=64)


@functools.cache
def _control_group() -> torch.distributed.ProcessGroup:
    """A group for short messages between the processes' CPUs. It does not wait for a GPU, nor give
    up while one process is busy for long."""
    return torch.distributed.new_group(backend="gloo", timeout=datetime.timedelta(days=1))


def max_over_processes(*numbers: int) -> tuple[int, ...]:
    """The maximum of each number over all processes, the same in all. Every process must call
    this."""
    if world_size() == 1:
        return numbers
    largest = torch.tensor(numbers, dtype=torch.int64)
    _exchanged.append(largest)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX, group=_control_group())
    return tuple(largest.tolist())


def average_over_processes(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor by its mean over all processes, bit-identical in all.

    Every process must call this, with tensors of the same shapes, type and device.
    """
    if world_size() == 1 or not tensors:
        return
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    _exchanged.append(joined)
    torch.distributed.all_reduce(joined)
    joined /= world_size()
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, mean in zip(tensors, joined.split(sizes), strict=True):
        tensor.copy_(mean.view_as(tensor))


def gather_objects(value: object) -> list[object]:
    """The values of all processes, in rank order, in every process. Every process must call
    this."""
    if world_size() == 1:
        return [value]
    own = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
    (longest,) = max_over_processes(len(own))
    padded = torch.nn.functional.pad(own, (0, longest - len(own)))  # a pickle ends by itself
    gathered = [torch.empty_like(padded) for _ in range(world_size())]
    _exchanged.extend((padded, *gathered))
    torch.distributed.all_gather(gathered, padded, group=_control_group())
    return [pickle.loads(one.numpy().tobytes()) for one in gathered]


@contextlib.contextmanager
def exit_together_on_error() -> Iterator[None]:
    """A block that every process executes: if it fails in one of them, all of them end.

    A single process raises its error unchanged. Of several processes, the main one prints the
    first reason (see reason_in_one_line) and each raises SystemExit with code 2. Defects keep
    their traceback.
    """
    own_reason = None
    try:
        yield
    except Exception as error:
        own_reason = reason_in_one_line(error)
        if world_size() == 1 or own_reason is None:
            raise
    if world_size() == 1:
        return
    reasons = [reason for reason in gather_objects(own_reason) if reason is not None]
    if reasons:
        if is_main():
            print(f"error: {reasons[0]}", file=sys.stderr, flush=True)
        # The launcher ends all processes with the first that ends: wait until the reason is out.
        gather_objects(None)
        raise SystemExit(EXIT_INPUT_ERROR)


def check_agreement(settings: Mapping[str, object]) -> None:
    """Check that all processes have the same settings. Every process must call this.

    Raises: InputError in every process, naming the first setting that differs from the main
        process's.
    """
    everyone = gather_objects(dict(settings))
    ours = everyone[0]
    for other, theirs in enumerate(everyone):
        for name in ours.keys() | theirs.keys():
            # By representation, not by value: nan does not equal itself.
            if repr(ours.get(name)) != repr(theirs.get(name)):
                raise InputError(
                    f"process {other} was started with {name} {theirs.get(name)!r}, process 0 with "
                    f"{ours.get(name)!r}; give all of them the same command line"
                )

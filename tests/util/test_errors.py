"""Errors of the request, the data and the machine: one line, exit code 2."""

import errno

import numpy as np
import pytest
import torch

from util.errors import InputError, explain_out_of_memory, is_out_of_memory, run_command

OUT_OF_MEMORY_ERRORS = [
    MemoryError(),
    MemoryError("std::bad_alloc"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("Storage size calculation overflowed with sizes=[1, 3, 1000000000, 1333333333]"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 99 bytes."
    ),
    RuntimeError("CUDA error: out of memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("can't start new thread"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHER_ERRORS = [
    RuntimeError("shapes differ"),
    ValueError("out of memory"),
    OSError(errno.ENOSPC, "No space left"),
    KeyError("bad_alloc"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY_ERRORS, ids=str)
def test_too_little_memory_ends_a_program_with_one_line(error, capsys):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("error: this machine has too little memory (") and err.count("\n") == 1


@pytest.mark.parametrize("error", OUT_OF_MEMORY_ERRORS, ids=str)
def test_too_little_memory_is_explained_with_a_remedy(error):
    with (
        pytest.raises(InputError, match=r"^cpu has too little memory for a batch; take less$"),
        explain_out_of_memory("cpu", "take less", "a batch"),
    ):
        raise error


@pytest.mark.parametrize("error", OTHER_ERRORS, ids=str)
def test_other_errors_are_not_taken_for_too_little_memory(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as raised, explain_out_of_memory("cpu", "take less"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(2**60),
        lambda: torch.empty(2**40, 2**40),
        lambda: np.empty(2**55, np.uint8),
    ],
)
def test_real_errors_of_torch_and_numpy_are_recognised(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        allocate()
    assert is_out_of_memory(raised.value)


def test_a_defect_keeps_its_traceback_and_an_interrupt_has_its_code(capsys):
    def fail() -> None:
        raise KeyError("defect")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyError):
        run_command(fail)
    with pytest.raises(SystemExit) as ended:
        run_command(interrupt)
    assert ended.value.code == 130 and capsys.readouterr().err == "stopped by the user\n"

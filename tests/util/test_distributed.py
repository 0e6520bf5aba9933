"""One process or several: what the environment must hold, agreement, errors that end all."""

import multiprocessing
import os
import re

import pytest
import torch
from training_processes import free_port

from util.device import select_device
from util.distributed import (
    average_over_processes,
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
from util.errors import InputError


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("WORLD_SIZE", "two", world_size),
        ("WORLD_SIZE", "0", world_size),
        ("WORLD_SIZE", "1.5", world_size),
        ("WORLD_SIZE", "", world_size),
        ("WORLD_SIZE", "9" * 5000, world_size),
        ("RANK", "first", rank),
        ("RANK", "-1", rank),
        ("RANK", "1", rank),  # of one process
        ("LOCAL_RANK", "x", is_first_of_machine),
        ("LOCAL_RANK", "-1", select_device),
        ("LOCAL_WORLD_SIZE", "0", default_workers),
    ],
)
def test_a_wrong_number_in_the_environment_is_refused_by_name(monkeypatch, name, value, read):
    monkeypatch.setenv(name, value)
    message = f"^{name} is .* in the environment; it must be a whole number of at least .*torchrun"
    with pytest.raises(InputError, match=message):
        read()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RANK": None}, "RANK is not set"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not set"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": None}, "MASTER_PORT is not set"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT is '65536'"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT is '0'"),
    ],
)
def test_a_wrong_address_of_the_process_group_is_refused_by_name(monkeypatch, changed, message):
    environment = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    for name, value in (environment | changed).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=re.escape(message)), process_group(torch.device("cpu")):
        pass


def test_a_single_process_is_the_main_one_and_needs_no_group(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with process_group(torch.device("cpu")):
        assert (rank(), world_size(), is_main(), is_first_of_machine()) == (0, 1, True, True)
        assert max_over_processes(3, -4) == (3, -4) and gather_objects("a") == ["a"]
        check_agreement({"seed": 1})
        with pytest.raises(InputError, match="wrong"), exit_together_on_error():
            raise InputError("wrong")


def _exchange(number: int, port: int, results: multiprocessing.Queue) -> None:
    """What each of two processes does; puts its number and what it received or met."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": "2", "LOCAL_RANK": str(number)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        tensors = [torch.full((2,), float(number)), torch.tensor([[4.0 * number]])]
        average_over_processes(tensors)
        maxima, gathered = max_over_processes(number, -number), gather_objects(f"rank {number}")
        check_agreement({"nan": float("nan")})
        try:
            check_agreement({"seed": number})
            disagreement = ""
        except InputError as error:
            disagreement = str(error)
        try:
            with exit_together_on_error():
                if number == 1:
                    raise InputError("wrong data")
            code = 0
        except SystemExit as end:
            code = end.code
    means = [tensor.flatten().tolist() for tensor in tensors]
    results.put((number, maxima, gathered, means, disagreement, code))


def test_two_processes_exchange_values_and_end_together():
    context = multiprocessing.get_context("spawn")
    results, port = context.Queue(), free_port()
    processes = [
        context.Process(target=_exchange, args=(number, port, results)) for number in range(2)
    ]
    for process in processes:
        process.start()
    received = sorted(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    for number, (own, maxima, gathered, means, disagreement, code) in enumerate(received):
        assert own == number
        assert (maxima, gathered) == ((1, 0), ["rank 0", "rank 1"])
        assert means == [[0.5, 0.5], [2.0]]
        assert "process 1 was started with seed 1, process 0 with 0" in disagreement
        assert code == 2

"""Devices by name, and the memory of a process."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from util import device
from util.errors import InputError


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "", "cuda:99", "xla", "vulkan"])
def test_a_device_that_is_none_or_not_available_is_refused_by_name(name):
    with pytest.raises(InputError, match=f"--device {name}: "):
        device.select_device(name)


def test_auto_is_cuda_if_there_is_a_gpu():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert device.select_device().type == expected and device.select_device("cpu").type == "cpu"


def test_peak_memory_is_at_least_the_current_memory():
    assert device.peak_memory_mb(torch.device("cpu")) >= device.resident_mb() * 0.99 > 10


def test_a_system_without_the_resource_module_reports_no_memory(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    try:
        importlib.reload(device)
        monkeypatch.setattr(device, "_PROCESS_STATUS", Path("/nowhere"))
        assert device.peak_resident_mb() == 0 and device.resident_mb() == 0
    finally:
        monkeypatch.undo()
        importlib.reload(device)


def test_arithmetic_on_other_devices_than_cuda_changes_no_switch():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with device.cuda_arithmetic(torch.device("cpu"), tf32=True, benchmark=True):
        assert (
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
        ) == before

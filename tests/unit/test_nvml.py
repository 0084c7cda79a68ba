"""NVML in all its moods, scripted: whatever it does is a figure or None, and never an exception."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loadtune.measure import accelerator
from loadtune.record.machine import Devices
from loadtune.run.gpu import DeviceMemory, read_devices

GIB = 1 << 30
CALLS = ("nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByUUID",
         "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo")  # fmt: skip
FIRST, SECOND = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c0d1e-0000-4106-c12f-20bd9faed9f7"
SLICE = "MIG-5c2a0d1e-1111-4106-c12f-20bd9faed9f8"


class NVMLError(Exception):
    """As nvidia-ml-py raises, a class for each code."""


class Nvml:
    """Stands in for the pynvml module: two devices in PCI order, and a slice of the second."""

    def __init__(self, *, fails: dict[str, Exception] | None = None) -> None:
        self.fails = fails or {}
        self.used = {FIRST: 1 * GIB, SECOND: 2 * GIB, SLICE: 3 * GIB}

    def _call(self, name: str) -> None:
        if name in self.fails:
            raise self.fails[name]

    def nvmlInit(self) -> None:
        self._call("nvmlInit")

    def nvmlDeviceGetCount(self) -> int:
        self._call("nvmlDeviceGetCount")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        self._call("nvmlDeviceGetHandleByIndex")
        return (FIRST, SECOND)[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self._call("nvmlDeviceGetHandleByUUID")
        if uuid not in self.used:
            raise NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:
        self._call("nvmlDeviceGetName")
        return f"NVIDIA {handle[:8]}"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        self._call("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(used=self.used[handle], total=80 * GIB)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error",
    [NVMLError("Driver Not Loaded"), AttributeError("no such function"), OSError("libnvidia-ml.so.1"), TypeError("?")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_call_fails_gives_none_or_a_reason(call: str, error: Exception) -> None:
    """Each call, failing in each way that drivers and old libraries do: memory is known or None, devices too."""
    nvml = Nvml(fails={call: error})
    used = DeviceMemory(FIRST, nvml).used_bytes()
    needed = ("nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo")
    assert used == (None if call in needed else 1 * GIB)
    devices = read_devices(nvml)
    if call in ("nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo"):
        assert len(devices.found) == 2
        assert (devices.found[0].used_bytes is None) == (call == "nvmlDeviceGetMemoryInfo")
    else:
        assert devices == Devices(missing=f"NVML does not answer ({error})")


def test_a_device_that_is_lost_in_mid_sweep_is_none_from_then_on() -> None:
    """A driver that stops answering between two readings gives None for the second, and a figure when it is back."""
    nvml = Nvml()
    memory = DeviceMemory(SECOND, nvml)
    assert memory.used_bytes() == 2 * GIB
    nvml.fails["nvmlDeviceGetMemoryInfo"] = NVMLError("GPU is lost")
    assert memory.used_bytes() is None
    nvml.fails.clear()
    assert memory.used_bytes() == 2 * GIB


@pytest.mark.parametrize("answer", [SimpleNamespace(), SimpleNamespace(used=None), SimpleNamespace(used="N/A")])
def test_an_answer_without_a_number_is_none(answer: object) -> None:
    """Memory that is shared with the host, or words in place of a number, are no figure."""
    nvml = Nvml()
    nvml.nvmlDeviceGetMemoryInfo = lambda _: answer  # type: ignore[method-assign]
    assert DeviceMemory(FIRST, nvml).used_bytes() is None


def test_no_package_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pynvml cannot be imported, device memory is None."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert DeviceMemory(FIRST).used_bytes() is None


@pytest.mark.parametrize("uuid", ["GPU-8932f937", "", "0", "MIG-GPU-8932f937/1/0", "gpu-\x00"])
def test_a_name_that_nvml_does_not_know_is_none(uuid: str) -> None:
    """Short and old forms of UUIDs, as CUDA_VISIBLE_DEVICES takes them, name nothing to NVML."""
    assert DeviceMemory(uuid, Nvml()).used_bytes() is None


def test_a_slice_of_a_device_is_found_under_its_own_name() -> None:
    """Torch gives a MIG slice's UUID like any other; NVML knows it with MIG- in front, and reads the slice's memory."""
    assert DeviceMemory(SLICE.replace("MIG-", "GPU-"), Nvml()).used_bytes() == 3 * GIB
    assert DeviceMemory(SLICE, Nvml()).used_bytes() == 3 * GIB


@pytest.mark.parametrize("visible", ["1,0", SECOND[:12], "0,1"])
def test_the_device_is_the_one_that_torch_uses_in_whatever_order(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuda:0 of a process that sees the devices in another order is read by its UUID, not as NVML's first."""
    order = (FIRST, SECOND) if visible == "0,1" else (SECOND, FIRST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1 if "-" in visible else 2)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(name="NVIDIA", uuid=order[index].removeprefix("GPU-"), total_memory=80 * GIB),
    )
    found = accelerator.find("auto")
    assert found is not None
    assert found.uuid == order[0]
    assert DeviceMemory(found.uuid, Nvml()).used_bytes() == (1 if visible == "0,1" else 2) * GIB

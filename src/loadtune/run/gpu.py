"""Devices and their memory by NVML. Every call is optional: no driver, no permission or no such device gives None."""

from __future__ import annotations

import importlib
from typing import Any

from loadtune.record.machine import Device, Devices


class DeviceMemory:
    """Memory in use on one device, by whomever.

    The device is found by UUID, since NVML and CUDA do not number devices alike.

    Args:
        uuid: As torch and NVML write it, ``GPU-...``; None is no device.
        nvml: The ``pynvml`` module, or what stands in for it.
    """

    def __init__(self, uuid: str | None, nvml: Any = None) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        if uuid is None:
            return
        try:
            self._nvml = nvml if nvml is not None else importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = self._handle_of(uuid)
        except Exception:  # noqa: BLE001 - NVML raises a class for each of its error codes, and ImportError without it
            self._handle = None

    def _handle_of(self, uuid: str) -> Any:
        """Return the handle of a device, or of a slice of one: torch names both alike, NVML writes MIG for slices."""
        try:
            return self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        except Exception:
            if not uuid.startswith("GPU-"):
                raise
            return self._nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid.removeprefix('GPU-')}")

    def used_bytes(self) -> int | None:
        """Return what is used on the device by all processes, or None when it cannot be read."""
        if self._handle is None:
            return None
        try:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except Exception:  # noqa: BLE001 - MIG without permission, a lost device
            return None


def read_devices(nvml: Any = None) -> Devices:
    """Return the accelerators that NVML knows, or why it knows none.

    Args:
        nvml: The ``pynvml`` module, or what stands in for it.
    """
    try:
        nvml = nvml if nvml is not None else importlib.import_module("pynvml")
    except ImportError:
        return Devices(missing="the package nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
        found = tuple(_device(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except Exception as error:  # noqa: BLE001 - NVML raises a class for each of its error codes
        return Devices(missing=f"NVML does not answer ({error})")
    return Devices(found=found, missing=None if found else "the driver knows of no device")


def _device(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except Exception:  # noqa: BLE001 - MIG without permission, memory shared with the host
        memory = None
    return Device(
        name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        total_bytes=None if memory is None else int(memory.total),
        used_bytes=None if memory is None else int(memory.used),
    )

"""The limits that a batch size keeps to: those of a sweep, by the same words."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from factories import make_probe
from loadtune.describe.plan import Limits
from loadtune.errors import UsageError
from loadtune.record.limits import InForce
from loadtune.run import memory, step_bounds
from loadtune.run.step_bounds import bounds
from loadtune.units import parse_size

MIB, GIB = 2**20, 2**30


def in_force(source: str, amount: int) -> InForce:
    return InForce(amount=amount, source=source)


@pytest.mark.parametrize(("asked", "given"), [("50%", 40 * GIB), ("8GiB", 8 * GIB), ("200GiB", 80 * GIB)])
def test_a_limit_of_the_device_is_never_more_than_the_device(asked: str, given: int) -> None:
    """A share is of the device's 80 GiB, a size is itself, and one above the device is lowered to it."""
    probe = replace(make_probe(), accelerator="a device", accelerator_memory_bytes=80 * GIB)
    found = {one.resource: one for one in bounds(Limits(gpu_memory=parse_size(asked)), probe, environ={})}
    assert found["device"].limit_bytes == given


def test_a_share_of_host_memory_is_of_the_limit_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of 512 MiB that a job may have is 128 MiB, though others leave 200 MiB free at the moment."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=200 * MIB, total=64 * GIB))
    monkeypatch.setattr(step_bounds, "memory_limits", lambda *_, **__: [in_force("physical memory", 512 * MIB)])
    monkeypatch.setattr(memory, "read_process", lambda _: None)
    (host, *_) = step_bounds.bounds(Limits(host_memory=parse_size("25%")), make_probe(), environ={})
    assert (host.limit_bytes, host.source) == (128 * MIB, "--host-memory")


def test_a_limit_of_no_device_is_refused() -> None:
    """Without an accelerator --gpu-memory is a sentence that says so."""
    with pytest.raises(UsageError, match="needs an accelerator"):
        bounds(Limits(gpu_memory=parse_size("1GiB")), make_probe(), environ={})

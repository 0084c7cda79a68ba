"""The largest batch on a real device: within a part of its memory, found by the same few probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtune.describe.plan import Consumer, Limits
from loadtune.record.batch_size import BatchSizePlan
from loadtune.run.batch_size import HostStepper, find_batch_size, setup_of
from loadtune.units import Size

pytestmark = pytest.mark.gpu
TARGETS = Path(__file__).parent.parent / "faults" / "step_targets.py"
GIB = 2**30


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_largest_within_a_part_of_the_device(amp: str) -> None:
    """ResNet-18 fills 8 GiB of the device to 95 % or more and not beyond, in ten probes, with and without bf16."""
    consumer = Consumer(step="model", device="cuda:0", amp=amp)  # type: ignore[arg-type]
    plan = BatchSizePlan(target="cifar10", consumer=consumer, find_best=False)
    with HostStepper(setup_of(plan, arguments={}, pickle_path=None)) as host:
        result = find_batch_size(plan, Limits(gpu_memory=Size(bytes=8 * GIB)), host, environ={})
    verified = next(probe for probe in result.probes if probe.batch_size == result.largest)
    assert 0.95 * 8 * GIB < verified.used_bytes["device"] <= 8 * GIB
    assert len(result.probes) <= 10

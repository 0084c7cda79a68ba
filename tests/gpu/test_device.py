"""What needs a real device: copies, pinned memory, and device memory by NVML beside torch's own figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtune.describe.plan import Consumer, SweepPlan
from loadtune.describe.space import SearchSpace
from loadtune.run.sweep import run_sweep

pytestmark = pytest.mark.gpu
TARGETS = Path(__file__).parent.parent / "integration" / "targets.py"


def test_pinning_is_swept_and_device_memory_is_seen() -> None:
    """With --device cuda both values of pin_memory are measured, and NVML sees at least what torch reserved."""
    plan = SweepPlan(
        target=f"{TARGETS}:large",
        space=SearchSpace.parse(batch_size=32, num_workers=2),
        consumer=Consumer(device="cuda:0"),
        time_budget_seconds=30.0,
    )
    result = run_sweep(plan)
    measured = [trial for trial in result.trials if trial.status == "ok"]
    assert {trial.pin_memory for trial in measured} == {False, True}
    assert all((trial.gpu_peak_bytes or 0) > 32 << 20 for trial in measured)
    assert result.probe.accelerator_uuid is not None
    assert json.dumps(result.environment.accelerators) != "[]"

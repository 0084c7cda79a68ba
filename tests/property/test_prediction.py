"""The pipeline model takes whatever a sweep may have measured."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from factories import make_environment, make_probe, make_record
from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import Consumer, SweepPlan
from loadtune.judge.prediction import predict

CONFIGS = st.builds(
    LoaderConfig.normalised,
    batch_size=st.sampled_from([None, 1, 64, 4096]),
    num_workers=st.sampled_from([0, 1, 2, 64]),
    prefetch_factor=st.sampled_from([1, 2, 16]),
    in_order=st.booleans(),
    pin_memory=st.booleans(),
)
RATES = st.floats(1e-3, 1e9)
SECONDS = st.none() | st.floats(0, 100)


@settings(max_examples=40, deadline=None)
@given(
    measured=st.dictionaries(CONFIGS, RATES, max_size=8),
    wall=SECONDS,
    cpu=SECONDS,
    tensors=st.none() | st.floats(0, 1e4),
    step=st.sampled_from([0.0, 1e-6, 10.0]),
    cpus=st.floats(0.01, 256),
    accelerator=st.sampled_from([None, "a device"]),
)
def test_any_sweep_has_a_model_or_a_reason(
    *,
    measured: dict[LoaderConfig, float],
    wall: float | None,
    cpu: float | None,
    tensors: float | None,
    step: float,
    cpus: float,
    accelerator: str | None,
) -> None:
    """Whatever was measured, each configuration has a positive rate within its interval, or there is a reason."""
    found = predict(
        [make_record(config, rate, order=order) for order, (config, rate) in enumerate(measured.items())],
        tuple(measured),
        probe=make_probe(
            seconds_per_sample=wall, cpu_seconds_per_sample=cpu, tensors_per_batch=tensors, accelerator=accelerator
        ),
        plan=SweepPlan(target="x", consumer=Consumer(step_seconds=step)),
        environment=make_environment(usable_cpus=cpus),
        pick=next(iter(measured), None),
    )
    assert bool(found.rates) == (found.model.note is None)
    for rate in found.rates.values():
        assert 0 < rate.low <= rate.estimate <= rate.high < math.inf

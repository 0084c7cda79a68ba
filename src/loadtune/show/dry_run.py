"""What a sweep would do, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from loadtune.describe.config import LoaderConfig
from loadtune.describe.plan import SweepPlan
from loadtune.run.dry_run import DryRun
from loadtune.show.words import plain
from loadtune.units import format_bytes, format_number, format_seconds

FIRST = 8
"""Configurations that are named of those tried first."""
PHASES = {"screen": "first trials", "race": "in races", "verify": "to verify", "threads": "on threads"}


def lines(found: DryRun) -> Iterator[str]:
    """Yield the plan, what is refused, and what is expected, line by line."""
    header, expected = found.header, found.rehearsal
    probe, machine = header.probe, header.environment
    samples = f", {format_number(probe.dataset_samples)} samples" if probe.dataset_samples is not None else ""
    yield plain(
        f"{probe.name or header.target}{samples} · {format_number(machine.usable_cpus)} usable cores, "
        f"{format_bytes(machine.host_memory_limit_bytes)} of memory"
    )
    yield ""
    yield from _axes(found.resolved)
    yield f"search: {found.resolved.search}, {format_seconds(found.resolved.time_budget_seconds)} at most"
    yield f"configurations: {expected.configs:,}, {len(expected.refused):,} of them refused"
    yield from _refusals(found)
    yield f"tried first: {', '.join(config.config_id for config in expected.first[:FIRST])}"
    counts = ", ".join(f"{count} {PHASES[phase]}" for phase, count in expected.trials.items())
    yield f"trials to expect: {sum(expected.trials.values())} ({counts})"
    yield f"time to expect: {format_seconds(expected.seconds)}, start-up and the making of data not counted"
    yield ""
    yield "Nothing was measured and nothing was written; without --dry-run the sweep begins."


def _axes(plan: SweepPlan) -> Iterator[str]:
    space = plan.space
    names = {True: "on", False: "off", None: "Python's own"}
    for axis in LoaderConfig.__dataclass_fields__:
        values = getattr(space, axis)
        words = [names[one] if one is None or isinstance(one, bool) else str(one) for one in values]
        yield f"{axis}: {', '.join(words)}"


def _refusals(found: DryRun) -> Iterator[str]:
    """Yield a line for each kind of refusal, with one reason of it in full."""
    refused = found.rehearsal.refused
    for kind, count in Counter(reason.kind for reason in refused.values()).items():
        config, reason = next((one, why) for one, why in refused.items() if why.kind == kind)
        yield plain(f"  {kind}: {count}, such as {config.config_id}: {reason.reason}")

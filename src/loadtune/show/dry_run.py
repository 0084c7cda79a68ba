"""What a sweep would do, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from loadtune.describe.config import LoaderConfig
from loadtune.judge.rehearsal import Rehearsal
from loadtune.run.dry_run import DryRun
from loadtune.show.summary import cores_words, memory_words
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
        f"{probe.name or header.target}{samples} · {cores_words(machine)}, {memory_words(machine, header.limits)}"
    )
    yield ""
    yield from _axes(found)
    yield f"search: {found.resolved.search}, {format_seconds(found.resolved.time_budget_seconds)} at most"
    grows = ", more where the sweep goes on to more workers" if found.workers_open_ended else ""
    yield f"configurations: {expected.configs:,}, {len(expected.refused):,} of them refused{grows}"
    yield from _refusals(found)
    yield from _over_limit(found)
    yield _first(expected)
    counts = ", ".join(f"{count} {PHASES[phase]}" for phase, count in expected.trials.items())
    yield f"trials to expect: {sum(expected.trials.values())} ({counts})"
    yield f"time to expect: {format_seconds(expected.seconds)}, start-up and the making of data not counted"
    yield ""
    yield "Nothing was measured and nothing was written; without --dry-run the sweep begins."


def _first(expected: Rehearsal) -> str:
    """Return what is tried first: what is sure, else what the first look at the data set lets expect."""
    named = expected.first[: min(FIRST, expected.settled or FIRST)]
    names = ", ".join(config.config_id for config in named)
    if not expected.settled:
        return f"tried first, by the first look at the data set, which differs from time to time: {names}"
    then = "; what comes next depends on their rates" if len(expected.first) > expected.settled else ""
    return f"tried first: {names}{then}"


def _over_limit(found: DryRun) -> Iterator[str]:
    """Yield what can run and cannot be chosen, for the memory that it needs in any case."""
    over, limit = found.rehearsal.over_limit, found.header.limits.host_memory_bytes
    if over:
        yield (
            f"  over the limit of {format_bytes(limit)} of host memory: {len(over):,}, which need "
            f"{format_bytes(min(over.values()))} or more before any worker's own, and cannot be chosen"
        )


def _axes(found: DryRun) -> Iterator[str]:
    space = found.resolved.space
    names = {True: "on", False: "off", None: "Python's own"}
    for axis in LoaderConfig.__dataclass_fields__:
        values = getattr(space, axis)
        words = [names[one] if one is None or isinstance(one, bool) else str(one) for one in values]
        more = ", and more while more workers help" if axis == "num_workers" and found.workers_open_ended else ""
        yield f"{axis}: {', '.join(words)}{more}"


def _refusals(found: DryRun) -> Iterator[str]:
    """Yield a line for each kind of refusal, with one reason of it in full."""
    refused = found.rehearsal.refused
    for kind, count in Counter(reason.kind for reason in refused.values()).items():
        config, reason = next((one, why) for one, why in refused.items() if why.kind == kind)
        yield plain(f"  {kind}: {count}, such as {config.config_id}: {reason.reason}")

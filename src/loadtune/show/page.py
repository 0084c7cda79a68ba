"""The report: one HTML file, complete without scripts and without a request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import msgspec

from loadtune.errors import LoadtuneError
from loadtune.judge.choose import GIVE_AWAY
from loadtune.judge.memory import needed_bytes
from loadtune.measure.lifeline import die_with_parent
from loadtune.record.results import CSV_COLUMNS, Pick, RunResult, TrialResult
from loadtune.show import article, leaders, summary
from loadtune.show.charts.common import DataTable
from loadtune.show.epochs import epoch_rate, epoch_time
from loadtune.show.figures import figures
from loadtune.show.linked import links
from loadtune.show.predicted import model_sentences, predicted_memory, predicted_rate
from loadtune.show.tables import cell_text
from loadtune.show.words import config_words, loader_code, other_words, plain
from loadtune.units import (
    format_bytes,
    format_count,
    format_cpus,
    format_estimate,
    format_seconds,
    format_share,
)


def render(result: RunResult, *, interactive: bool = False) -> str:
    """Return the report of a run as one HTML file; sections without data are left out.

    Args:
        result: The run.
        interactive: With a script in the page: tooltips, sorting, a copy button, and a selection linked over heat map,
            Pareto chart and table. All that the page says is there without it.
    """
    import jinja2  # noqa: PLC0415 - loaded when a page is made: the process that measures stays small
    import markupsafe  # noqa: PLC0415 - same

    folder = files("loadtune.show").joinpath("templates")
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    script = folder.joinpath("report.js").read_text(encoding="utf-8") if interactive else ""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["drawn"] = markupsafe.Markup  # a chart is made here, from numbers
    template = environment.from_string(folder.joinpath("report.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        style=markupsafe.Markup(style),  # noqa: S704 - a file of this package
        style_hash=_content_hash(style),
        script=markupsafe.Markup(script),  # noqa: S704 - same
        script_hash=_content_hash(script),
        links=links(result) if interactive else None,
        figures=figures(result),
        **_context(result),
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def render_apart(result: RunResult, *, interactive: bool = False) -> str:
    """Return what ``render`` does, made in a process of its own.

    Drawing charts takes more than 100 MiB that a process never gives back: too much to leave in a training script, or
    beside what is being measured.

    Raises:
        LoadtuneError: The page could not be made.
    """
    made = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "loadtune.show.page", str(os.getpid()), *(["interactive"] if interactive else [])],
        input=msgspec.msgpack.encode(result),
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise LoadtuneError("the report could not be made", hint=made.stderr.decode(errors="replace")[-2000:])
    return made.stdout.decode()


def _content_hash(text: str) -> str:
    """Return the hash by which the page's policy admits its own style and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_STANDINGS = {
    "none": "Nothing to use",
    "kept": "Keep",
    "told": "Use",
    "unconfirmed": "Best guess, too few fresh trials to confirm its gain",
    "guess": "Best guess, no gain beyond the noise",
}


def _context(result: RunResult) -> dict[str, Any]:
    best = result.best
    chosen = result.trial(best.config_id) if best is not None else None
    # Key figures say what is used of the limits, and the rate over an epoch, where there is a pick.
    verdict = summary.verdict_sentences(result, with_epoch=False)
    sentences = verdict if best is not None else summary.limit_sentences(result)
    return {
        "name": plain(result.probe.name or result.target),
        "workload": summary.workload_sentence(result),
        "headline": config_words(best.config) if best is not None else summary.headline(result),
        "standing": _STANDINGS[summary.standing(result)],
        "has_pick": best is not None,
        "is_guess": summary.standing(result) in ("guess", "unconfirmed"),
        "key_figures": tuple(_key_figures(result)),
        "sentences": sentences,
        "code": loader_code(best.config, result.probe.kept_arguments) if best is not None else None,
        "leaders": _leaders(result),
        "leaders_notes": leaders.notes(result),
        "models_heading": article.HEADING,
        "models_explanation": article.EXPLANATION,
        "document": article.document_rows(result, chosen) if chosen is not None else (),
        "model": plain(" ".join(model_sentences(result))),
        "findings": tuple(
            (finding.severity, plain(finding.code), plain(finding.message), plain(finding.advice))
            for finding in result.findings
        ),
        "trials": _trials(result),
        "raw": DataTable(header=CSV_COLUMNS, rows=tuple(_raw_row(trial) for trial in result.trials)),
        "cost": summary.cost_sentence(result),
        "command": shlex.join(plain(word) for word in result.command),
        "facts": tuple((name, plain(value)) for name, value in _facts(result) if value),
    }


def _key_figures(result: RunResult) -> Iterator[tuple[str, str, str]]:
    """Yield the numbers of the first glance: figure, unit, what it is."""
    best = result.best
    if best is None:
        return
    yield from _rate_figures(result, best)
    for name, used, limit in (
        ("host", summary.host_bytes(result), result.limits.host_memory_bytes),
        ("device", best.gpu_peak_bytes, result.limits.gpu_memory_bytes),
    ):
        if used is not None:
            number, unit = format_bytes(used).split(" ")
            allowed = f", {format_share(used / limit, 0)} of the {format_bytes(limit)} allowed" if limit else ""
            yield number, unit, f"{name} memory needed{allowed}"


def _rate_figures(result: RunResult, best: Pick) -> Iterator[tuple[str, str, str]]:
    """Yield the steady rate and the gain, with the rates over an epoch that the gain is of."""
    rate, row, baseline = best.samples_per_second, result.trial(best.config_id), summary.epoch_baseline(result)
    # Ends of a wide interval stand small behind the figure.
    number, wide, interval = format_estimate(rate.estimate, rate.low, rate.high, unit="").partition(" (")
    what = f"steady rate, 95 % interval{summary.again_words(result)}"
    yield number, f"{wide.strip()}{interval} samples/s".strip(), what
    if row is not None and row.epoch_samples_per_second is not None:
        number, unit = epoch_rate(row).split(" ")
        yield number, unit, f"over an epoch of {epoch_time(row)}, start-up and tail included"
    gain = summary.gain_number(result)
    if gain is not None and result.baseline is not None:
        number, _, interval = gain.partition(" ×")
        whose = summary.baseline_words(result.baseline.config, is_given=result.probe.baseline_is_given)
        theirs = f": {epoch_rate(baseline)}" if baseline is not None else ""
        what = f"the rate{summary.over_an_epoch(result)} of {whose}{theirs}"
        yield number, f"×{interval}" if " ×" in gain else "", what


def _leaders(result: RunResult) -> DataTable:
    # What a row is comes early: a narrow screen shows the first columns.
    header = ("configuration", "what it is", "steady samples/s (95 %)", "epoch", "host memory")
    rows = (
        (
            leaders.row_words(row),
            ", ".join(leaders.marks(result, row)),
            leaders.trial_rate(row),
            epoch_time(row),
            format_bytes(needed_bytes(row)),
        )
        for row in leaders.leaders(result)
    )
    return DataTable(header=header, rows=tuple(rows))


def _trials(result: RunResult) -> DataTable:
    header = (
        "batch", "workers", "settings", "status", "what it is, or why there is no number", "steady samples/s (95 %)",
        "the model's (95 %)", "first batch", "epoch", "wait p95", "host memory", "host, by the model",
        "shared of it", "shared, by the model", "pinned, by the model", "device memory", "device, by the model",
    )  # fmt: skip
    return _without_empty_columns(
        DataTable(header=header, rows=tuple(_trial_row(result, row) for row in result.trials))
    )


def _without_empty_columns(table: DataTable) -> DataTable:
    """Return the table less the columns that say nothing, such as device memory on a machine without a device."""
    said = [any(row[column] not in ("", "–") for row in table.rows) for column in range(len(table.header))]

    def kept(cells: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cell for cell, says in zip(cells, said, strict=True) if says)

    return DataTable(header=kept(table.header), rows=tuple(map(kept, table.rows)))


def _trial_row(result: RunResult, trial: TrialResult) -> tuple[str, ...]:
    # The status column has the kind already where they are the same word.
    kind = trial.failure_kind if trial.failure_kind != trial.status else None
    failure = ": ".join(plain(part) for part in (kind, trial.failure_reason) if part)
    if trial.failure_advice:
        failure += f" → {plain(trial.failure_advice)}"
    return (
        "own" if trial.batch_size is None else format_count(trial.batch_size),
        format_count(trial.num_workers),
        other_words(trial.config),
        summary.OUTCOMES[trial.status],
        "; ".join(part for part in (", ".join(leaders.marks(result, trial)), failure) if part),
        leaders.trial_rate(trial),
        predicted_rate(trial),
        format_seconds(trial.first_batch_seconds),
        epoch_time(trial),
        format_seconds(trial.batch_wait_p95_seconds),
        format_bytes(needed_bytes(trial)),
        predicted_memory(trial),
        format_bytes(trial.shm_peak_bytes),
        format_bytes(trial.predicted_shm_peak_bytes),
        format_bytes(trial.predicted_pinned_bytes or None),
        format_bytes(trial.gpu_peak_bytes),
        format_bytes(trial.predicted_gpu_peak_bytes),
    )


def _raw_row(trial: TrialResult) -> tuple[str, ...]:
    return tuple(cell_text(getattr(trial, name)) for name in CSV_COLUMNS)


def _facts(result: RunResult) -> Iterator[tuple[str, str]]:
    """Yield what a second run needs to be held against this one."""
    plan, machine, probe = result.plan, result.environment, result.probe
    yield "target", result.target
    yield "started", result.started_at
    yield "seed", str(plan.seed)
    yield "plan", f"{plan.digest()} ({plan.search} search, {format_seconds(plan.time_budget_seconds)} at most)"
    yield "consumer", f"batches go to {plan.consumer.device}; the step is {plan.consumer.step_words}"
    yield "page cache", summary.cache_words(result)
    yield "precision asked for", f"±{format_share(plan.measurement.precision)}"
    wide = format_share(GIVE_AWAY * plan.tie)
    yield "counted as tied", f"within {format_share(plan.tie)}, or not told apart within {wide}"
    kept = ", ".join(probe.kept_arguments)
    yield "kept of what was given", kept
    trials = "forked from one process" if probe.isolation == "fork" else "started afresh"
    yield "each trial's process", trials + (f": {probe.isolation_reason}" if probe.isolation_reason else "")
    yield "machine", f"{machine.hostname}, {machine.platform}"
    yield (
        "processor",
        f"{machine.cpu_model}; {format_cpus(machine.usable_cpus)} usable cores ({machine.usable_cpus_source})",
    )
    yield "memory limit", f"{format_bytes(machine.host_memory_limit_bytes)} ({machine.host_memory_limit_source})"
    yield "shared memory", f"{format_bytes(machine.shm_free_bytes)} free of {format_bytes(machine.shm_total_bytes)}"
    yield "accelerator", probe.accelerator or ", ".join(machine.accelerators) or "none"
    packages = {**machine.packages, **({"torch": probe.torch_version} if probe.torch_version else {})}
    versions = [f"loadtune {machine.loadtune_version}", f"Python {machine.python_version}"]
    yield "versions", ", ".join(versions + [f"{name} {version}" for name, version in sorted(packages.items())])


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    run = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=RunResult)
    sys.stdout.buffer.write(render(run, interactive="interactive" in sys.argv[2:]).encode())

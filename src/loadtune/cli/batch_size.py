"""``loadtune batch-size``: the largest and the best batch for a training step."""

from __future__ import annotations

from typing import Annotated, Literal

from loadtune.cli.options import (
    ConsumerOptions,
    LimitOptions,
    key_values,
    maybe,
    option,
    parsed,
    positive,
    positive_duration,
    share,
    whole,
)
from loadtune.units import parse_noise_scale

USAGE = "batch-size TARGET --step module:callable [OPTIONS]"
HELP = (
    "Finds the largest batch that a training step can take within the memory limits, and the best one: the smallest "
    "that is as fast per sample as the fastest. Each batch size is run in a process of its own, for several optimiser "
    "steps, on the largest samples, and the size reported is one that ran."
)
NOTES = (
    "A step is a function of a batch, or a function without parameters that makes one. 'model' is the model of the "
    "target, which cifar10 and images have (ResNet-18). --noise-scale adds the goodput, the rate with each sample "
    "counted by what it is worth for the training, and changes neither result. Exit codes: 0 done, 1 a fault of "
    "loadtune, 2 something given cannot be used or the step fails, 3 no batch fits the limits, 130 interrupted: the "
    "probes so far are kept."
)
READS_SETTINGS = False


def run(
    target: Annotated[str, option("", "A built-in name, package.module:name or file.py:name.")],
    /,
    *,
    step: Annotated[
        str, option("module:callable|model", "The training step: step(batch) -> loss.  [default: model]")
    ] = "model",
    arg: Annotated[
        tuple[str, ...],
        option("KEY=VALUE", "Keyword argument for the target, given as text; may be repeated.", heading="Arguments"),
    ] = (),
    device: Annotated[str, option("auto|cpu|cuda:0", "Where the step runs.  [default: auto]")] = "auto",
    amp: Annotated[
        Literal["off", "bf16", "fp16"],
        option("off|bf16|fp16", "Type that the target's model computes in.  [default: off]"),
    ] = "off",
    multiple_of: Annotated[str, option("8", "Only multiples of this.  [default: 1]", hyphen=True)] = "1",
    global_batch: Annotated[
        str | None,
        option("256", "Samples of one optimiser step: says by how many micro-batches it is kept.", hyphen=True),
    ] = None,
    largest_only: Annotated[bool, option("", "Do not look for the fastest.")] = False,
    noise_scale: Annotated[
        str | None,
        option(
            "measure|B",
            "Gradient noise scale, for the batch of the best goodput; measure needs an optimiser of torch's.",
            hyphen=True,
        ),
    ] = None,
    num_workers: Annotated[
        str, option("0", "Workers of the loader, whose batches take host memory too.  [default: 0]", hyphen=True)
    ] = "0",
    prefetch_factor: Annotated[str, option("2", "Batches a worker loads ahead.  [default: 2]", hyphen=True)] = "2",
    time_budget: Annotated[str, option("120s", "After this no probe begins.  [default: 120s]", hyphen=True)] = "120s",
    tie: Annotated[str, option("2%", "Rates no further apart are equal.  [default: 2%]", hyphen=True)] = "2%",
    seed: Annotated[str, option("0", "Of the samples that are looked at.  [default: 0]", hyphen=True)] = "0",
    limits: LimitOptions = LimitOptions(),  # noqa: B008 - frozen
    output: Annotated[str | None, option("DIR", "The run directory.  [default: reports/TARGET-batch-TIME/]")] = None,
    export_json: Annotated[str | None, option("FILE|-", "The result; - is stdout.", hyphen=True)] = None,
    force: Annotated[bool, option("", "Replace what is there already.")] = False,
    quiet: Annotated[bool, option("", "Say only what was found.", "--quiet", "-q")] = False,
    color: Annotated[
        Literal["auto", "always", "never"], option("auto|always|never", "Colour.  [default: auto]")
    ] = "auto",
) -> int:
    """Check what can be checked, then probe."""
    from loadtune.cli import batch_job  # noqa: PLC0415 - not needed for the help page
    from loadtune.record.batch_size import BatchSizePlan, LoaderHolds  # noqa: PLC0415 - same
    from loadtune.run.step_bounds import WORKER_BYTES  # noqa: PLC0415 - same

    bounds = limits.build()
    plan = BatchSizePlan(
        target=target,
        consumer=ConsumerOptions(step=step, device=device, amp=amp).build(),
        multiple_of=parsed("--multiple-of", multiple_of, positive),
        global_batch=maybe("--global-batch", global_batch, positive),
        most=bounds.max_batch_size,
        tie=parsed("--tie", tie, share),
        find_best=not largest_only,
        noise_scale=maybe("--noise-scale", noise_scale, parse_noise_scale),
        loader=LoaderHolds(
            num_workers=parsed("--num-workers", num_workers, whole),
            prefetch_factor=parsed("--prefetch-factor", prefetch_factor, positive),
            worker_bytes=WORKER_BYTES,
        ),
        time_budget_seconds=parsed("--time-budget", time_budget, positive_duration),
        probe_timeout_seconds=parsed("--trial-timeout", limits.trial_timeout, positive_duration),
        seed=parsed("--seed", seed, whole),
    )
    place = maybe("--export-json", export_json, str)
    return batch_job.find(
        plan, bounds, key_values(arg), output=output, export=place, force=force, quiet=quiet, color=color
    )

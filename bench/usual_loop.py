"""Why the usual timing loop misleads: the rate that it gives for a loader whose rate can be written down.

Writes docs/figures/usual_loop.svg and prints its numbers: ./scripts/bench bench/usual_loop.py
"""

from __future__ import annotations

import statistics
import time
import warnings
from pathlib import Path

import altair as alt
import vl_convert
from torch.utils.data import DataLoader, Dataset

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "usual_loop.svg"
WORKERS = 4
BATCH_SECONDS = 0.08
BATCHES = (8, 16, 32, 64)
REPEATS = 3
TRUE_RATE = WORKERS / BATCH_SECONDS
"""Batches a second: workers that sleep share no core, so that four of them are four times one."""


class Sleeping(Dataset[int]):
    """Samples that take a known time."""

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> int:
        time.sleep(BATCH_SECONDS)
        return index


def stamps(count: int, *, pause_seconds: float = 0.0) -> list[float]:
    """Return when the iterator was asked for, and when each batch was there; the queue fills in a pause after one."""
    times = [time.perf_counter()]
    batches = iter(DataLoader(Sleeping(), batch_size=None, num_workers=WORKERS))
    for _ in range(count):
        next(batches)
        times.append(time.perf_counter())
        if len(times) == 2 and pause_seconds:
            time.sleep(pause_seconds)
            times[1] = time.perf_counter()
    return times


def from_the_start(times: list[float]) -> float:
    """Return batches a second with the clock started before the first batch."""
    return (len(times) - 1) / (times[-1] - times[0])


def from_the_first_batch(times: list[float]) -> float:
    """Return batches a second with the first batch left out, as a warm-up."""
    return (len(times) - 2) / (times[-1] - times[1])


def by_rounds(times: list[float]) -> float:
    """Return batches a second over whole rounds of all workers, after a full queue was taken away."""
    first = 1 + 2 * 2 * WORKERS
    rounds = (len(times) - 1 - first) // WORKERS
    return rounds * WORKERS / (times[first + rounds * WORKERS] - times[first])


def measured() -> list[dict[str, object]]:
    """Return, for each length of the loop and each way, the medians of the rates over the true one."""
    rows: list[dict[str, object]] = []
    for count in BATCHES:
        ways = {
            "clock from the start": [from_the_start(stamps(count)) for _ in range(REPEATS)],
            "clock from the first batch": [from_the_first_batch(stamps(count)) for _ in range(REPEATS)],
            "the same after a pause": [from_the_first_batch(stamps(count, pause_seconds=0.5)) for _ in range(REPEATS)],
            "whole rounds, as loadtune": [by_rounds(stamps(count + 1 + 4 * WORKERS)) for _ in range(REPEATS)],
        }
        for way, rates in ways.items():
            rows.append({"batches": count, "way": way, "off": 100 * (statistics.median(rates) / TRUE_RATE - 1)})
    return rows


def draw(rows: list[dict[str, object]]) -> str:
    """Return the errors as SVG on a white ground: it stands in a README."""
    ways = list(dict.fromkeys(str(row["way"]) for row in rows))
    scale = alt.Scale(domain=ways, range=["#57606a", "#94450a", "#b3261e", "#2a6fb8"])
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("batches:O", title="batches that the loop takes", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("off:Q", title="rate against the true one (%)", scale=alt.Scale(domain=[-100, 100], clamp=True)),
        color=alt.Color("way:N", scale=scale, legend=alt.Legend(title=None, orient="top", labelLimit=300)),
    )
    zero = alt.Chart(alt.InlineData(values=[{"off": 0}])).mark_rule(strokeDash=[5, 4]).encode(y="off:Q")
    drawn = alt.layer(zero, base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=60, opacity=1))
    chart = drawn.properties(width=460, height=240).configure(background="white", padding=12)
    return str(vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[]))


def main() -> None:
    """Measure, print, and draw."""
    warnings.filterwarnings("ignore", "This DataLoader will create")
    rows = measured()
    for row in rows:
        print(f"{row['batches']:>3} batches, {row['way']}: {row['off']:+.0f} % of {TRUE_RATE:.0f} batches/s")
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_text(draw(rows) + "\n", encoding="utf-8")
    print(f"Wrote {FIGURE}")


if __name__ == "__main__":
    main()

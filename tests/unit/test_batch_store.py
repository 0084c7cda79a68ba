"""The run directory of a search for a batch size: what was kept is what is read and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtune.cli import app
from loadtune.describe.plan import Consumer
from loadtune.errors import OutputError, RunDirectoryError
from loadtune.record.batch_size import BatchSizePlan, BatchSizeResult, StepProbe
from loadtune.record.batch_store import BatchStore, is_search, read_probes, read_result
from loadtune.record.store import concluded

PROBES = (
    StepProbe(order=0, batch_size=1, purpose="start", why="the least", fit="fits", seconds=0.5),
    StepProbe(order=1, batch_size=8, purpose="jump", why="by the line", fit="out_of_memory", reason="it raised"),
)
PLAN = BatchSizePlan(target="data.py:make", consumer=Consumer(step="model"))


def result_of(probes: tuple[StepProbe, ...]) -> BatchSizeResult:
    return BatchSizeResult(
        plan=PLAN, bounds=(), samples=None, probes=probes, largest=1, because="time was over", best=1, fastest=1
    )


def kept(place: Path, *, finished: bool) -> Path:
    store = BatchStore(place)
    for probe in PROBES:
        store.keep(probe)
    if finished:
        store.finish(result_of(PROBES))
    return place


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    """Probes and result come back equal, and a line that was torn off is left out."""
    place = kept(tmp_path / "search", finished=True)
    assert is_search(place)
    assert (read_probes(place), read_result(place)) == (PROBES, result_of(PROBES))
    with (place / "probes.jsonl").open("ab") as file:
        file.write(b'{"order": 2, "batch')
    assert read_probes(place) == PROBES


def test_show_prints_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``loadtune show`` gives each probe and the result; of a search that was cut off it says so."""
    assert app.main(["show", str(kept(tmp_path / "whole", finished=True))]) == 0
    shown = capsys.readouterr().out
    assert "batch 8 out of memory, it raised" in shown
    assert "Largest: 1 (a lower bound; time was over)." in shown
    assert app.main(["show", "-q", str(kept(tmp_path / "cut", finished=False))]) == 0
    shown = capsys.readouterr().out
    assert "did not come to its end" in shown
    assert "out of memory" not in shown


def test_what_was_found_goes_with_the_search_that_is_replaced(tmp_path: Path) -> None:
    """Once the first probe of a search that replaces another is kept, there is no result until that search ends."""
    place = kept(tmp_path / "search", finished=True)
    probe = read_probes(place)[0]
    store = BatchStore(place, force=True)
    assert read_result(place) is not None
    store.keep(probe)
    assert read_result(place) is None
    assert read_probes(place) == (probe,)


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    """A damaged line, another schema and a sweep's commands each get a sentence; nothing is written over a search."""
    place = kept(tmp_path / "search", finished=True)
    with pytest.raises(OutputError, match="holds something already"):
        BatchStore(place)
    with pytest.raises(RunDirectoryError, match="holds no run") as raised:
        concluded(place)
    assert "loadtune show" in (raised.value.hint or "")
    (place / "batch_size.json").write_text('{"schema": "loadtune.batch-size/9"}')
    with pytest.raises(RunDirectoryError, match="its schema is not"):
        read_result(place)
    (place / "probes.jsonl").write_text("{}\n")
    with pytest.raises(RunDirectoryError, match="is damaged"):
        read_probes(place)

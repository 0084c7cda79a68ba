"""The benches are run by hand, and rot unseen: what they import of the package has to be there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.py")), ids=lambda path: path.stem)
def test_a_bench_can_be_loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has moved in the package is found here, not when the figures are wanted."""
    monkeypatch.syspath_prepend(str(BENCH))
    name = f"bench_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)

"""What holds for every test: a sentence that says what it proves, and no device tests where there is no device."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from loadtune.run import host
from loadtune.show import outputs, page
from shared_memory_room import move_in
from warm_hosts import WarmPopen

HAS_ROOM = pytest.StashKey[bool]()
"""Whether /dev/shm is this process's own."""


def pytest_configure(config: pytest.Config) -> None:
    """Take interrupts as a terminal gives them, where they were ignored; give no example of a property a deadline."""
    config.stash[HAS_ROOM] = move_in()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes is the machine's affair: on a busy one the usual deadline fails what is right.
    settings.register_profile("shared machine", deadline=None)
    settings.load_profile("shared machine")
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse tests without a sentence; take out those that need a device where there is none."""
    if not config.stash[HAS_ROOM]:
        for item in items:
            if item.get_closest_marker("shared_memory"):
                item.add_marker("alone")
    silent = sorted({item.nodeid for item in items if isinstance(item, pytest.Function) and not item.function.__doc__})
    if silent:
        raise pytest.UsageError(f"say in one sentence what it proves (a docstring): {', '.join(silent)}")
    for_device = [item for item in items if item.get_closest_marker("gpu")]
    if for_device and not has_device():
        config.hook.pytest_deselected(items=for_device)
        items[:] = [item for item in items if item not in for_device]


def has_device() -> bool:
    """Return whether this machine has an NVIDIA device that its driver answers for."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    listing = subprocess.run([command, "-L"], capture_output=True, text=True, check=False, timeout=30)
    return listing.returncode == 0 and "GPU" in listing.stdout


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings out of the tests."""
    for name in list(os.environ):
        if name.startswith("LOADTUNE_") or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)


AS_USERS_HAVE_IT = (host.start, page.render_apart)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Spare trial hosts the import of torch and pages that of charts, where a test does not ask for what users have."""
    start, render = AS_USERS_HAVE_IT
    if item.get_closest_marker("own_interpreter") is None:
        start, render = (WarmPopen if sys.platform == "linux" else start), page.render
    # Not by a fixture: those of modules and sessions start hosts before that of a test could say how.
    host.start = start  # type: ignore[assignment]
    page.render_apart = outputs._RENDERERS["html"] = render


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, below which no configuration file lies."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

"""What the fault tests share: the command as a process, small and read-only places, what is left of a sweep."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import psutil
import pytest

from loadtune.cli.app import main

TARGETS = Path(__file__).parents[1] / "integration" / "targets.py"
COMMAND = (sys.executable, "-m", "loadtune.cli.app")
SHORT = (
    "sweep", f"{TARGETS}:sleeping", "--batch-size", "8,16", "--num-workers", "0,2", "--drop-last", "off",
    "--precision", "90%", "--time-budget", "8s",
)  # fmt: skip
"""A sweep of known rates, over within some seconds."""


def loadtune(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which spares the start of an interpreter; ``started`` is the real thing."""
    said = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said[0]), redirect_stderr(said[1]):
        patch.chdir(cwd)
        patch.setattr(tempfile, "tempdir", None)  # where it is was remembered by others
        for name, value in variables.items():
            patch.setenv(name, value)
        code = main(list(arguments))
    out, err = (stream.buffer.getvalue().decode() for stream in said)  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, code, out, err)


def glibc() -> tuple[int, ...]:
    """Return the version of the C library, (0,) where it is another."""
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else (0,)


def started(*arguments: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **variables},
    )


def lines(run: Path) -> list[bytes]:
    """Return the whole lines of a journal."""
    path = run / "trials.jsonl"
    return (
        [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if path.exists() else []
    )


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to this in time"
        time.sleep(0.02)


def in_mid_trial(process: subprocess.Popen[str], run: Path, trials: int) -> list[psutil.Process]:
    """Wait until so many trials are kept and the next one runs; return every process below."""

    def trial() -> list[psutil.Process]:
        guardians = psutil.Process(process.pid).children()
        return [one for guardian in guardians for host in guardian.children() for one in host.children()]

    until(lambda: len(lines(run)) >= trials)
    # The trial that was kept may still be going away: what is there a moment later is the next one's.
    time.sleep(0.3)
    until(lambda: bool(trial()))
    return psutil.Process(process.pid).children(recursive=True)


def in_a_small_place(script: str, *, cwd: Path, kibibytes: int, read_only: bool = False) -> None:
    """Run shell commands with ``disk``, a file system of this size of their own that nobody else sees."""
    mount = f"mount -t tmpfs -o size={kibibytes}k none disk"
    freeze = "mount -o remount,ro disk" if read_only else "true"
    (cwd / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{mount} && {script.replace('FREEZE', freeze)}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def can_mount() -> bool:
    """Return whether this user may mount a file system of their own."""
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except OSError:
        return False

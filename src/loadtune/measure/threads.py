"""Holds the libraries of a process to one thread each, at run time: a forked process has loaded them already."""

from __future__ import annotations

import os
import sys

import torch

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""What libraries read when they are loaded: for those that are not yet, and for processes that are started."""


class _Held:
    here = False


def hold_to_one() -> None:
    """Hold BLAS, OpenMP, torch and OpenCV to one thread in this process, from now on.

    Threads that the data set makes for itself go on as they are.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - of use in a few trials of a sweep at most

    _Held.here = True
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    threadpool_limits(1)
    torch.set_num_threads(1)
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(0)


def are_held() -> bool:
    """Return whether this process is held to one thread, so that its workers are to be."""
    return _Held.here

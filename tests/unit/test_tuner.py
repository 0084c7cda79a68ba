"""What ``find_batch_size`` refuses before anything runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

import loadtune


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limits": {"host_mem": "8GiB"}}, "'host_mem' is no limit; did you mean 'host_memory'?"),
        ({"limits": {"time": 5}}, "'time' is no limit; the limits are host_memory, gpu_memory, max_batch_size"),
        ({"limits": {"max_batch_size": 0}}, "max_batch_size 0 is out of range: it must be 1 or more"),
        ({"max_batch_size": -1}, "max_batch_size -1 is out of range: it must be 1 or more"),
        ({"host_memory": "12XB"}, "size '12XB' has an unknown unit"),
        ({"global_batch": 0}, "global_batch 0 is out of range: it must be 1 or more"),
        ({"noise_scale": 0}, "noise scale '0' must be a number of samples above 0, or measure"),
        ({"noise_scale": "guess"}, "'guess' is not a noise scale: write it like 500 (samples), or measure"),
        ({"multiple_of": 0}, "multiple_of 0 is out of range: it must be 1 or more"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(arguments: dict[str, Any], words: str) -> None:
    """A limit that there is none of, a size or a number out of range: one sentence with the value."""
    with pytest.raises(loadtune.UsageError, match=re.escape(words)):
        loadtune.find_batch_size(lambda _: None, lambda size: [0] * size, **arguments)

"""What surrounds the command: the one place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """Return the environment variables."""
    return os.environ

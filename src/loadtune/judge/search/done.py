"""Whether a search had come to its end when its sweep did."""

from __future__ import annotations

from dataclasses import replace

from loadtune.judge.search import adaptive
from loadtune.judge.state import State


def is_done(state: State) -> bool:
    """Return whether the search would try nothing more; Optuna's go on as long as there is time, and are done then."""
    if state.plan.search == "grid":
        return {config.steady for config in state.configs} <= {record.config for record in state.records}
    if state.plan.search != "adaptive":
        return True
    # What verifying trials say was not known to the search.
    before = replace(state, records=tuple(record for record in state.records if record.phase != "verify"))
    return adaptive.next_group(before) is None

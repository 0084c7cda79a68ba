"""What configurations that failed have in common, held against those that gave a number. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from loadtune.describe.config import LoaderConfig

ODDS = 50
"""A trait is named where chance would give it, were it named beforehand, to all that failed less than once in so many.

That is much, as the settings are several and each can be cut in several places: chance has many tries, and of failures
that fall anywhere about one set in eight shows a pattern all the same.
"""
ODDS_OF_WORKERS = 5
"""The same for workers against none: a single cut, and expected, as only with workers samples cross processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """Values of one setting that all that failed have."""

    words: str
    """``3 or 4 workers``."""
    otherwise: str
    """The values of those that worked and do not share it: ``0 to 2``."""
    compared: Sequence[LoaderConfig]
    """Those that worked, as far as the setting means something to them."""
    shared: Sequence[LoaderConfig]
    """Of these, those that have the trait as well: where there are none, it sets the failed apart."""
    odds: int = ODDS


def failure_pattern(
    failed: Sequence[LoaderConfig], worked: Sequence[LoaderConfig], *, did: str = "gave a number"
) -> str | None:
    """Return what all that failed have in one setting and few or none that worked; None where nothing is told.

    It reads ``all have 3 or 4 workers, and the 15 that gave a number have 0 to 2``. Of several such settings those are
    named that the fewest share which worked.
    """
    telling = [trait for trait in _traits(failed, worked) if _is_telling(trait, failed)]
    fewest = min((len(trait.shared) for trait in telling), default=0)
    clauses = [_clause(trait, failed, worked, did) for trait in telling if len(trait.shared) == fewest]
    return "; ".join(clauses) or None


def _is_telling(trait: Trait, failed: Sequence[LoaderConfig]) -> bool:
    """Return whether as many failures, fallen anywhere, would seldom all have the trait; one failure has no pattern."""
    fallen, compared, shared = _loaders(failed), _loaders(trait.compared), _loaders(trait.shared)
    ways, ways_within = math.comb(fallen + compared, fallen), math.comb(fallen + shared, fallen)
    return fallen > 1 and ways >= trait.odds * ways_within


def _loaders(configs: Iterable[LoaderConfig]) -> int:
    """Return how many speak for themselves: those that differ in ``drop_last`` alone share their trials."""
    return len({config.steady for config in configs})


def _traits(failed: Sequence[LoaderConfig], worked: Sequence[LoaderConfig]) -> list[Trait]:
    """Return what all that failed have, setting by setting, telling or not."""
    traits = [
        *_of_workers(failed, worked),
        _within("batch_size", "batch {}", failed, worked),
        _equal("pin_memory", failed, worked),
    ]
    if all(config.num_workers for config in failed):
        parallel = [config for config in worked if config.num_workers]
        traits.append(_within("prefetch_factor", "prefetch {}", failed, parallel))
        names = ("persistent_workers", "in_order", "multiprocessing_context")
        traits += [_equal(name, failed, parallel) for name in names]
    return [trait for trait in traits if trait is not None]


def _of_workers(failed: Sequence[LoaderConfig], worked: Sequence[LoaderConfig]) -> list[Trait | None]:
    """Return that all have workers, and their numbers where these leave more of those that worked apart."""
    noun = "worker" if {config.num_workers for config in failed} == {1} else "workers"
    numbers = _within("num_workers", f"{{}} {noun}", failed, worked)
    if not all(config.num_workers for config in failed):
        return [numbers]
    shared = [config for config in worked if config.num_workers]
    some = Trait(words="workers", otherwise="none", compared=worked, shared=shared, odds=ODDS_OF_WORKERS)
    return [numbers, some] if numbers is not None and len(numbers.shared) < len(shared) else [some]


def _within(name: str, words: str, failed: Sequence[LoaderConfig], worked: Sequence[LoaderConfig]) -> Trait | None:
    """Return the range of a number that holds all that failed; None where it is no number for some."""
    numbers = {config: getattr(config, name) for config in (*failed, *worked)}
    if not failed or None in numbers.values():
        return None
    low, high = min(numbers[config] for config in failed), max(numbers[config] for config in failed)
    shared = [config for config in worked if low <= numbers[config] <= high]
    sides = ({n for n in numbers.values() if n < low}, {n for n in numbers.values() if n > high})
    within = _span({numbers[config] for config in (*failed, *shared)})
    return Trait(
        words=words.format(within),
        otherwise=" or ".join(_span(side) for side in sides if side),
        compared=worked,
        shared=shared,
    )


def _span(numbers: Collection[int]) -> str:
    """Return ``4``, ``3 or 4`` or ``0 to 2``."""
    some = sorted(numbers)
    return " or ".join(map(str, some)) if len(some) < 3 else f"{some[0]} to {some[-1]}"  # noqa: PLR2004


def _equal(name: str, failed: Sequence[LoaderConfig], worked: Sequence[LoaderConfig]) -> Trait | None:
    """Return the value that all that failed have; None where they differ."""
    values = {getattr(config, name) for config in failed}
    if len(values) != 1:
        return None
    (value,) = values
    others = {repr(getattr(config, name)) for config in worked} - {repr(value)}
    return Trait(
        words=f"{name}={value!r}",
        otherwise=" or ".join(f"{name}={other}" for other in sorted(others)),
        compared=worked,
        shared=[config for config in worked if getattr(config, name) == value],
    )


def _clause(trait: Trait, failed: Sequence[LoaderConfig], worked: Sequence[LoaderConfig], did: str) -> str:
    every = "both" if len(failed) == 2 else "all"  # noqa: PLR2004
    count = len(trait.compared)
    parallel = " with workers" if count < len(worked) else ""
    numbered = f"the {count if count > 1 else 'one'}{parallel} that {did}"
    if not trait.shared:
        return f"{every} have {trait.words}, and {numbered} {'have' if count > 1 else 'has'} {trait.otherwise}"
    have = "has" if len(trait.shared) == 1 else "have"
    return f"{every} have {trait.words}, as {have} {len(trait.shared)} of {numbered}"

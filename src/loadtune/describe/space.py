"""The axes of a sweep, the grammar they are written in, and the grid they span."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from loadtune.describe.config import START_METHODS, LoaderConfig
from loadtune.errors import UsageError, did_you_mean

AUTO: Literal["auto"] = "auto"
MAX_POINTS_ON_AN_AXIS = 1000
MAX_BATCH_SIZE = 2**24
MAX_DIGITS = 18

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?::([x+])(\d+(?:\.\d+)?))?", re.ASCII)
_SWITCH = {"on": (True,), "off": (False,), "both": (False, True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The values tried on each axis, in ascending order; ``"auto"`` is decided on the machine by ``resolve``."""

    batch_size: tuple[int, ...] = (32, 64, 128, 256, 512)
    num_workers: tuple[int, ...] | Literal["auto"] = AUTO
    pin_memory: tuple[bool, ...] | Literal["auto"] = AUTO
    drop_last: tuple[bool, ...] = (False, True)
    prefetch_factor: tuple[int, ...] = (2,)
    persistent_workers: tuple[bool, ...] = (False,)
    in_order: tuple[bool, ...] = (True,)
    multiprocessing_context: tuple[str | None, ...] = (None,)

    @classmethod
    def parse(cls, **axes: Any) -> SearchSpace:
        """Return the space that these axes stand for; each is text as on the command line, one value, or several.

        Args:
            **axes: By name: ``batch_size="32..512:x2"``, ``num_workers=range(0, 9)``, ``pin_memory="both"``. None is
                the axis's default.

        Raises:
            UsageError: An unknown axis, text that is no range, a value out of range, or an empty axis.
        """
        names = [field.name for field in fields(cls)]
        for name in axes:
            if name not in names:
                raise UsageError(f"'{name}' is no axis of the sweep{did_you_mean(name, names)}")
        space = cls(**{name: _parse_axis(name, value) for name, value in axes.items() if value is not None})
        if space.num_workers == (0,):
            _check_without_workers(space, prefetch_given=axes.get("prefetch_factor") is not None)
        return space

    def resolve(self, *, usable_cpus: float, has_accelerator: bool) -> SearchSpace:
        """Return the space with each ``"auto"`` replaced by the values tried on this machine.

        Workers: 0, then powers of two up to the usable cores, and the cores. A sweep goes on from the last when the
        last is best: the cores seed the axis and never bound it. Pinning: off and on where there is an accelerator;
        without one pinned memory serves nothing and the axis is dropped.
        """
        workers = auto_workers(usable_cpus) if self.num_workers == AUTO else self.num_workers
        pinning = self.pin_memory
        if not has_accelerator:
            pinning = (False,)
        elif pinning == AUTO:
            pinning = (False, True)
        return replace(self, num_workers=workers, pin_memory=pinning)

    def configs(self) -> tuple[LoaderConfig, ...]:
        """Return every point of the grid once, in ascending order of the axes.

        Raises:
            UsageError: An axis is still ``"auto"``.
        """
        axes = {field.name: getattr(self, field.name) for field in fields(self)}
        if AUTO in axes.values():
            raise UsageError("an axis is 'auto': resolve the space for a machine before enumerating it")
        points = itertools.product(*axes.values())
        return tuple(dict.fromkeys(LoaderConfig.normalised(**dict(zip(axes, point, strict=True))) for point in points))


def auto_workers(usable_cpus: float) -> tuple[int, ...]:
    """Return the worker counts that seed a sweep: 0, powers of two up to the cores, the cores."""
    cores = max(1, int(usable_cpus))
    powers = itertools.takewhile(lambda count: count <= cores, (2**exponent for exponent in range(32)))
    return tuple(sorted({0, cores, *powers}))


def _check_without_workers(space: SearchSpace, *, prefetch_given: bool) -> None:
    asked = (
        (prefetch_given, "--prefetch-factor", "nothing is loaded ahead"),
        (space.persistent_workers == (True,), "--persistent-workers", "there are none to keep"),
        (space.in_order == (False,), "--in-order off", "batches always come in order"),
        (space.multiprocessing_context != (None,), "--multiprocessing-context", "none are started"),
    )
    for given, option, why in asked:
        if given:
            raise UsageError(f"{option} needs workers: with --num-workers 0 {why}")


def parse_integers(text: str, *, name: str, least: int, most: int | None = None) -> tuple[int, ...]:
    """Return the integers that a range stands for, ascending: ``16..1024:x2``, ``0..8``, ``0..16:+4``, ``32,64,96``.

    Raises:
        UsageError: Not a range, a range that runs backwards, a step that does not advance, or a value below ``least``
            or above ``most``.
    """
    values: set[int] = set()
    if not text.strip():
        raise UsageError(f"--{name} is empty: give at least one value")
    for part in text.split(","):
        if not part.strip():
            raise UsageError(f"--{name} '{text}' has an empty item: write a number or a range beside each comma")
        values.update(_expand(part.strip(), name=name, least=least))
        if len(values) > MAX_POINTS_ON_AN_AXIS:
            raise UsageError(f"--{name} '{text}' gives more than {MAX_POINTS_ON_AN_AXIS} values: use a coarser step")
    return _checked_integers(values, name=name, least=least, most=most)


def _expand(part: str, *, name: str, least: int) -> list[int]:
    if any(len(digits) > MAX_DIGITS for digits in re.findall(r"\d+", part, re.ASCII)):
        raise UsageError(f"--{name} '{part}' is out of range: a number has at most {MAX_DIGITS} digits")
    if re.fullmatch(r"-?\d+", part, re.ASCII):
        return [int(part)]
    match = _RANGE.fullmatch(part)
    if match is None:
        raise UsageError(
            f"--{name} '{part}' is not a number or a range: write 64, 32,64,96, 0..8, 0..16:+4 or 32..512:x2"
        )
    first, last = int(match[1]), int(match[2])
    if first > last:
        hint = f"write {last}..{first}" if last >= least else f"it must go up, from {least} or more"
        raise UsageError(f"--{name} '{part}' runs backwards: {hint}")
    if match[3] == "x":
        return _geometric(first, last, float(match[4]), part=part, name=name)
    step = float(match[4] or 1)
    if step < 1 or step != int(step):
        raise UsageError(f"--{name} '{part}' does not advance in whole numbers: a step must be +1 or more")
    return list(itertools.islice(range(first, last + 1, int(step)), MAX_POINTS_ON_AN_AXIS + 1))


def _geometric(first: int, last: int, factor: float, *, part: str, name: str) -> list[int]:
    if first < 1 or factor <= 1:
        raise UsageError(f"--{name} '{part}' does not grow: a factor must be above x1 and the range start at 1 or more")
    values: list[int] = []
    value = float(first)
    while round(value) <= last:
        values.append(round(value))
        value *= factor
        if len(values) > MAX_POINTS_ON_AN_AXIS:
            # A factor so near 1 gives the same numbers again and again: cut off, the range would end before its last.
            raise UsageError(f"--{name} '{part}' takes more than {MAX_POINTS_ON_AN_AXIS} steps: use a larger factor")
    return values


def _checked_integers(values: Iterable[int], *, name: str, least: int, most: int | None) -> tuple[int, ...]:
    ascending = tuple(sorted(set(values)))
    if not ascending:
        raise UsageError(f"--{name} is empty: give at least one value")
    if ascending[0] < least:
        raise UsageError(f"--{name} {ascending[0]} is out of range: it must be {least} or more")
    if most is not None and ascending[-1] > most:
        raise UsageError(f"--{name} {ascending[-1]} is out of range: it must be at most {most:,}")
    return ascending


def _parse_axis(name: str, value: Any) -> Any:
    option = name.replace("_", "-")
    if name in ("batch_size", "num_workers", "prefetch_factor"):
        least = 0 if name == "num_workers" else 1
        return _integer_axis(option, value, least=least, most=MAX_BATCH_SIZE if name == "batch_size" else None)
    if name == "multiprocessing_context":
        return _context_axis(value)
    return _switch_axis(option, value)


def _integer_axis(option: str, value: Any, *, least: int, most: int | None) -> tuple[int, ...] | str:
    if isinstance(value, str) and value == AUTO and option == "num-workers":
        return AUTO
    if isinstance(value, str):
        return parse_integers(value, name=option, least=least, most=most)
    values = value if isinstance(value, Iterable) else (value,)
    numbers = tuple(values)
    for number in numbers:
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise UsageError(f"--{option} {number!r} is not a whole number")
    return _checked_integers((int(number) for number in numbers), name=option, least=least, most=most)


def _switch_axis(option: str, value: Any) -> tuple[bool, ...] | str:
    if isinstance(value, str) and value == AUTO and option == "pin-memory":
        return AUTO
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, str):
        allowed = [*_SWITCH, *((AUTO,) if option == "pin-memory" else ())]
        if value not in _SWITCH:
            raise UsageError(
                f"--{option} '{value}' is not a switch: it must be one of {', '.join(allowed)}"
                f"{did_you_mean(value, allowed)}"
            )
        return _SWITCH[value]
    values = tuple(value) if isinstance(value, Iterable) else ()
    if not values or not all(isinstance(item, bool) for item in values):
        raise UsageError(f"--{option} {value!r} is not a switch: give True, False or both of them")
    return tuple(sorted(set(values)))


def _context_axis(value: Any) -> tuple[str | None, ...]:
    names = value.split(",") if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if name not in START_METHODS:
            allowed = ", ".join(START_METHODS)
            raise UsageError(
                f"--multiprocessing-context '{name}' is not a start method: it must be one of {allowed}"
                f"{did_you_mean(str(name), START_METHODS)}"
            )
    if not names:
        raise UsageError("--multiprocessing-context is empty: give at least one value")
    return tuple(dict.fromkeys(names))

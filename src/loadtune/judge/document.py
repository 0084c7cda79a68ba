"""The models of the article that the project starts from: N/B, K·B·T and K·B·M, and what its case has wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loadtune.errors import UsageError
from loadtune.units import format_bytes, format_number, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentModel:
    """The article's three models for one choice of figures (docs/models.md).

    Raises:
        UsageError: A figure out of range.
    """

    samples: int
    """N: samples in the data set."""
    batch_size: int
    """B: samples in a full batch."""
    seconds_per_sample: float
    """T: time to load one sample, in seconds."""
    bytes_per_sample: float
    """M: memory of one sample after collate, in bytes."""
    batches_given: int | None = None
    """K as somebody states it; None takes the one that follows from N and B."""
    drop_last: bool = False
    """Whether a last batch that is not full is left out."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"--samples {self.samples} is no data set: it must be 1 or more")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size} is not a batch: it must be 1 or more")
        if self.seconds_per_sample < 0 or self.bytes_per_sample < 0:
            raise UsageError("--seconds-per-sample and --bytes-per-sample must not be negative")
        if self.batches_given is not None and self.batches_given < 1:
            raise UsageError(f"--batches {self.batches_given} is no epoch: it must be 1 or more")

    @property
    def batches_exact(self) -> float:
        """N/B as the article writes it, which need not be whole."""
        return self.samples / self.batch_size

    @property
    def batches_per_epoch(self) -> int:
        """⌊N/B⌋ with ``drop_last``, else ⌈N/B⌉."""
        return batches_per_epoch(self.samples, self.batch_size, drop_last=self.drop_last)

    @property
    def remainder(self) -> int:
        """N mod B: the samples of the last batch, or those that ``drop_last`` leaves out; 0 where N/B is whole."""
        return self.samples % self.batch_size

    @property
    def batches(self) -> int:
        """K: the one that was given, else ``batches_per_epoch``."""
        return self.batches_per_epoch if self.batches_given is None else self.batches_given

    @property
    def batch_seconds(self) -> float:
        """B·T: serial work of one batch, in seconds."""
        return self.batch_size * self.seconds_per_sample

    @property
    def epoch_seconds(self) -> float:
        """K·B·T: serial work of an epoch, in seconds; several workers share it."""
        return self.batches * self.batch_seconds

    @property
    def batch_bytes(self) -> float:
        """B·M: bytes of one full batch."""
        return self.batch_size * self.bytes_per_sample

    @property
    def epoch_bytes(self) -> float:
        """K·B·M: bytes that pass through in an epoch; not memory in use."""
        return self.batches * self.batch_bytes

    @property
    def checks(self) -> tuple[str, ...]:
        """One sentence for each figure that does not follow from the others; empty when all agree."""
        return tuple(sentence for sentence in (self._check_batches(), self._check_empty()) if sentence)

    def _check_batches(self) -> str | None:
        given, low = self.batches_given, self.samples // self.batch_size
        high = low + bool(self.remainder)
        if given is None or low <= given <= high:
            return None
        right = f"{high:,}" if low == high else f"{high:,} batches, or {low:,} with drop_last"
        return (
            f"K = {given:,} is not N/B: {self.samples:,} / {self.batch_size:,} = {self.batches_exact:,.6g}, so an "
            f"epoch has {right}; K = {given:,} covers {given * self.batch_size:,} samples"
        )

    def _check_empty(self) -> str | None:
        if self.batches_per_epoch:
            return None
        return (
            f"B = {self.batch_size:,} is larger than N = {self.samples:,}: with drop_last an epoch has no batch at all"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """One figure of the article that does not follow."""

    quantity: str
    """The symbol it is about."""
    article: str
    """What the article says."""
    right: str
    """What follows from its own figures, or from the data set."""
    why: str
    """One sentence with the arithmetic."""


ARTICLE_CASE = DocumentModel(
    samples=60_000, batch_size=64, seconds_per_sample=1e-3, bytes_per_sample=3072, batches_given=500
)
"""The article's case (its section 4.3): CIFAR-10, B = 64, T = 1 ms, M = 3,072 B, K = 500."""

CIFAR10_TRAINING_SAMPLES = 50_000
FLOAT32_BYTES = 4


def article_slips() -> tuple[Slip, ...]:
    """Return the four figures of the article's case that do not follow, in the order it gives them."""
    case = ARTICLE_CASE
    real = replace(case, samples=CIFAR10_TRAINING_SAMPLES, batches_given=None)
    tensor_bytes = int(case.bytes_per_sample) * FLOAT32_BYTES
    return (
        Slip(
            quantity="K",
            article="K = 500 batches, with N = 60,000 training samples",
            right=f"K = {real.batches_per_epoch} ({replace(real, drop_last=True).batches_per_epoch} with drop_last)",
            why=f"60,000 / 64 = {case.batches_exact}, not 500; and CIFAR-10 has 50,000 training images, the other "
            f"10,000 are its test part: 50,000 / 64 = {real.batches_exact}",
        ),
        Slip(
            quantity="B·M",
            article="64 × 3072 = 204,864 B",
            right=f"{case.batch_bytes:,.0f} B",
            why="64 × 3,072 is 196,608; 204,864 would be 64 × 3,201",
        ),
        Slip(
            quantity="K·B·M",
            article="500 × 204,864 = 102,432,000 B = 98.5 MB, 1.54 of 64 MB of memory",
            right=f"{case.epoch_bytes:,.0f} B = {case.epoch_bytes / 2**20:.2f} MiB for K = 500",
            why="500 × 196,608 is 98,304,000; and K·B·M is what passes through in an epoch, not memory in use, so "
            "it is no share of any memory: batches are freed as they are used",
        ),
        Slip(
            quantity="M",
            article="M = 3,072 B a sample",
            right=f"M = {tensor_bytes:,} B a sample",
            why="32 × 32 × 3 bytes are the stored uint8 image; ToTensor makes float32 of it, four bytes a value",
        ),
    )


def batches_per_epoch(samples: int, batch_size: int, *, drop_last: bool) -> int:
    """Return the batches in an epoch: ⌊N/B⌋ with ``drop_last``, else ⌈N/B⌉."""
    return samples // batch_size if drop_last else -(-samples // batch_size)


def document_figures(
    *, batches: int | None, batch_size: float | None, seconds_per_sample: float | None, bytes_per_sample: float | None
) -> tuple[int | None, float | None, int | None]:
    """Return (K, K·B·T in seconds, K·B·M in bytes) for a configuration; a figure that lacks a factor is None."""
    if batches is None or batch_size is None:
        return batches, None, None
    kbt = None if seconds_per_sample is None else batches * batch_size * seconds_per_sample
    kbm = None if bytes_per_sample is None else round(batches * batch_size * bytes_per_sample)
    return batches, kbt, kbm


def describe(model: DocumentModel) -> tuple[tuple[str, str, str], ...]:
    """Return the article's figures as rows for people: (model, its value, what it means)."""
    exact = f"{model.batches_exact:,.6g}"
    last = (
        f"{model.remainder} samples {'left out' if model.drop_last else 'in the last batch'}"
        if model.remainder
        else "every batch full"
    )
    return (
        ("N/B", f"{exact} → {model.batches_per_epoch:,} batches", last),
        ("B·T", format_seconds(model.batch_seconds), "serial work of one batch"),
        ("K·B·T", format_seconds(model.epoch_seconds), f"serial work of an epoch of K = {model.batches:,} batches"),
        ("B·M", _exact_bytes(model.batch_bytes), "bytes of one batch"),
        ("K·B·M", _exact_bytes(model.epoch_bytes), "bytes that pass through in an epoch, not memory in use"),
    )


def _exact_bytes(count: float) -> str:
    return f"{format_number(count)} B ({format_bytes(count)})"

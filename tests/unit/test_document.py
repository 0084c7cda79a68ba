"""The article's models and its slips."""

from __future__ import annotations

import pytest

from loadtune.errors import UsageError
from loadtune.judge.document import ARTICLE_CASE, DocumentModel, article_slips, describe, document_figures


def a_model(**changes: object) -> DocumentModel:
    settings: dict[str, object] = {
        "samples": 50_000,
        "batch_size": 64,
        "seconds_per_sample": 1e-3,
        "bytes_per_sample": 12_288,
    }
    return DocumentModel(**(settings | changes))  # type: ignore[arg-type]


def test_cifar10_epoch() -> None:
    """50,000 samples in batches of 64 are 782 batches with 16 in the last, or 781 with those 16 left out."""
    assert (a_model().batches_per_epoch, a_model().remainder) == (782, 16)
    assert a_model(drop_last=True).batches_per_epoch == 781
    assert a_model().checks == ()


def test_figures_of_the_article() -> None:
    """With the article's own N, B, T, M and K its three models give 937.5, 32 s, 196,608 B and 98,304,000 B."""
    case = ARTICLE_CASE
    assert case.batches_exact == 937.5
    assert case.batch_seconds == pytest.approx(0.064)
    assert case.epoch_seconds == pytest.approx(32.0)
    assert case.batch_bytes == 196_608
    assert case.epoch_bytes == 98_304_000
    assert case.epoch_bytes / 2**20 == 93.75


def test_articles_k_is_caught() -> None:
    """K = 500 is named as not N/B, with the value that is."""
    (sentence,) = ARTICLE_CASE.checks
    assert "K = 500 is not N/B" in sentence
    assert "937.5" in sentence
    assert "938 batches, or 937 with drop_last" in sentence


def test_either_way_of_rounding_is_accepted() -> None:
    """A K that is N/B rounded up or down is no slip."""
    assert a_model(batches_given=782).checks == ()
    assert a_model(batches_given=781).checks == ()
    assert a_model(batches_given=783).checks
    assert "has 500;" in a_model(samples=32_000, batches_given=499).checks[0]


def test_four_slips_are_named() -> None:
    """The article's four slips carry what it says, what is right, and why."""
    slips = {slip.quantity: slip for slip in article_slips()}
    assert list(slips) == ["K", "B·M", "K·B·M", "M"]
    assert "782 (781 with drop_last)" in slips["K"].right
    assert "50,000 training images" in slips["K"].why
    assert "937.5" in slips["K"].why
    assert "204,864" in slips["B·M"].article
    assert slips["B·M"].right == "196,608 B"
    assert "102,432,000" in slips["K·B·M"].article
    assert slips["K·B·M"].right == "98,304,000 B = 93.75 MiB for K = 500"
    assert "12,288" in slips["M"].right


def test_batch_larger_than_the_data() -> None:
    """A batch larger than the data set is one short batch, and none with drop_last, which is said."""
    assert a_model(samples=100, batch_size=128).batches_per_epoch == 1
    model = a_model(samples=100, batch_size=128, drop_last=True)
    assert model.batches_per_epoch == 0
    assert "no batch at all" in model.checks[0]


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"batch_size": 0}, {"seconds_per_sample": -1.0}, {"batches_given": 0}]
)
def test_figures_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    """Figures that describe no epoch are a usage error."""
    with pytest.raises(UsageError):
        a_model(**wrong)


def test_figures_of_a_row() -> None:
    """N/B, K·B·T and K·B·M of a row, each None where a factor is unknown."""
    figures = document_figures(batches=782, batch_size=64, seconds_per_sample=1e-3, bytes_per_sample=12_288)
    assert figures == (782, pytest.approx(50.048), 782 * 64 * 12_288)
    assert document_figures(batches=None, batch_size=64, seconds_per_sample=1.0, bytes_per_sample=1.0) == (
        None,
        None,
        None,
    )
    assert document_figures(batches=3, batch_size=2, seconds_per_sample=None, bytes_per_sample=1.0) == (3, None, 6)


def test_description_has_the_five_figures() -> None:
    """The rows for people name N/B, B·T, K·B·T, B·M and K·B·M."""
    assert [name for name, _, _ in describe(a_model())] == ["N/B", "B·T", "K·B·T", "B·M", "K·B·M"]
    assert describe(a_model())[0][1] == "781.25 → 782 batches"

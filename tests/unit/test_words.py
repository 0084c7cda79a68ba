"""The words all outputs share."""

from __future__ import annotations

import ast

from hypothesis import given

from factories import HOSTILE
from hostile import hostile_text, is_harmless_on_a_terminal
from loadtune.describe.config import LoaderConfig
from loadtune.show.words import CODE_WIDTH, config_words, loader_code, other_words, plain


@given(hostile_text())
def test_plain_text_is_one_harmless_line(text: str) -> None:
    """Whatever a name holds, what is shown is one line without control characters."""
    shown = plain(text)
    assert is_harmless_on_a_terminal(shown)
    assert "\n" not in shown
    assert plain(shown) == shown


def test_plain_takes_sequences_out_and_leaves_words() -> None:
    """Colours, titles and reading direction go; the words stay."""
    assert plain(HOSTILE) == "<script>alert('x')</script> [bold red]x[/] red =1+1 | `a` second line"
    assert plain("größe  データ\tset") == "größe データ set"


def test_config_words_leave_torch_defaults_out() -> None:
    """Only what differs from torch's defaults is said."""
    assert config_words(LoaderConfig(batch_size=64)) == "0 workers, batch 64"
    assert config_words(LoaderConfig(batch_size=None, num_workers=1)) == "1 worker, batches of its own"
    config = LoaderConfig(batch_size=8, num_workers=2, prefetch_factor=4, pin_memory=True, in_order=False)
    assert other_words(config) == "pinned, prefetch 4, any order"


def test_the_code_is_valid_and_says_every_argument() -> None:
    """The lines to paste are Python, hold exactly the loader's arguments, and fit a terminal of 60 columns."""
    config = LoaderConfig(batch_size=256, num_workers=8, persistent_workers=True, multiprocessing_context="forkserver")
    code = loader_code(config)
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert {word.arg: ast.literal_eval(word.value) for word in call.keywords} == config.loader_kwargs()
    assert max(map(len, code.splitlines())) <= CODE_WIDTH


def test_a_batch_sampler_takes_the_place_of_the_batch_size() -> None:
    """DataLoader refuses batch_size and drop_last beside a batch sampler, so neither is in the code."""
    code = loader_code(LoaderConfig(batch_size=None, num_workers=2), ["batch_sampler", "collate_fn"])
    assert "batch_sampler=batch_sampler" in code
    assert "batch_size" not in code
    assert "drop_last" not in code

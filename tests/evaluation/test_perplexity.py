"""Perplexity by windows, against one forward pass at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsns import LsnsError
from lsns.evaluation.perplexity import Perplexity
from lsns.evaluation.scoring import Front, TextTokens, _windows
from tests.evaluation.reference import run, token_logprobs
from tests.tiny import TEXTS

TEXT = f"{TEXTS[0]} 🙂 中文\n{TEXTS[2]}\n"


def score_windows(model, text, *, context=512, **options):
    given = {"texts": [("mine", text)], "context": context}
    return run(model, Perplexity("perplexity"), **given, **options)


@given(st.integers(1, 300), st.integers(2, 40), st.sampled_from([None, 0, 7]))
def test_every_token_is_scored_once_after_those_before_it(n_tokens, size, front):
    ids = list(range(n_tokens))
    text = TextTokens("mine", "text", [], ids, None)
    windows = list(_windows(text, Front("auto", None, front), size))
    assert [token for window in windows for token in window.ids] == ids
    end = 0
    for window in windows:
        end += len(window.ids)
        read = [*window.context, *window.ids]
        assert len(read) <= size
        assert front is None or read[0] == front
        # What begins with that very token keeps the one it has.
        whole = read if read == ids[max(0, end - len(read)) : end] else read[1:]
        assert whole == ids[end - len(whole) : end]
        assert read == whole or ids[end - len(whole)] != front


@pytest.mark.parametrize("prefix", ["auto", "none"])
def test_one_window_is_the_text(tiny_model, prefix):
    results = score_windows(tiny_model, TEXT, prefix=prefix, context=128)
    expected = token_logprobs(tiny_model, TEXT, 0 if prefix == "auto" else None)
    assert [(r.paradigm, r.item, r.n_tokens) for r in results] == [("mine", "0", len(expected))]
    assert results[0].logp == pytest.approx(sum(expected), abs=1e-3)
    assert results[0].score == pytest.approx(-sum(expected) / len(expected), rel=1e-4)
    left_out = 0 if prefix == "auto" else len(tiny_model.tokenizer.tokenize(TEXT)[0])
    assert results[0].n_characters == len(TEXT) - left_out


def test_windows_give_their_tokens_the_context_before(tiny_model):
    import torch

    results = score_windows(tiny_model, TEXT, context=21)
    ids = tiny_model.tokenizer(TEXT)["input_ids"]
    assert sum(r.n_tokens for r in results) == len(ids)
    assert sum(r.n_characters for r in results) == len(TEXT)
    done = 0
    for result in results:
        done += result.n_tokens
        begin = max(0, done - 20)
        window = torch.tensor([[0, *ids[begin:done]]])
        with torch.no_grad():
            table = tiny_model.model(window).logits[0].log_softmax(-1)
        picked = [float(table[i, window[0, i + 1]]) for i in range(window.shape[1] - 1)]
        assert result.logp == pytest.approx(sum(picked[-result.n_tokens :]), abs=1e-3)


def test_batches_change_nothing(tiny_model):
    one = score_windows(tiny_model, TEXT, context=16, batch_size=1)
    assert [r.logp for r in score_windows(tiny_model, TEXT, context=16)] == pytest.approx(
        [r.logp for r in one], abs=1e-4
    )


def test_a_window_that_cannot_be_scored_is_named(tiny_model):
    import torch

    with torch.no_grad():
        row = tiny_model.tokenizer("z", add_special_tokens=False)["input_ids"][0]
        tiny_model.model.model.embed_tokens.weight[row] = float("nan")
    with pytest.raises(LsnsError, match=r"^mine, window \d+: the log-probability of"):
        score_windows(tiny_model, TEXT, context=16)


def test_never_two_bos(tiny_model):
    results = score_windows(tiny_model, f"<eos>{TEXT}", context=128)
    plain = score_windows(tiny_model, TEXT, context=128)
    assert results[0].logp == pytest.approx(plain[0].logp, abs=1e-3)
    assert results[0].n_tokens == plain[0].n_tokens


def test_the_text_that_ships():
    [(name, text)] = Perplexity("perplexity").texts
    assert name == "text"
    assert 1200 < len(text.split()) < 1800
    assert text.isascii()


def test_a_text_with_nothing_to_score(tiny_model):
    for text, prefix in (("", "auto"), ("a", "none")):
        with pytest.raises(LsnsError, match=r"^mine, window 0 \('a?'\) has no token that could be"):
            score_windows(tiny_model, text, prefix=prefix)


def read_text(path):
    [(_, text)] = Perplexity("perplexity", str(path)).texts
    return text


def test_files_that_hold_no_text(tmp_path):
    with pytest.raises(LsnsError, match=r"no file .*nothing; perplexity is of one text"):
        read_text(tmp_path / "nothing")
    (tmp_path / "x").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LsnsError, match="is not UTF-8"):
        read_text(tmp_path / "x")
    (tmp_path / "x").write_text(" \n")
    with pytest.raises(LsnsError, match="is empty"):
        read_text(tmp_path / "x")
    for content in (b"a\xc2\xa0text\n", b"\xef\xbb\xbfa\xc2\xa0text\r\n", b"a\xc2\xa0text\r"):
        (tmp_path / "x").write_bytes(content)
        assert read_text(tmp_path / "x") == "a\u00a0text\n"

"""Log-probabilities against one text at a time, and the characters that tokens stand for."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lsns import LsnsError, UnitMask, lesion
from lsns.evaluation import logprobs
from lsns.evaluation.perplexity import Perplexity
from lsns.evaluation.scoring import resolve_prefix, span_surprisal
from lsns.models import forward
from tests.evaluation.reference import run, score_texts, token_logprobs
from tests.test_activations import small_context
from tests.tiny import TEXTS, make_model, make_tokenizer

SENTENCES = [
    *TEXTS,
    "the cat sat on the hills",
    "the cat sat on the mat",
    "a storm",
    "zem vepe fistes zi the moon",
]
STRANGE = [
    "the café 🙂 is naïve",
    "中文 and 🏳️‍🌈 in e\u0301 combining",
    "  two  spaces\tand a tab ",
    "\n",
    "ﬁne ½ \u200bzero width",
]


def totals(scores):
    return [score.total for score in scores]


@pytest.mark.parametrize("prefix", ["auto", "none"])
def test_equals_one_text_at_a_time(tiny_model, prefix):
    texts = SENTENCES + STRANGE[:3]
    front = 0 if prefix == "auto" else None
    for text, score in zip(texts, score_texts(tiny_model, texts, prefix=prefix), strict=True):
        expected = token_logprobs(tiny_model, text, front)
        np.testing.assert_allclose(score.logprobs[-len(expected) :], expected, atol=1e-4)
        assert score.total == pytest.approx(sum(expected), abs=1e-3)
        assert score.n_scored == len(expected) == len(score.ids) - (prefix == "none")


def test_bundled_model_equals_one_text_at_a_time(bundled):
    texts = ["Who did the cat chase?", "Who did the cat chase the mouse?", "中文 is 🙂."]
    for text, score in zip(texts, score_texts(bundled, texts), strict=True):
        expected = token_logprobs(bundled, text, bundled.tokenizer.bos_token_id)
        np.testing.assert_allclose(score.logprobs, expected, atol=1e-3)


def architectures():
    from transformers import BloomConfig, Gemma2Config, GPT2Config, MambaConfig, MistralConfig

    small = {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    heads = {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 128}
    return {
        # (config, whether the head stands apart, whether rows can be shared)
        "gpt2": (GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2), True, True),
        "gemma2": (
            Gemma2Config(**small, **heads, final_logit_softcapping=0.5, sliding_window=4096),
            False,
            True,
        ),
        "mistral": (MistralConfig(**small, **heads, sliding_window=4), True, False),
        "bloom": (BloomConfig(vocab_size=300, hidden_size=16, n_layer=2, n_head=2), True, False),
        "mamba": (
            MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=2, state_size=4),
            True,
            False,
        ),
    }


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mistral", "bloom", "mamba"])
def test_any_architecture_equals_one_text_at_a_time(name):
    from transformers import AutoModelForCausalLM

    from lsns import HuggingFaceModel

    config, apart, shared = architectures()[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = AutoModelForCausalLM.from_config(config).eval()
        # The usual small weights hide what is wrong with attention.
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(8)
    model = HuggingFaceModel.wrap(module, make_tokenizer())
    way = forward.forward_pass(model)
    assert (way.head is not None, way.shares) == (apart, shared)
    for text, score in zip(SENTENCES, score_texts(model, SENTENCES), strict=True):
        np.testing.assert_allclose(score.logprobs, token_logprobs(model, text, 0), atol=1e-3)


def test_many_rows_and_slices_of_the_head_change_nothing(tiny_model, monkeypatch):
    texts = [f"{a} {b}" for a in TEXTS for b in TEXTS]
    expected = totals(score_texts(tiny_model, texts))
    monkeypatch.setattr(logprobs, "LOGIT_VALUES", 900)
    assert totals(score_texts(tiny_model, texts)) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(forward, "_equals_model", lambda *_: False)
    forward._KNOWN.clear()
    assert totals(score_texts(tiny_model, texts)) == pytest.approx(expected, abs=1e-5)
    forward._KNOWN.clear()


def test_batches_change_nothing(tiny_model):
    expected = totals(score_texts(tiny_model, SENTENCES))
    for size in (1, 2, 3, 100):
        found = totals(score_texts(tiny_model, SENTENCES, batch_size=size))
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("size", [7, 150, 480])
def test_a_batch_size_is_the_texts_of_a_forward_pass(monkeypatch, size, shares):
    """Texts of a pass, which are its rows where rows are not shared."""
    model, passes, rows = make_model(), [], []
    laid_out = logprobs.lay_out

    def count(given, **options):
        passes.append(sum(map(len, given)))
        return laid_out(given, **options)

    if not shares:
        monkeypatch.setattr(forward, "_may_share", lambda _: False)
    forward.forward_pass(model)
    monkeypatch.setattr(logprobs, "lay_out", count)
    handle = model.blocks[0].register_forward_hook(lambda _m, _i, out: rows.append(len(out)))
    score_texts(model, [f"the cat {n} sat" for n in range(480)], batch_size=size)
    handle.remove()
    assert passes == [size] * (480 // size) + [480 % size] * bool(480 % size)
    assert shares or rows == passes


def test_a_token_that_the_model_has_no_embedding_for():
    model = make_model(vocab_size=270)
    assert score_texts(model, ["xyz"])[0].n_scored == 3
    with pytest.raises(LsnsError, match=r"^mine has the token 'Ġc' of id 2\d\d, and the model has"):
        score_texts(model, ["xyz", "the cat"], names=["a", "mine"])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_a_model_that_reads_four_tokens(kind):
    model = small_context(kind, 4)
    for text, score in zip(["xyz", "xz"], score_texts(model, ["xyz", "xz"]), strict=True):
        np.testing.assert_allclose(score.logprobs, token_logprobs(model, text, 0), atol=1e-4)
    with pytest.raises(LsnsError, match="and the model reads at most 4; shorten it"):
        score_texts(model, ["the cat sat"])
    assert len(run(model, Perplexity("perplexity"), texts=[("mine", TEXTS[0])])) > 5
    with pytest.raises(LsnsError, match="reads at most 1 token, and a window has at least 2"):
        run(small_context("llama", 1), Perplexity("perplexity"))


def test_order_and_repetition_change_no_byte(tiny_model):
    texts = [f"{a} {b}" for a in TEXTS for b in TEXTS]
    expected = dict(zip(texts, totals(score_texts(tiny_model, texts)), strict=True))
    shuffled = texts + texts[:5]
    random.Random(3).shuffle(shuffled)
    assert totals(score_texts(tiny_model, shuffled)) == [expected[text] for text in shuffled]


def test_long_texts_have_rows_of_their_own(tiny_model):
    text = " ".join([*TEXTS, *TEXTS])
    ids = tiny_model.tokenizer(text)["input_ids"]
    cut = tiny_model.tokenizer.decode(ids[:100])
    scores = score_texts(tiny_model, [cut, "the cat", f"{cut[:-8]} cat"])
    assert len(scores[0].ids) > forward.MOST_SHARED
    np.testing.assert_allclose(scores[0].logprobs, token_logprobs(tiny_model, cut, 0), atol=1e-4)


def test_a_lesion_acts_and_leaves(tiny_model):
    units = np.zeros(tiny_model.shape, dtype=bool)
    units[1, ::3] = True
    before = totals(score_texts(tiny_model, SENTENCES))
    with lesion(tiny_model, UnitMask(units)):
        scores = score_texts(tiny_model, SENTENCES)
        for text, score in zip(SENTENCES, scores, strict=True):
            np.testing.assert_allclose(
                score.logprobs, token_logprobs(tiny_model, text, 0), atol=1e-4
            )
    assert not np.allclose(totals(scores), before, atol=1e-2)
    assert totals(score_texts(tiny_model, SENTENCES)) == before


def test_what_a_lesion_hides_is_not_remembered():
    model = make_model(seed=5)
    with lesion(model, UnitMask(np.ones(model.shape, dtype=bool))):
        score_texts(model, TEXTS)
    assert model.model not in forward._KNOWN
    forward.forward_pass(model)
    assert forward._KNOWN[model.model] == (True, True)


def test_nothing_global_changes(tiny_model):
    tokenizer, state = tiny_model.tokenizer, torch.random.get_rng_state()
    numbers = np.random.get_state()[1].copy()
    settings = (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.model_max_length)
    tiny_model.model.train()
    score_texts(tiny_model, SENTENCES)
    assert tiny_model.model.training
    assert settings == (
        tokenizer.padding_side,
        tokenizer.truncation_side,
        tokenizer.model_max_length,
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert (numbers == np.random.get_state()[1]).all()


# ------------------------------------------------------------------------------- what is in front


def test_prefixes_of_the_bundled_model(bundled):
    found = {p: resolve_prefix(bundled.tokenizer, p) for p in ("auto", "bos", "eos", "none")}
    assert {p: front.token for p, front in found.items()} == {
        "auto": "<|im_start|>",
        "bos": "<|im_start|>",
        "eos": "<|im_end|>",
        "none": None,
    }
    assert resolve_prefix(bundled.tokenizer, "<|endoftext|>").token_id == 0


def test_auto_is_eos_where_there_is_no_bos(tiny_tokenizer):
    assert tiny_tokenizer.bos_token is None
    assert resolve_prefix(tiny_tokenizer, "auto").token == "<eos>"


@pytest.mark.parametrize("prefix", ["bos", "<|nowhere|>", ""])
def test_a_prefix_that_the_tokenizer_has_not(tiny_model, prefix):
    with pytest.raises(LsnsError, match="no token for prefix"):
        score_texts(tiny_model, ["the cat"], prefix=prefix)


def test_never_two_bos(tiny_model):
    plain = score_texts(tiny_model, ["the cat"])[0]
    written = score_texts(tiny_model, ["<eos>the cat"])[0]
    assert written.total == pytest.approx(plain.total, abs=1e-5)
    assert np.isnan(written.logprobs[0])


def test_a_tokenizer_that_adds_bos_adds_none_here():
    from tokenizers.processors import TemplateProcessing

    model = make_model()
    expected = totals(score_texts(model, TEXTS))
    without = totals(score_texts(model, TEXTS, prefix="none"))
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A", special_tokens=[("<eos>", 0)]
    )
    assert model.tokenizer("the cat")["input_ids"][0] == 0
    assert totals(score_texts(model, TEXTS)) == expected
    assert totals(score_texts(model, TEXTS, prefix="none")) == without


# ---------------------------------------------------------------------------------------- spans


@pytest.mark.parametrize("text", [*SENTENCES, *STRANGE])
def test_spans_of_any_division_add_up(tiny_model, text):
    score = score_texts(tiny_model, [text])[0]
    expected = -score.total / np.log(2)
    assert np.nansum(score.surprisals) == pytest.approx(expected)
    for cut in {a for a in score.anchors.tolist() if a > score.anchors.min()}:
        parts = span_surprisal(score, 0, cut) + span_surprisal(score, cut, len(text))
        assert parts == pytest.approx(expected, abs=1e-9)


def test_tokens_of_a_multibyte_character_belong_together(bundled):
    text = "I saw 中文 🙂 and e\u0301."
    score = score_texts(bundled, [text])[0]
    for start, end in score.offsets.tolist():
        assert 0 <= start < end <= len(text)
    for word in text.rstrip(".").split():
        start = text.index(word)
        inside = [i for i, a in enumerate(score.anchors.tolist()) if start <= a < start + len(word)]
        ids = [score.ids[i] for i in inside]
        assert bundled.tokenizer.decode(ids).strip() == word


def test_a_leading_space_belongs_to_the_word(tiny_model):
    text = "the cat"
    score = score_texts(tiny_model, [text])[0]
    word = sum(s for s, o in zip(score.surprisals, score.offsets, strict=True) if o[1] > 4)
    assert span_surprisal(score, 4, 7) == pytest.approx(word)


def test_a_span_without_a_token_is_an_error(tiny_model):
    score = score_texts(tiny_model, ["the cat"])[0]
    with pytest.raises(LsnsError, match=r"item 3, region 2: no token belongs to ' '"):
        span_surprisal(score, 3, 4, name="item 3, region 2")


def test_a_span_with_nothing_in_front_is_an_error(bundled):
    score = score_texts(bundled, ["The cat sat."], prefix="none")[0]
    with pytest.raises(LsnsError, match="nothing stands in front of 'The'"):
        span_surprisal(score, 0, 3)
    assert span_surprisal(score, 0, 7) > 0


# ---------------------------------------------------------------------------------------- errors


def test_a_text_with_nothing_to_score(tiny_model):
    with pytest.raises(LsnsError, match=r"text 2 \(''\) has no token"):
        score_texts(tiny_model, ["the cat", ""])
    with pytest.raises(LsnsError, match="put a prefix in front"):
        score_texts(tiny_model, ["e"], prefix="none")


def test_a_text_that_is_too_long(tiny_model):
    with pytest.raises(LsnsError, match="the model reads at most 128; shorten it"):
        score_texts(tiny_model, ["the cat", "jup mum " * 60])


def test_a_text_is_called_by_its_name(tiny_model):
    with pytest.raises(LsnsError, match=r"^mine \('jup mum .*' has|^mine \('jup mum "):
        score_texts(tiny_model, ["the cat", "jup mum " * 60], names=["a", "mine"])


def test_an_impossible_batch_size(tiny_model):
    with pytest.raises(LsnsError, match="batch-size must be at least 1"):
        score_texts(tiny_model, ["the cat"], batch_size=0)


def test_what_is_not_finite_is_named_and_not_scored(tiny_model):
    with torch.no_grad():
        row = tiny_model.tokenizer("j", add_special_tokens=False)["input_ids"][0]
        tiny_model.model.model.embed_tokens.weight[row] = float("nan")
    score_texts(tiny_model, ["the cat"])
    with pytest.raises(LsnsError, match=r"^text 2: .* of 'j and' is not finite in float32"):
        score_texts(tiny_model, ["the cat", "j and"])
    with pytest.raises(LsnsError, match=r"^mine: the"):
        score_texts(tiny_model, ["the cat", "j and"], names=["a", "mine"])


def test_no_texts_no_scores(tiny_model):
    assert score_texts(tiny_model, []) == []

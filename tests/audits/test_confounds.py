"""What else differs between the conditions: by hand, on texts that a real tokenizer reads."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lsns import Contrast, localize
from lsns.audits.confounds import MEDIUM, Confound, audit_confounds
from tests.tiny import make_module, make_tokenizer

CONTRAST = Contrast(
    name="tiny",
    positive=("the cat sat on the mat", "a storm came over", "the moon", "the harvest was in"),
    negative=("zem vepe fistes", "jum jorrombe plart ir jop zept", "uc bramets"),
)
# Of seven texts, positive ones first: 4 and 3.
ITEMS = {
    "tokens": [6, 4, 2, 4, 6, 6, 5],
    "whole": [6, 4, 2, 4, 8, 14, 5],
    "special": [1, 1, 1, 1, 1, 1, 1],
    "ends_special": [0, 0, 0, 0, 1, 0, 1],
}


def by_measure(found: list[Confound]) -> dict[str, Confound]:
    return {one.measure: one for one in found}


def expect(values: list[float], found: Confound) -> None:
    """Means, and Hedges' g with its large-sample interval."""
    first, second = np.array(values[:4], float), np.array(values[4:], float)
    n, m = len(first), len(second)
    assert found.positive == pytest.approx(first.mean())
    assert found.negative == pytest.approx(second.mean())
    pooled = (((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / (n + m - 2)) ** 0.5
    g = (first.mean() - second.mean()) / pooled * (1 - 3 / (4 * (n + m - 2) - 1))
    half = 1.959964 * ((n + m) / (n * m) + g**2 / (2 * (n + m))) ** 0.5
    assert [found.g, found.low, found.high] == pytest.approx([g, g - half, g + half])
    assert found.differs == (abs(g) >= 0.5)


def test_every_measure_by_hand():
    found = by_measure(audit_confounds(CONTRAST, ITEMS, "last-token"))
    words = [6, 4, 2, 4, 3, 6, 2]
    expect(words, found["words"])
    expect([22, 17, 8, 18, 15, 30, 10], found["characters"])
    expect(ITEMS["whole"], found["tokens of the whole text"])
    expect(ITEMS["tokens"], found["tokens read"])
    expect([0, 0, 0, 0, 1, 1, 0], found["texts cut short"])
    expect([n / w for n, w in zip(ITEMS["whole"], words, strict=True)], found["tokens per word"])
    expect(ITEMS["ends_special"], found["pooled token is a special one"])


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_of_pooled_tokens_the_share_that_is_special(pooling):
    found = by_measure(audit_confounds(CONTRAST, ITEMS, pooling))
    expect([1 / n for n in ITEMS["tokens"]], found["special tokens among those pooled"])
    assert "pooled token is a special one" not in found
    last = by_measure(audit_confounds(CONTRAST, ITEMS, "last-token"))
    assert "special tokens among those pooled" not in last


def test_conditions_that_do_not_overlap_and_do_not_vary_have_no_g():
    items = ITEMS | {"tokens": [5] * 4 + [3] * 3}
    apart = by_measure(audit_confounds(CONTRAST, items, "last-token"))["tokens read"]
    assert apart == Confound("tokens read", 5.0, 3.0, None, None, None)
    assert apart.differs


def test_conditions_that_are_all_the_same_do_not_differ():
    items = {name: [7] * 7 for name in ITEMS}
    found = by_measure(audit_confounds(CONTRAST, items, "mean"))
    # A third is a number whose means over 4 and over 3 texts differ in their last digit.
    thirds = ITEMS | {"tokens": [3] * 7}
    share = by_measure(audit_confounds(CONTRAST, thirds, "mean"))
    for one in (found["tokens read"], share["special tokens among those pooled"]):
        assert one.g == 0
        assert not one.differs


@pytest.mark.parametrize(
    ("g", "differs"), [(None, True), (MEDIUM, True), (-MEDIUM, True), (0.49, False), (-0.49, False)]
)
def test_half_a_standard_deviation_is_a_difference(g, differs):
    assert Confound("words", 1.0, 2.0, g, None, None).differs is differs


def test_word_frequency_is_the_mean_of_a_texts_words():
    wordfreq = pytest.importorskip("wordfreq")
    found = by_measure(audit_confounds(CONTRAST, ITEMS, "last-token"))["word frequency (Zipf)"]
    zipf = [
        np.mean([wordfreq.zipf_frequency(word, "en") for word in text.split()])
        for text in CONTRAST.texts
    ]
    expect(zipf, found)
    assert found.positive > 4 > found.negative


def test_without_wordfreq_the_rest_is_there(monkeypatch):
    with_it = audit_confounds(CONTRAST, ITEMS, "mean")
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    without = audit_confounds(CONTRAST, ITEMS, "mean")
    assert without == [one for one in with_it if "Zipf" not in one.measure]
    assert len(without) == 7


def make_reader(template: str):
    """A tiny model whose tokenizer puts a special token around every text."""
    from tokenizers.processors import TemplateProcessing

    from lsns.models.huggingface import HuggingFaceModel

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    return HuggingFaceModel.wrap(make_module(), tokenizer, name="tiny")


@pytest.mark.parametrize("cut", [None, 6])
def test_tokens_of_a_real_localization(cut, tmp_path):
    """One special token in front: its share under mean pooling is one in all that are read."""
    model = make_reader("<eos> $A")
    found = localize(
        model, CONTRAST, num_units=3, pooling="mean", max_tokens=cut, cache_dir=tmp_path
    )
    whole = [len(model.tokenizer.tokenize(text)) + 1 for text in CONTRAST.texts]
    read = [n if cut is None else min(n, cut) for n in whole]
    confounds = by_measure(audit_confounds(CONTRAST, found.measurement.items, "mean"))
    expect(whole, confounds["tokens of the whole text"])
    expect([1 / n for n in read], confounds["special tokens among those pooled"])
    if cut is None:
        assert confounds["texts cut short"].positive == confounds["texts cut short"].negative == 0
        assert confounds["texts cut short"].g == 0
    else:
        assert 0 < sum(n > cut for n in whole) < 7
        expect([n > cut for n in whole], confounds["texts cut short"])


def test_a_last_token_that_is_special(tmp_path):
    """What is pooled then says nothing of the last word, in either condition."""
    model = make_reader("$A <eos>")
    found = localize(model, CONTRAST, num_units=3, max_tokens=4, cache_dir=tmp_path)
    items = found.measurement.items
    confounds = by_measure(audit_confounds(CONTRAST, items, "last-token"))
    special = confounds["pooled token is a special one"]
    assert (special.positive, special.negative, special.g) == (1, 1, 0)

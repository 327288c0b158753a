"""Continuations: greedy, sampled, refused."""

from __future__ import annotations

import pytest

import lsns


def test_greedy_is_the_same_with_and_without_the_cache(bundled):
    with_cache = bundled.generate("The quick brown fox", max_new_tokens=8)
    assert with_cache == bundled.generate("The quick brown fox", max_new_tokens=8, use_cache=False)
    assert with_cache


def test_settings_of_the_checkpoint_do_not_change_greedy(tiny_model):
    expected = tiny_model.generate("the cat", max_new_tokens=12)
    settings = tiny_model.model.generation_config
    settings.repetition_penalty, settings.do_sample, settings.temperature = 5.0, True, 9.0
    assert tiny_model.generate("the cat", max_new_tokens=12) == expected


def test_sampling_follows_its_seed(bundled):
    texts = [
        bundled.generate("Once upon a time", max_new_tokens=12, temperature=1.5, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max-new-tokens must be at least 1"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"prompt": ""}, "the prompt has no tokens"),
    ],
)
def test_what_cannot_be_done_is_refused(tiny_model, options, message):
    options = {"prompt": "the cat", **options}
    with pytest.raises(lsns.LsnsError, match=message):
        lsns.generate(tiny_model, **options)

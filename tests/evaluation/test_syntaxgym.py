"""SyntaxGym suites: sentences, regions and predictions, against a slow and obvious reading."""

from __future__ import annotations

import copy
import json
import math
import re

import numpy as np
import pytest

from lsns import LsnsError, UnitMask, lesion
from lsns.evaluation import flaws
from lsns.evaluation.syntaxgym import SyntaxGym, _regions, _Suite
from tests.evaluation.reference import run, score_texts, token_logprobs
from tests.evaluation.test_formulas import shunting_yard


def region(number, content):
    return {"region_number": number, "content": content}


SUITE = {
    "meta": {"name": "demo", "metric": "sum"},
    "region_meta": {"1": "subject", "2": "comma", "3": "verb"},
    "predictions": [{"type": "formula", "formula": "(3;%x%) < (3;%y%)"}],
    "items": [
        {
            "item_number": number,
            "conditions": [
                {
                    "condition_name": "x",
                    "regions": [region(1, "the cat"), region(2, ""), region(3, "sat")],
                },
                {
                    "condition_name": "y",
                    "regions": [region(1, "the moon"), region(2, ","), region(3, "sat")],
                },
            ],
        }
        for number in (1, 2)
    ],
}


def write(folder, change=lambda suite: None, name="demo.json"):
    suite = copy.deepcopy(SUITE)
    change(suite)
    (folder / name).write_text(json.dumps(suite))
    return folder / name


def read_suites(path, limit=None):
    return SyntaxGym("syntaxgym", str(path), limit).items


def read_suite(path, limit=None) -> _Suite:
    return read_suites(path, limit)[0]


def sentences_of(suite):
    return [s for sentences in suite.items.values() for s in sentences.values()]


def score_suites(model, suites, **options):
    return run(model, SyntaxGym("syntaxgym"), items=suites, **options)


def slow_regions(model, regions, front):
    """Bits per region: each token goes to the region of its first letter, one by one."""
    kept = [(r["region_number"], r["content"]) for r in regions if r["content"]]
    text = " ".join(content for _, content in kept)
    owner = [None] * len(text)
    place = 0
    for number, content in kept:
        owner[place : place + len(content)] = [number] * len(content)
        place += len(content) + 1
    offsets = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    bits = {r["region_number"]: 0.0 for r in regions}
    logprobs = token_logprobs(model, text, front)
    for (start, _), logprob in zip(offsets["offset_mapping"], logprobs, strict=True):
        while owner[start] is None:
            start += 1
        bits[owner[start]] -= logprob / math.log(2)
    return bits


def slow_results(model, path, front, items=None):
    content = json.loads(path.read_text())
    for item in content["items"][:items]:
        bits = {
            (c["condition_name"], number): value
            for c in item["conditions"]
            for number, value in slow_regions(model, c["regions"], front).items()
        }
        for place, prediction in enumerate(content["predictions"]):
            yield str(item["item_number"]), place, shunting_yard(prediction["formula"], bits)


def test_all_suites_equal_the_slow_reading(tiny_model, suites):
    read = read_suites(suites)
    assert len(read) == 10
    results = score_suites(tiny_model, read)
    assert len(results) == 270
    for suite in read:
        # Two items of each: it is slow.
        expected = list(slow_results(tiny_model, suites / f"{suite.name}.json", 0, items=2))
        found = [(r.item, r.prediction, r.correct) for r in results if r.paradigm == suite.name]
        assert found[: len(expected)] == expected
        assert len(found) == len(suite.items) * len(suite.predictions)


def test_regions_of_all_suites_add_up_to_the_sentence(tiny_model, suites):
    sentences = [s for suite in read_suites(suites, limit=8) for s in sentences_of(suite)]
    scores = score_texts(tiny_model, [s.text for s in sentences])
    for sentence, score in zip(sentences, scores, strict=True):
        whole = -score.total / math.log(2)
        regions = _regions(sentence, score, "sentence")
        assert sum(regions.values()) == pytest.approx(whole, abs=1e-4)
        assert list(regions) == [number for number, _ in sentence.regions]


@pytest.mark.parametrize("name", ["npz_obj", "subordination"])
def test_bundled_model_equals_the_slow_reading(bundled, suites, name):
    path = suites / f"{name}.json"
    suite = read_suite(path, limit=2)
    found = [(r.item, r.prediction, r.correct) for r in score_suites(bundled, [suite])]
    assert found == list(slow_results(bundled, path, 1, items=2))
    content = json.loads(path.read_text())
    scores = iter(score_texts(bundled, [s.text for s in sentences_of(suite)]))
    for item in content["items"][:2]:
        for condition in item["conditions"]:
            sentence = suite.items[str(item["item_number"])][condition["condition_name"]]
            regions = _regions(sentence, next(scores), "sentence")
            expected = slow_regions(bundled, condition["regions"], 1)
            assert regions == pytest.approx(expected, abs=2e-3)


def test_under_a_lesion(tiny_model, tmp_path):
    suite = read_suite(write(tmp_path))
    units = np.zeros(tiny_model.shape, dtype=bool)
    units[0, :8] = True
    with lesion(tiny_model, UnitMask(units)):
        found = [(r.item, r.prediction, r.correct) for r in score_suites(tiny_model, [suite])]
        assert found == list(slow_results(tiny_model, tmp_path / "demo.json", 0))


def test_sentences_are_joined_as_published(tmp_path):
    first, second = sentences_of(read_suite(write(tmp_path)))[:2]
    assert (first.text, second.text) == ("the cat sat", "the moon , sat")


def test_an_empty_region_has_no_surprisal(tiny_model, tmp_path):
    sentence = sentences_of(read_suite(write(tmp_path)))[0]
    assert _regions(sentence, score_texts(tiny_model, [sentence.text])[0], "sentence")[2] == 0


def test_a_region_without_context_is_left_out_and_not_compared(bundled, tmp_path):
    def compare_the_first(suite):
        suite["predictions"][0]["formula"] = "(1;%x%) < (3;%x%)"
        for condition in suite["items"][0]["conditions"]:
            condition["regions"][0]["content"] = "The"

    suite = read_suite(write(tmp_path, compare_the_first), limit=1)
    sentence = sentences_of(suite)[0]
    score = score_texts(bundled, [sentence.text], prefix="none")[0]
    regions = _regions(sentence, score, "sentence")
    assert list(regions) == [2, 3]
    assert sum(regions.values()) == pytest.approx(-score.total / math.log(2))
    with pytest.raises(LsnsError, match=r"prediction 1, item 1: region 1 of 'x' has nothing in"):
        score_suites(bundled, [suite], prefix="none")


def test_a_region_that_cannot_be_aligned_is_named(tiny_model, tmp_path):
    from dataclasses import replace

    sentence = sentences_of(read_suite(write(tmp_path)))[0]
    score = score_texts(tiny_model, [sentence.text])[0]
    moved = replace(score, offsets=np.zeros_like(score.offsets))
    with pytest.raises(LsnsError, match=r"item 1, x, region 3: no token belongs to 'sat'"):
        _regions(sentence, moved, "suite demo, item 1, x")


def test_a_sentence_that_cannot_be_scored_is_named(tiny_model, tmp_path):
    def make_it_long(suite):
        suite["items"][1]["conditions"][1]["regions"][0]["content"] = "the cat " * 70

    suite = read_suite(write(tmp_path, make_it_long))
    with pytest.raises(LsnsError, match=r"^suite demo, item 2, y \('the cat .* at most 128"):
        score_suites(tiny_model, [suite])


def set_region(key, value):
    return lambda suite: suite["items"][0]["conditions"][0]["regions"][0].update({key: value})


def formula(text):
    return lambda suite: suite["predictions"][0].update(formula=text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (formula("(3;%x%) <"), "suite demo, prediction 1, place 10 of .*expected a number"),
        (formula("(" * 400_000), "suite demo, prediction 1 has 400,000 characters"),
        (set_region("region_number", math.inf), "not JSON .Infinity is no number"),
        (
            set_region("region_number", "x" * 10**6),
            "region_number must be a whole number; found 'x",
        ),
        (
            set_region("region_number", 1e300),
            "item 1: region_number must be a whole number; found 1e",
        ),
        (set_region("region_number", 10**400), "region_number must be a whole number; found 1000"),
        (set_region("region_number", 1.5), "region_number must be a whole number; found 1.5"),
        (set_region("region_number", 2), "item 1, x: a region_number is there twice"),
        (set_region("content", ["a"]), "the content of a region is no text"),
        (set_region("content", "\ud800"), "a text is not valid Unicode"),
        (lambda s: s["meta"].update(name="\ud800"), "a text is not valid Unicode"),
        (lambda s: s["meta"].update(name={"a": 1}), "the suite's name must be a name of"),
        (lambda s: s["items"][0].update(item_number=[1]), "item_number must be a name of"),
        (formula("(3;%z%) < 1"), "suite demo, prediction 1: no item has .*condition 'z'"),
        (formula("(*;%z%) < 1"), "no item has condition 'z'"),
        (formula("(9;%x%) < 1"), "no item has region 9 of condition 'x'"),
        (lambda s: s["items"][1]["conditions"].pop(), "item 2 does not have region 3 of .*'y'"),
        (lambda s: s["meta"].update(metric="mean"), "metric 'mean'; only sum"),
        (lambda s: s.pop("items"), "is no SyntaxGym suite"),
        (lambda s: s.update(predictions=[]), "is no SyntaxGym suite"),
        (lambda s: s["predictions"][0].pop("formula"), "a prediction without a formula"),
        (lambda s: s["items"][0].pop("conditions"), r"item 1 cannot be read \(KeyError"),
        (
            lambda s: s["items"][1]["conditions"][0].update(regions=[region(1, " ")]),
            "item 2: condition 'x' has no text",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, change, message):
    with pytest.raises(LsnsError, match=message) as raised:
        read_suite(write(tmp_path, change))
    assert re.search("\n", str(raised.value)) is None
    assert len(str(raised.value)) < 400


def test_deep_json_is_one_line_at_once(tmp_path):
    (tmp_path / "x.json").write_text("[" * 200_000)
    with pytest.raises(
        LsnsError, match=r"x\.json: values nested in one another more than 100 deep"
    ):
        read_suites(tmp_path)


def test_flaws_are_read_as_what_they_are(tiny_model, tmp_path):
    def spoil(suite):
        first, second = suite["items"]
        second.update(item_number=1)
        third = copy.deepcopy(first) | {"item_number": 3}
        third["conditions"].append(copy.deepcopy(third["conditions"][1]))
        third["conditions"][0]["regions"][0]["content"] = " the cat\u00a0"
        third["conditions"][1]["regions"][1]["content"] = None
        suite["items"].append(third)

    path = write(tmp_path, spoil)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b", ", b",\r\n"))
    suite = read_suite(path)
    assert suite.flaws == {
        "1 (2)": f"{flaws.SAME}; {flaws.NAMESAKE}",
        "3": f"{flaws.BLANKS}; {flaws.CONDITION}",
    }
    results = score_suites(tiny_model, [suite])
    assert [(r.item, r.flaw) for r in results] == [
        (item, suite.flaws.get(item)) for item in ("1", "1 (2)", "3")
    ]
    assert results[0].correct == results[1].correct == results[2].correct
    assert read_suite(path, limit=1).flaws == {}


def test_paths_that_hold_no_suites(tmp_path):
    with pytest.raises(LsnsError, match="no file or folder"):
        read_suites(tmp_path / "nothing")
    with pytest.raises(LsnsError, match=r"holds no \.json file"):
        read_suites(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(LsnsError, match=r"x\.json: not JSON"):
        read_suites(tmp_path)
    (tmp_path / "x.json").unlink()
    write(tmp_path)
    write(tmp_path, name="again.json")
    with pytest.raises(LsnsError, match="two suites of the name 'demo'"):
        read_suites(tmp_path)

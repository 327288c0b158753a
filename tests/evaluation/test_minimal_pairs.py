"""Minimal pairs: reading them, and what a model prefers."""

from __future__ import annotations

import json
import random
from importlib.resources import files

import pytest

from lsns import LsnsError, lesion
from lsns.evaluation import flaws
from lsns.evaluation.benchmarks import parse_benchmarks
from lsns.evaluation.minimal_pairs import MinimalPair, MinimalPairs
from tests.evaluation.reference import accuracy, read_pairs, run, score_pairs, token_logprobs

GOOD = {"sentence_good": "the cat sat", "sentence_bad": "the cat sit"}


def write(folder, name, *lines):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def test_a_folder_is_read_by_name(tmp_path):
    write(tmp_path, "b.jsonl", GOOD, "", {**GOOD, "pairID": 7})
    write(tmp_path, "a.jsonl", {**GOOD, "UID": "agreement", "pairID": "12"})
    write(tmp_path, "notes.txt", "not read")
    assert read_pairs(tmp_path) == [
        MinimalPair("agreement", "12", "the cat sat", "the cat sit"),
        MinimalPair("b", "0", "the cat sat", "the cat sit"),
        MinimalPair("b", "7", "the cat sat", "the cat sit"),
    ]


def test_limit_is_per_paradigm(tmp_path):
    lines = [{**GOOD, "UID": f"p{i % 2}"} for i in range(9)]
    found = read_pairs(write(tmp_path, "all.jsonl", *lines), limit=2)
    assert [(p.paradigm, p.item) for p in found] == [
        ("p0", "0"),
        ("p1", "1"),
        ("p0", "2"),
        ("p1", "3"),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "{not json"], r"x\.jsonl, line 2: not JSON"),
        (["[1, 2]"], r"line 1: a JSON object is needed, found \[1, 2\]"),
        ([{"sentence_good": "a b"}], "line 1: sentence_bad must be a sentence, found None"),
        ([{**GOOD, "sentence_bad": " "}], "line 1: sentence_bad must be a sentence, found ' '"),
        (['{"a":' * 200_000], "line 1: values nested in one another more than 100 deep"),
        (
            [GOOD, '{"sentence_good": "\\ud800"}'],
            r"line 2: a text is not .* \(half a surrogate pair",
        ),
        (['{"UID": "\\ud800"}'], "line 1: a text is not valid Unicode"),
        ([{**GOOD, "UID": ["p"]}], r"line 1: UID must be a name .* found \['p'\]"),
        ([{**GOOD, "pairID": "9" * 400}], "line 1: pairID must be a name of 1 to 200 characters"),
        (['{"pairID": NaN}'], "line 1: not JSON .NaN is no number"),
        ([{**GOOD, "sentence_bad": "x" * 9, "sentence_good": [["x" * 10**6]]}], "found .{62,64}$"),
        ([""], "holds no minimal pairs"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, lines, message):
    with pytest.raises(LsnsError, match=message) as raised:
        read_pairs(write(tmp_path, "x.jsonl", *lines))
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


FLAWED = [
    {**GOOD, "pairID": 3},
    {**GOOD, "pairID": 3, "sentence_bad": "the cat sat "},
    {"sentence_good": "the same\u00a0one", "sentence_bad": "the same\u00a0one", "pairID": "3 (2)"},
    {**GOOD, "pairID": 3},
    {**GOOD, "pairID": None, "UID": "q"},
]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_flaws_are_read_as_what_they_are(tmp_path, ends, mark):
    lines = [json.dumps(line, ensure_ascii=False).encode() for line in FLAWED]
    (tmp_path / "p.jsonl").write_bytes(mark + ends.join(lines) + ends)
    assert [(p.paradigm, p.item, p.bad, p.flaw) for p in read_pairs(tmp_path)] == [
        ("p", "3", "the cat sit", None),
        ("p", "3 (2)", "the cat sat ", f"{flaws.BLANKS}; {flaws.NAMESAKE}"),
        ("p", "3 (2) (2)", "the same\u00a0one", f"{flaws.EQUAL}; {flaws.NAMESAKE}"),
        ("p", "3 (3)", "the cat sit", f"{flaws.SAME}; {flaws.NAMESAKE}"),
        ("q", "4", "the cat sit", None),
    ]


@pytest.mark.parametrize(
    "line", ["{no json", '{"sentence_good": 1}', '{"UID": [1]}', "[" * 10**5, "\udcff"]
)
def test_lines_beyond_the_limit_do_not_stop_it(tmp_path, line):
    path = tmp_path / "x.jsonl"
    content = "\n".join([json.dumps(GOOD), json.dumps(GOOD), line])
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert [pair.item for pair in read_pairs(path, limit=2)] == ["0", "1"]
    for limit in (3, None):
        with pytest.raises(LsnsError, match=r"x\.jsonl, line 3"):
            read_pairs(path, limit=limit)


def test_a_bad_line_that_may_be_needed_stops_it(tmp_path):
    lines = [{**GOOD, "UID": "a"}, {**GOOD, "UID": "b"}, "{no json", {**GOOD, "UID": "b"}]
    assert len(read_pairs(write(tmp_path, "x.jsonl", *lines), limit=1)) == 2
    with pytest.raises(LsnsError, match="line 3"):
        read_pairs(tmp_path / "x.jsonl", limit=2)
    with pytest.raises(LsnsError, match="line 1: not JSON"):
        read_pairs(write(tmp_path, "y.jsonl", "{no json", GOOD), limit=1)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"sentence_good": "\xff"}')
    with pytest.raises(LsnsError, match=r"x\.jsonl, line 1 is not UTF-8"):
        read_pairs(tmp_path)


def test_a_path_that_is_not_there_or_empty(tmp_path):
    with pytest.raises(LsnsError, match="no file or folder"):
        read_pairs(tmp_path / "nothing")
    with pytest.raises(LsnsError, match=r"holds no \.jsonl file"):
        read_pairs(tmp_path)
    with pytest.raises(LsnsError, match="limit must be at least 1"):
        read_pairs(tmp_path, limit=0)


def test_results_carry_the_log_probabilities(tiny_model):
    pairs = [
        MinimalPair("p", "0", "the cat sat on the mat", "the cat sat on the hills"),
        MinimalPair("p", "1", "the harvest was in", "harvest the was in"),
    ]
    for pair, result in zip(pairs, score_pairs(tiny_model, pairs), strict=True):
        good, bad = (sum(token_logprobs(tiny_model, t, 0)) for t in (pair.good, pair.bad))
        assert result.logp_good == pytest.approx(good, abs=1e-3)
        assert result.logp_bad == pytest.approx(bad, abs=1e-3)
        assert result.correct == (good > bad)
        assert (result.benchmark, result.paradigm, result.item) == ("pairs", "p", pair.item)


def test_a_pair_that_cannot_be_scored_is_named(tiny_model, tmp_path):
    import torch

    path = write(tmp_path, "x.jsonl", GOOD, {**GOOD, "UID": "p", "sentence_bad": "j and"})
    pairs = MinimalPairs("x", str(path))
    names = [name for name, _ in pairs.texts]
    assert names[2] == f"{path}, line 2, paradigm p, item 1, sentence_good"
    with torch.no_grad():
        row = tiny_model.tokenizer("j", add_special_tokens=False)["input_ids"][0]
        tiny_model.model.model.embed_tokens.weight[row] = float("nan")
    with pytest.raises(LsnsError, match=r"x\.jsonl, line 2, paradigm p, item 1, sentence_bad: the"):
        run(tiny_model, pairs)


def test_a_tie_is_half_correct(tiny_model):
    import torch

    with torch.no_grad():
        tiny_model.model.lm_head.weight.zero_()
    result = score_pairs(tiny_model, [MinimalPair("p", "0", "j u", "u j")])[0]
    assert result.logp_good == result.logp_bad
    assert (result.correct, result.score) == (None, 0.5)


def test_blimp_is_read(blimp):
    pairs = read_pairs(blimp, limit=100)
    assert len(pairs) == 2000
    assert len({pair.paradigm for pair in pairs}) == 20


@pytest.mark.parametrize("prefix", ["none", "<|endoftext|>", "bos"])
def test_blimp_on_the_bundled_model(bundled, blimp, prefix):
    from lsns.evaluation.scoring import resolve_prefix

    pairs = [pair for pair in read_pairs(blimp, limit=4) if pair.paradigm.startswith("principle")]
    front = resolve_prefix(bundled.tokenizer, prefix).token_id
    for pair, result in zip(pairs, score_pairs(bundled, pairs, prefix=prefix), strict=True):
        assert result.logp_good == pytest.approx(
            sum(token_logprobs(bundled, pair.good, front)), abs=1e-3
        )
        assert result.logp_bad == pytest.approx(
            sum(token_logprobs(bundled, pair.bad, front)), abs=1e-3
        )


def test_batches_and_order_on_the_bundled_model(bundled):
    shipped = files("lsns.evaluation") / "data" / "minimal_pairs.jsonl"
    pairs = read_pairs(str(shipped), limit=1)[:12]
    expected = score_pairs(bundled, pairs)
    shuffled = random.Random(5).sample(pairs, len(pairs))
    found = {(r.paradigm, r.item): r for r in score_pairs(bundled, shuffled)}
    assert [found[r.paradigm, r.item] for r in expected] == expected, "not a byte"
    for size in (1, 5):
        for one, other in zip(expected, score_pairs(bundled, pairs, batch_size=size), strict=True):
            assert one.logp_good == pytest.approx(other.logp_good, abs=1e-4)
            assert one.logp_bad == pytest.approx(other.logp_bad, abs=1e-4)
            assert one.correct == other.correct


def test_two_sets_of_pairs_are_told_apart_by_their_files(tmp_path):
    mine = write(tmp_path, "mine.jsonl", GOOD)
    found = parse_benchmarks(["minimal-pairs", f"minimal-pairs:{mine}"])
    assert [one.name for one in found] == ["minimal-pairs", f"minimal-pairs:{mine}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prefix", "expected"), [("none", 0.7155), ("<|endoftext|>", 0.7485), ("auto", 0.6900)]
)
def test_blimp_accuracy_of_the_bundled_model(bundled, blimp, prefix, expected):
    results = score_pairs(bundled, read_pairs(blimp, limit=100), prefix=prefix)
    assert accuracy(results) == pytest.approx(expected, abs=0.002)


@pytest.mark.slow
def test_blimp_under_the_language_lesion(bundled, blimp, langloc, tmp_path):
    import lsns
    from lsns.stimuli.published import read_langloc

    found = lsns.localize(bundled, read_langloc(langloc), percentage=1, cache_dir=tmp_path)
    with lesion(bundled, found.mask):
        results = score_pairs(bundled, read_pairs(blimp, limit=100), prefix="<|endoftext|>")
    assert accuracy(results) == pytest.approx(0.52, abs=0.02)

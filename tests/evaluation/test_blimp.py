"""BLiMP as published, flaws and all; from the hub's own cache layout, or not there."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from lsns import LsnsError, UnitMask, evaluate
from lsns.evaluation import blimp as hub
from lsns.evaluation.benchmarks import parse_benchmarks
from tests.evaluation.reference import read_pairs, score_pairs

# All 67 paradigms as they are published.
NAMES = """
adjunct_island anaphor_gender_agreement anaphor_number_agreement animate_subject_passive
animate_subject_trans causative complex_NP_island
coordinate_structure_constraint_complex_left_branch
coordinate_structure_constraint_object_extraction determiner_noun_agreement_1
determiner_noun_agreement_2 determiner_noun_agreement_irregular_1
determiner_noun_agreement_irregular_2 determiner_noun_agreement_with_adj_2
determiner_noun_agreement_with_adj_irregular_1 determiner_noun_agreement_with_adj_irregular_2
determiner_noun_agreement_with_adjective_1 distractor_agreement_relational_noun
distractor_agreement_relative_clause drop_argument ellipsis_n_bar_1 ellipsis_n_bar_2
existential_there_object_raising existential_there_quantifiers_1 existential_there_quantifiers_2
existential_there_subject_raising expletive_it_object_raising inchoative intransitive
irregular_past_participle_adjectives irregular_past_participle_verbs
irregular_plural_subject_verb_agreement_1 irregular_plural_subject_verb_agreement_2
left_branch_island_echo_question left_branch_island_simple_question
matrix_question_npi_licensor_present npi_present_1 npi_present_2 only_npi_licensor_present
only_npi_scope passive_1 passive_2 principle_A_c_command principle_A_case_1 principle_A_case_2
principle_A_domain_1 principle_A_domain_2 principle_A_domain_3 principle_A_reconstruction
regular_plural_subject_verb_agreement_1 regular_plural_subject_verb_agreement_2
sentential_negation_npi_licensor_present sentential_negation_npi_scope sentential_subject_island
superlative_quantifiers_1 superlative_quantifiers_2 tough_vs_raising_1 tough_vs_raising_2
transitive wh_island wh_questions_object_gap wh_questions_subject_gap
wh_questions_subject_gap_long_distance wh_vs_that_no_gap wh_vs_that_no_gap_long_distance
wh_vs_that_with_gap wh_vs_that_with_gap_long_distance
"""
PUBLISHED = NAMES.split()
# Pairs of equal sentences, as published.
EQUAL = {"principle_A_case_2": 5, "passive_1": 2}


def write_published(folder: Path) -> Path:
    """All paradigms with the flaws that are known, and a few more; eight pairs each."""
    folder.mkdir()
    for place, paradigm in enumerate(PUBLISHED):
        lines = []
        for i in range(8):
            good, bad = f"the cat {paradigm[:9]} {i}", f"the {paradigm[:9]} cat {i}"
            bad = good if 2 < i <= 2 + EQUAL.get(paradigm, 0) else bad
            good += " " * (paradigm == "transitive" and i == 7)
            lines.append({"sentence_good": good, "sentence_bad": bad, "UID": paradigm})
            lines[-1]["pairID"] = str(i)
        if paradigm == "causative":
            lines[6] = lines[5]
        if paradigm == "wh_island":
            lines[4]["sentence_good"] = "the\u00a0cat sat\u200b"
        content = ("\n", "\r\n")[place % 2].join(json.dumps(x, ensure_ascii=False) for x in lines)
        mark = b"\xef\xbb\xbf" * (place % 3 == 0)
        (folder / f"{paradigm}.jsonl").write_bytes(mark + content.encode())
    return folder


def test_all_published_paradigms_are_scored_with_their_flaws(tmp_path, tiny_model, caplog):
    assert len(PUBLISHED) == len(set(PUBLISHED)) == 67
    folder = write_published(tmp_path / "blimp")
    units = np.zeros(tiny_model.shape, dtype=bool)
    units[1, ::2] = True

    def run(**options):
        caplog.clear()
        return evaluate(
            tiny_model, [UnitMask(units)], f"blimp:{folder}", controls=[],
            output_dir=tmp_path / "out", **options,
        )  # fmt: skip

    study = run()
    counts = {
        "blanks at an end": 1, "equal sentences": 7, "the name of an earlier item": 1,
        "the sentences of an earlier item": 1, "a tie under the intact model": 7,
    }  # fmt: skip
    assert study.manifest["benchmarks"][0]["flaws"] == counts
    said = [r.getMessage() for r in caplog.records if "scored as they are" in r.getMessage()]
    assert len(said) == 1
    assert "7 items with equal sentences: a tie" in said[0]
    assert "7 items with a tie under the intact model: half correct" in said[0]
    written = json.loads((tmp_path / "out" / "study.json").read_text())
    assert written["benchmarks"][0]["flaws"] == counts

    for row, condition in zip(study.summary, ("intact", "lesion"), strict=True):
        table = study.items().to_pandas()
        table = table[table["condition"] == condition]
        assert len(table) == row.items == 67 * 8
        points = (table["logp_good"] > table["logp_bad"]) + 0.5 * (
            table["logp_good"] == table["logp_bad"]
        )
        assert (table["score"] == points).all()
        assert table["correct"].isna().sum() == (points == 0.5).sum() >= 7
        by_paradigm = points.groupby(table["paradigm"]).mean()
        assert row.value == pytest.approx(by_paradigm.mean())

    # From what is there, the same is said.
    assert run().summary == study.summary
    assert sum("scored as they are" in record.getMessage() for record in caplog.records) == 1
    limited = run(limit=3)
    assert limited.manifest["benchmarks"][0]["flaws"] == {}
    assert limited.summary[0].items == 67 * 3
    assert "scored as they are" not in caplog.text


def test_the_published_files_here_are_scored(blimp, tiny_model):
    pairs = read_pairs(blimp)
    assert {pair.flaw for pair in pairs} == {None}
    assert {pair.paradigm for pair in pairs} == {file.stem for file in blimp.glob("*.jsonl")}
    assert {pair.paradigm for pair in pairs} < set(PUBLISHED)
    results = score_pairs(tiny_model, read_pairs(blimp, limit=2))
    assert len(results) == 40
    assert all(result.correct is not None for result in results)


def parquet_bytes(rows: list[dict[str, object]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def rows_of(paradigm: str, number: int) -> list[dict[str, object]]:
    """As the hub has them: `pair_id` is a number, `UID` the paradigm."""
    return [
        {
            "sentence_good": f"the {paradigm} of item {i}",
            "sentence_bad": f"the the {paradigm} item {i}",
            "UID": paradigm,
            "pair_id": i,
        }
        for i in range(number)
    ]


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """The hub's cache with three paradigms of two pairs; the snapshot's folder."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(hub, "PARADIGMS", 3)
    root = tmp_path / "hub" / "datasets--nyu-mll--blimp"
    snapshot = root / "snapshots" / hub.COMMIT
    (root / "blobs").mkdir(parents=True)
    for paradigm in ("agreement", "binding", "islands"):
        content = parquet_bytes(rows_of(paradigm, 2))
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / paradigm).mkdir(parents=True)
        (snapshot / paradigm / "train-00000-of-00001.parquet").symlink_to(blob)
    return snapshot


def test_what_is_cached_is_read_as_the_same_pairs_from_jsonl(cached, tmp_path):
    benchmark = parse_benchmarks("blimp")[0]
    assert benchmark.size == 12
    folder = tmp_path / "jsonl"
    folder.mkdir()
    for paradigm in ("agreement", "binding", "islands"):
        lines = [json.dumps({**row, "pairID": str(row["pair_id"])}) for row in rows_of(paradigm, 2)]
        (folder / f"{paradigm}.jsonl").write_text("\n".join(lines))
    assert benchmark.items == read_pairs(folder)
    assert len(parse_benchmarks("blimp", limit=1)[0].items) == 3
    assert "agreement" in benchmark.texts[0][0]


def test_the_digest_is_of_every_file(cached):
    before = parse_benchmarks("blimp")[0].digest
    for paradigm in ("agreement", "islands"):
        file = cached / paradigm / "train-00000-of-00001.parquet"
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(parquet_bytes(rows_of(paradigm, 3)))
        assert parse_benchmarks("blimp")[0].digest != before
        file.write_bytes(content)
        assert parse_benchmarks("blimp")[0].digest == before


def test_a_file_cut_short_is_said(cached):
    file = cached / "binding" / "train-00000-of-00001.parquet"
    file.resolve().write_bytes(file.read_bytes()[:-10])
    with pytest.raises(LsnsError, match="is damaged: its SHA-256 is not"):
        parse_benchmarks("blimp")


def test_without_the_hub_one_line(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LsnsError, match=r"the hub cannot be reached .*blimp:FOLDER") as raised:
        parse_benchmarks("blimp")
    assert "\n" not in str(raised.value)

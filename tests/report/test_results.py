"""A results folder is read as it is: whole, in part, or refused in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lsns import LsnsError
from lsns.analysis.results import save_results
from lsns.report.results import read_results
from tests.report.conftest import PERCENTAGE


def test_all_of_it(results, results_folder, made):
    assert results.folder == results_folder
    found = results.localization
    assert np.array_equal(found.mask.units, made.mask.units)
    assert np.array_equal(results.nmd.mask.units, made.nmd.units)
    for name, key in (
        ("scores", "scores"),
        ("t_values", "t_values"),
        ("p_values", "adjusted_p_values"),
        ("magnitudes", "magnitudes"),
        ("outliers", "outliers"),
    ):
        assert np.array_equal(getattr(found, name), made.metadata[key]), name
    assert found.outliers.dtype == bool
    assert results.manifest["selection"]["percentage"] == PERCENTAGE
    assert {row["condition"] for row in results.summary} == {"intact", "lesion", "control"}
    assert results.continuations[0]["prompt"] == "The quick brown fox"
    assert results.versions["python"] == "3.11.7"
    assert results.config.startswith("model:")
    assert results.text.startswith("model")
    assert len(results.section("overlaps")) == 2
    assert results.missing("overlaps") == ""


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("localization.npz", "localization"),
        ("localization-nmd.npz", "nmd"),
        ("audit.json", "audit"),
        ("study", "study"),
        ("continuations.json", "continuations"),
        ("config.yaml", "config"),
        ("versions.json", "versions"),
        ("localization.txt", "text"),
    ],
)
def test_any_part_may_be_missing(results_folder, name, attribute):
    place = results_folder / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    found = read_results(results_folder)
    parts = ("localization", "nmd", "audit", "study", "continuations", "config", "versions", "text")
    assert {part for part in parts if getattr(found, part) is None} == {attribute}


def test_without_a_localization_the_manifest_is_the_audits(results_folder):
    (results_folder / "localization.npz").unlink()
    assert read_results(results_folder).manifest["audit"] == {"permutations": 1000}
    (results_folder / "audit.json").unlink()
    found = read_results(results_folder)
    assert found.manifest == {}
    assert found.section("reliability") is None
    assert found.missing("reliability") == "there is no audit.json"


def test_why_a_section_is_missing(results_folder):
    change(results_folder / "audit.json", calibration=None, missing={"calibration": "no items"})
    found = read_results(results_folder)
    assert found.section("calibration") is None
    assert found.missing("calibration") == "no items"
    assert found.missing("of no such name") == "audit.json does not have it"


def test_what_evaluate_alone_wrote(results_folder, tmp_path):
    shutil.copytree(results_folder / "study", tmp_path / "alone")
    found = read_results(tmp_path / "alone")
    assert found.localization is None
    assert len(found.summary) == len(read_results(results_folder).summary)


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damage(name, content):
    def do(folder):
        (folder / name).write_bytes(content)

    return do


def replace(name, **changes):
    return lambda folder: change(folder / name, **changes)


def other_shapes(folder):
    save_results(folder / "localization.npz", np.ones((2, 3)), {"scores": np.ones((2, 2))})


def of_something_else(folder):
    save_results(folder / "localization.npz", np.full((2, 3), 7), {})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage("audit.json", b'{"reliability": '), "audit.json is damaged: not JSON"),
        (damage("audit.json", b"[1, 2]"), "audit.json is damaged: an object was expected"),
        (damage("audit.json", b"\xff\xfe"), "audit.json is damaged: not UTF-8"),
        (damage("audit.json", b"[" * 100_000), "audit.json is damaged: not JSON"),
        (damage("continuations.json", b"{}"), "'prompts' is not a list"),
        (damage("localization.npz", b"PK"), "localization.npz holds no results"),
        (damage("study/study.json", b"{}"), "study.json has no summary"),
        (replace("audit.json", overlaps=[{"name": "x"}]), "'overlaps', row 0, has no 'units'"),
        (
            replace("audit.json", confounds=[{"measure": "x", "positive": "a", "negative": 1}]),
            "audit.json is damaged: 'confounds', row 0: positive is 'a'",
        ),
        (
            replace("audit.json", findings=[{"rule": "x", "level": 3, "sentence": "y"}]),
            "'findings', row 0: level is 3",
        ),
        (replace("audit.json", reliability=[1]), "'reliability' is not an object"),
        (replace("audit.json", reliability={"rows": 3}), "'reliability.rows' is not a list"),
        (replace("study/study.json", summary=[{"value": 1}]), "row 0, has no 'benchmark'"),
        (other_shapes, "holds no localization: scores of shape (2, 3) was expected, found (2, 2)"),
        (of_something_else, "scores of shape (2, 3) was expected, found nothing"),
    ],
)
def test_damage_is_one_line(results_folder, harm, message):
    harm(results_folder)
    with pytest.raises(LsnsError) as caught:
        read_results(results_folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_results_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, message in (
        ("empty", "is not a results folder: it has none of localization.npz"),
        ("nowhere", "is not there"),
        ("file", "is a file, not a folder"),
    ):
        with pytest.raises(LsnsError, match=message):
            read_results(tmp_path / name)

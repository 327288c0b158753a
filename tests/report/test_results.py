"""A results folder is read as it is: whole, in part, or refused in one line."""

from __future__ import annotations

import io
import json
import random
import shutil
import tracemalloc
import zipfile
from typing import get_args

import numpy as np
import pytest

from lsns import LsnsError
from lsns.analysis.results import load_results, save_results
from lsns.cli import FigureKind, run
from lsns.report.figures import write_figure
from lsns.report.page import make_page
from lsns.report.results import read_results
from tests.report.conftest import PERCENTAGE
from tests.report.mutations import mutate

FIGURES = get_args(FigureKind)


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
    assert {row.condition for row in results.summary} == {"intact", "lesion", "control"}
    assert results.continuations[0].prompt == "The quick brown fox"
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


def in_study(table, **changes):
    def do(folder):
        path = folder / "study" / "study.json"
        content = json.loads(path.read_text())
        content[table][1] |= changes
        path.write_text(json.dumps(content))

    return do


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
        (damage("continuations.json", b"{}"), "it has no 'prompts'"),
        (damage("localization.npz", b"PK"), "localization.npz holds no results"),
        (damage("study/study.json", b"{}"), "was written by an earlier version of lsns; run again"),
        (replace("audit.json", overlaps=[{"name": "x"}]), "'overlaps', row 0, has no 'shared'"),
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
        (replace("study/study.json", controls=3), "'controls' is not a list of objects"),
        (in_study("controls", p=["x"]), "'controls', row 1: p is ['x']"),
        (in_study("summary", difference=None), "'summary', row 1: difference is None"),
        (in_study("summary", benchmark="new"), "'new' has no intact row"),
        (replace("study/study.json", format=0), "by an earlier version of lsns; run again"),
        (
            other_shapes,
            "holds no localization: scores: numbers of shape (2, 3) were expected, found (2, 2)",
        ),
        (of_something_else, "scores: numbers of shape (2, 3) were expected, found nothing"),
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


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_changed_there_is_a_page_or_one_line(results_folder, tmp_path, seed):
    """Eight changes for each seed, each to a folder of its own."""
    rng = random.Random(seed)
    for number in range(8):
        folder = shutil.copytree(results_folder, tmp_path / str(number))
        done = mutate(folder, rng)
        error = refusal(folder, done, FIGURES[seed % len(FIGURES)] if number == 0 else None)
        assert "\n" not in error, done
        assert len(error) < 600, done


def refusal(folder, done, kind=None):
    """Draw the page, and a figure; what was refused, in words."""
    try:
        make_page(read_results(folder)).encode("utf-8")
        if kind is not None:
            write_figure(kind, [folder], folder / "figure.png")
    except LsnsError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(done) from error
    return ""


DIGESTS = {"one": "1" * 64, "other": "2" * 64}


def stamp(folder, part, run):
    """Write a run's digest into a part, as a run does."""
    path = folder / part
    if part.endswith(".npz"):
        mask, metadata = load_results(path)
        metadata["manifest"]["run"] = run
        save_results(path, mask, metadata)
    elif part == "audit.json":
        content = json.loads(path.read_text())
        change(path, manifest={**content["manifest"], "run": run})
    elif part == "config.yaml":
        path.write_text(f"{path.read_text()}# run: {run}\n")
    else:
        change(path, run=run)


PARTS = (
    *("localization.npz", "localization-nmd.npz", "audit.json", "study/study.json"),
    *("continuations.json", "config.yaml"),
)
# What has no digest where it was written by a command of its own.
OWN = {"audit.json", "study/study.json"}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_run_is_refused_and_named(results_folder, part, capsys):
    for other in PARTS:
        stamp(results_folder, other, DIGESTS["one"])
    assert read_results(results_folder).localization is not None
    stamp(results_folder, part, DIGESTS["other"])
    if part == "config.yaml":
        text = (results_folder / part).read_text().replace(f"# run: {'1' * 64}\n", "")
        (results_folder / part).write_text(text)
    with pytest.raises(LsnsError, match="parts of different runs") as caught:
        read_results(results_folder)
    assert f"{part} (22222222)" in str(caught.value)
    assert "run lsns run again" in str(caught.value)
    for arguments in (["report"], ["plot", "layers"]):
        assert run([*arguments, str(results_folder)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("part", PARTS)
def test_only_what_a_command_of_its_own_writes_may_name_no_run(results_folder, part):
    for other in PARTS:
        if other != part:
            stamp(results_folder, other, DIGESTS["one"])
    if part in OWN or part == "config.yaml":
        assert read_results(results_folder).localization is not None
    else:
        with pytest.raises(LsnsError, match="parts of different runs"):
            read_results(results_folder)


def test_an_audit_of_another_localization_is_refused(results_folder):
    path = results_folder / "audit.json"
    content = json.loads(path.read_text())
    change(path, manifest={**content["manifest"], "activations": "2" * 64})
    with pytest.raises(LsnsError, match="parts of different runs"):
        read_results(results_folder)


def announce(size):
    """An .npy file of few bytes that announces `size` numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": (size,)}
    )
    return file.getvalue() + b"\0" * 1000


def bombs(folder):
    """Files of few bytes that would take gigabytes."""
    with zipfile.ZipFile(folder / "header.npz", "w") as archive:
        archive.writestr("__json__.npy", announce(2**32))
    with zipfile.ZipFile(folder / "zeros.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__json__.npy", b"\0" * 50_000_000)
    np.savez(folder / "deep.npz", __json__=np.array('{"a":' * 200_000 + "1" + "}" * 200_000))
    return ["header.npz", "zeros.npz", "deep.npz"]


def test_what_announces_more_than_it_holds_takes_no_memory(results_folder, tmp_path):
    for name in bombs(tmp_path):
        (results_folder / "localization.npz").write_bytes((tmp_path / name).read_bytes())
        tracemalloc.start()
        with pytest.raises(LsnsError, match=r"localization\.npz holds no results"):
            read_results(results_folder)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000, name
        tracemalloc.stop()


@pytest.mark.parametrize("number", ["9" * 400, "Infinity", "1e999"])
def test_numbers_that_are_none_are_one_line_or_a_page(results_folder, number):
    path = results_folder / "study" / "study.json"
    content = json.loads(path.read_text())
    content["summary"][1]["value"] = "HERE"
    path.write_text(json.dumps(content).replace('"HERE"', number))
    refused = refusal(results_folder, number)
    assert refused == "" or "a number of 400 digits" in refused

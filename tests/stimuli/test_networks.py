"""`load_contrast`: by name, folder or file, each with its protocol."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lsns
from lsns.errors import LsnsError
from lsns.stimuli.networks import NETWORKS, load_contrast
from lsns.stimuli.published import read_langloc

DATA = Path(lsns.__file__).parent / "stimuli" / "data"
PROTOCOLS = {
    "language": ("last-token", 12),
    "theory-of-mind": ("mean", None),
    "multiple-demand": ("mean", None),
}
PAIRS = {"language": 240, "theory-of-mind": 24, "multiple-demand": 120}
ROWS = "text,condition\na,positive\nb,positive\nc,negative\nd,negative\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(ROWS)
    return path


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def test_there_are_three_networks() -> None:
    assert set(NETWORKS) == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_built_in_networks(name: str) -> None:
    found = load_contrast(name)
    assert (found.pooling, found.max_tokens) == PROTOCOLS[name]
    assert found.name == name
    assert found.source == f"built-in {name} stimuli"
    assert len(found.positive) == len(found.negative) == PAIRS[name]
    assert len(set(found.texts)) == len(found.texts)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_built_in_texts_are_those_of_the_file_in_pairs(name: str) -> None:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = load_contrast(name)
    for condition in ("positive", "negative"):
        ours = [row for row in rows if row["condition"] == condition]
        assert getattr(found, condition) == tuple(row["text"] for row in ours)
        assert getattr(found, f"{condition}_groups") == tuple(row["group"] for row in ours)
    assert found.positive_groups == found.negative_groups


def test_the_built_in_digests_differ() -> None:
    assert len({load_contrast(name).digest for name in PROTOCOLS}) == 3


def test_the_built_in_digests_are_what_they_always_were() -> None:
    # Caches on users' disks are named by them.
    digests = {name: load_contrast(name).digest for name in PROTOCOLS}
    assert digests == {
        "language": "79da760f2adfc1c5699723d3241c600a3639e93586a35d29f1ca1ee386d345a2",
        "theory-of-mind": "f1223cc5baccabd2b0106696615784e8f8bf4fd72b85b14e23a573365bf008f4",
        "multiple-demand": "8c5721b525906de7cf9eb018362844fde0f00fa7c8255e9bfba7693ee6ed9eff",
    }


def test_the_further_conditions_of_language() -> None:
    found = load_contrast("language")
    assert list(found.further_texts) == ["scrambled", "word-lists", "jabberwocky"]
    assert {len(texts) for texts in found.further_texts.values()} == {240}
    assert found.further_labels == {
        "scrambled": found.positive_groups,
        "word-lists": None,
        "jabberwocky": found.positive_groups,
    }


@pytest.mark.parametrize("name", ["theory-of-mind", "multiple-demand"])
def test_the_other_networks_have_no_further_conditions(name: str) -> None:
    assert load_contrast(name).further == ()


def test_the_published_stimuli_have_no_further_conditions(langloc: Path) -> None:
    assert load_contrast(langloc).further == ()


def test_the_folder_of_today_does_not_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_contrast("language").digest
    monkeypatch.chdir(tmp_path)
    (tmp_path / "language").mkdir()
    assert load_contrast("language").digest == expected


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_file_has_the_plain_protocol(file: Path, as_type: Callable[[Path], Any]) -> None:
    found = load_contrast(as_type(file))
    assert (found.name, found.pooling, found.max_tokens) == ("mine", "last-token", None)
    assert found.texts == ("a", "b", "c", "d")


@pytest.mark.parametrize("network", PROTOCOLS)
def test_a_file_as_a_networks_stimuli(file: Path, network: str) -> None:
    found = load_contrast(file, network=network)
    assert found.name == network
    assert (found.pooling, found.max_tokens) == PROTOCOLS[network]
    assert found.source == "file mine.csv"
    assert found.digest == load_contrast(file).digest


def test_a_folder_is_read_as_langloc(langloc: Path) -> None:
    for found in (load_contrast(langloc), load_contrast(str(langloc), network="language")):
        assert (found.name, found.pooling, found.max_tokens) == ("language", "last-token", 12)
        assert found.digest == read_langloc(langloc).digest


@pytest.mark.parametrize("network", ["theory-of-mind", "multiple-demand"])
def test_a_folder_as_another_networks_stimuli(langloc: Path, network: str) -> None:
    """Its name and its protocol, or a refusal; never the one with another's."""
    try:
        found = load_contrast(langloc, network=network)
    except LsnsError as error:
        assert network in str(error)  # noqa: PT017
        return
    assert (found.name, found.pooling, found.max_tokens) == (network, *PROTOCOLS[network])


def test_an_unknown_network_is_refused(file: Path) -> None:
    message = refusal(lambda: load_contrast(file, network="lanugage"))
    assert "'lanugage'" in message
    assert all(name in message for name in PROTOCOLS)


@pytest.mark.parametrize("name", ["Language", "no/such/file.csv", "x" * 300, "a\nb"])
def test_what_is_not_there_is_refused(name: str) -> None:
    message = refusal(lambda: load_contrast(name))
    assert f"no stimuli {name!r}" in message
    assert all(network in message for network in PROTOCOLS)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert f"folder {tmp_path} holds no .csv files" in refusal(lambda: load_contrast(tmp_path))

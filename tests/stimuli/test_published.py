"""The published language localizer: read to the letter, fetched whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lsns.errors import LsnsError
from lsns.stimuli.published import LANGLOC_SHA256, LANGLOC_URL, fetch_langloc, read_langloc

NAMES = list(LANGLOC_SHA256)
HEADER = ",".join(f"stim{i}" for i in range(1, 15))
WORDS, OTHERS = ",".join("ABCDEFGHIJKL"), ",".join("MOPQRTUVWXYZ")
GOOD = f"{HEADER}\n1,{WORDS},S\n2,{OTHERS},N\n3,{WORDS},S\n4,{OTHERS},N\n"


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Reading.


def test_the_published_files_word_for_word(langloc: Path) -> None:
    expected: dict[str, list[str]] = {"S": [], "N": []}
    for path in sorted(langloc.glob("*.csv")):
        for line in path.read_text().splitlines()[1:]:
            fields = line.split(",")
            expected[fields[13].strip()].append(" ".join(fields[1:13]).lower())
    found = read_langloc(langloc)
    assert found.positive == tuple(expected["S"])
    assert found.negative == tuple(expected["N"])


def test_the_published_contrast(langloc: Path) -> None:
    found = read_langloc(langloc)
    assert (len(found.positive), len(found.negative)) == (240, 240)
    assert found.positive[0] == "just the barest suggestion of a heel is found on teenage pumps"
    assert "ot bepime su momocolous ar ro reem o pome oy ree cliolness" in found.negative
    assert all(text == text.lower() and len(text.split()) == 12 for text in found.texts)
    assert (found.name, found.pooling, found.max_tokens) == ("language", "last-token", 12)
    assert found.positive_groups is None
    assert "langloc" in found.source


def langloc_file(folder: Path, content: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def test_files_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        langloc_file(tmp_path, GOOD.replace("A,", f"{name},"), f"{name}.csv")
    langloc_file(tmp_path, "no stimuli", "LICENSE.txt")
    found = read_langloc(tmp_path)
    assert [text[0] for text in found.positive] == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize("change", [lambda c: "\ufeff" + c, lambda c: c.replace("\n", "\r\n")])
def test_marks_and_line_ends_are_no_words(tmp_path: Path, change: Callable[[str], str]) -> None:
    langloc_file(tmp_path, change(GOOD))
    found = read_langloc(tmp_path)
    assert set(found.positive) == {"a b c d e f g h i j k l"}
    assert set(found.negative) == {"m o p q r t u v w x y z"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (f"5,{WORDS},X", "label 'X' in stim14"),
        (f"5,{WORDS},", "label '' in stim14"),
        (f"5,{WORDS}", "label '' in stim14"),
        (f"5,M,{WORDS},S", "label 'L' in stim14"),
        (f"5,{WORDS.replace('C', ' ')},S", "11 words, expected 12"),
        (f"5,{',' * 11},S", "0 words, expected 12"),
        (f"5,{WORDS},{'X' * 200_000}", "label 'XXX"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    path = langloc_file(tmp_path, f"{GOOD}{row}\n")
    message = refusal(lambda: read_langloc(tmp_path))
    assert f"{path}, line 6: " in message
    assert words in message
    assert len(message) < 300


def test_a_word_of_any_length_is_a_word(tmp_path: Path) -> None:
    langloc_file(tmp_path, GOOD + f"5,{WORDS.replace('C', 'C' * 200_000)},S\n")
    assert len(read_langloc(tmp_path).positive[2]) > 200_000


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ("", "stim2"),
        ("text,condition\na,positive\n", "stim2"),
        (GOOD.replace("stim7,", "x,"), "stim7"),
        (GOOD.replace("stim14", "label"), "stim14"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, content: str, missing: str) -> None:
    langloc_file(tmp_path, GOOD)
    path = langloc_file(tmp_path, content, "b.csv")
    message = refusal(lambda: read_langloc(tmp_path))
    assert f"{path} is not of the langloc format: no column {missing};" in message


def test_what_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GOOD.encode().replace(b"C", b"\xe9"))
    assert f"{path} is not UTF-8" in refusal(lambda: read_langloc(tmp_path))


def test_one_condition_only_is_refused(tmp_path: Path) -> None:
    langloc_file(tmp_path, GOOD.replace(",N", ",S"))
    assert "0 negative texts" in refusal(lambda: read_langloc(tmp_path))


def test_no_files_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        message = refusal(lambda folder=folder: read_langloc(folder))
        assert f"folder {folder} holds no .csv files" in message


# Fetching.


@dataclass
class Server:
    """The published files at an address of this machine, and who asked for what."""

    url: str
    files: dict[str, bytes]
    requested: list[str] = field(default_factory=list)
    announce: int = 0
    raw: bytes | None = None


@pytest.fixture
def server(langloc: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[1]
            served.requested.append(name)
            if served.raw is not None:
                self.wfile.write(served.raw)
            elif name in served.files:
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.files[name]) + served.announce))
                self.end_headers()
                self.wfile.write(served.files[name])
            else:
                self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        files = {name: (langloc / name).read_bytes() for name in NAMES}
        served = Server(f"http://127.0.0.1:{http.server_port}/data", files)
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield served
        http.shutdown()


def test_the_pinned_digests_are_those_of_the_files(langloc: Path) -> None:
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in langloc.glob("*.csv")}
    assert found == dict(LANGLOC_SHA256)


def test_the_address_is_a_pinned_commit_by_https() -> None:
    scheme, _, rest = LANGLOC_URL.partition("://")
    assert scheme == "https"
    assert any(len(part) == 40 and set(part) <= set("0123456789abcdef") for part in rest.split("/"))


def test_all_files_are_fetched(server: Server, langloc: Path, tmp_path: Path) -> None:
    folder, notes = tmp_path / "a" / "b", []
    paths = fetch_langloc(folder, url=server.url, notify=notes.append)
    assert paths == [folder / name for name in NAMES]
    assert names(folder) == sorted(NAMES)
    assert server.requested == NAMES
    assert notes == [f"fetched {name}" for name in NAMES]
    assert read_langloc(folder).digest == read_langloc(langloc).digest


def test_fetching_again_asks_for_nothing(server: Server, tmp_path: Path) -> None:
    first = fetch_langloc(tmp_path, url=server.url)
    server.requested.clear()
    notes: list[str] = []
    assert fetch_langloc(tmp_path, url=server.url, notify=notes.append) == first
    assert server.requested == notes == []


def test_a_partial_folder_is_completed_and_mended(
    server: Server, langloc: Path, tmp_path: Path
) -> None:
    for name in NAMES[:4]:
        shutil.copy(langloc / name, tmp_path / name)
    (tmp_path / NAMES[1]).chmod(0o644)
    (tmp_path / NAMES[1]).write_text("damaged")
    (tmp_path / "notes.txt").write_text("mine")
    fetch_langloc(tmp_path, url=server.url)
    assert server.requested == [NAMES[1], *NAMES[4:]]
    assert names(tmp_path) == sorted([*NAMES, "notes.txt"])
    assert (tmp_path / NAMES[1]).read_bytes() == (langloc / NAMES[1]).read_bytes()


def test_wrong_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    wrong = server.files[NAMES[3]] + b"\n"
    server.files[NAMES[3]] = wrong
    message = refusal(lambda: fetch_langloc(tmp_path, url=server.url))
    assert f"{server.url}/{NAMES[3]} has SHA-256 {hashlib.sha256(wrong).hexdigest()}" in message
    assert f"expected {LANGLOC_SHA256[NAMES[3]]}" in message
    assert names(tmp_path) == sorted(NAMES[:3])


def test_a_missing_file_is_one_line(server: Server, tmp_path: Path) -> None:
    del server.files[NAMES[2]]
    message = refusal(lambda: fetch_langloc(tmp_path, url=server.url))
    assert f"{server.url}/{NAMES[2]} could not be fetched" in message
    assert "404" in message
    assert names(tmp_path) == sorted(NAMES[:2])


def test_a_download_cut_short_is_one_line(server: Server, tmp_path: Path) -> None:
    server.announce = 10
    message = refusal(lambda: fetch_langloc(tmp_path, url=server.url))
    assert f"{server.url}/{NAMES[0]} could not be fetched" in message
    assert names(tmp_path) == []


@pytest.mark.parametrize("raw", [b"", b"this is no HTTP\r\n\r\n"])
def test_an_answer_that_is_no_http_is_one_line(server: Server, tmp_path: Path, raw: bytes) -> None:
    server.raw = raw
    message = refusal(lambda: fetch_langloc(tmp_path, url=server.url))
    assert f"{server.url}/{NAMES[0]} could not be fetched" in message
    assert names(tmp_path) == []


def test_a_refused_connection_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    message = refusal(lambda: fetch_langloc(tmp_path, url=f"http://127.0.0.1:{port}/data"))
    assert f"http://127.0.0.1:{port}/data/{NAMES[0]} could not be fetched" in message
    assert "refused" in message
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/data",
        "http://127.0.0.1.example.com:80/data",
        "http://127.0.0.1:80@example.com/data",
        "http://localhost.example.com/data",
        "ftp://127.0.0.1/data",
        "file:///etc",
        "data",
    ],
)
def test_only_https_and_this_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    message = refusal(lambda: fetch_langloc(tmp_path, url=url))
    assert f"{url}/{NAMES[0]}" in message
    assert "only https" in message


def test_a_folder_that_cannot_be_written_to_is_found_out_first(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "langloc"
    assert str(folder) in refusal(lambda: fetch_langloc(folder, url=server.url))
    assert server.requested == []

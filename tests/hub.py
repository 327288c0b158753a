"""A hub on 127.0.0.1: it speaks as much of the hub's interface as its client asks of it.

A repository is a folder of files at each of its commits. Faults are asked for by name, and what was
asked of the hub is counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


def commit_of(number: int) -> str:
    """A commit with that number."""
    return hashlib.sha1(str(number).encode()).hexdigest()


@dataclass
class Hub:
    """What the hub holds and how it fails.

    Attributes:
        repositories: files by kind and name (`models/gpt2`), then by commit.
        refs: commits of branches and tags, by repository; `main` is the last commit if not named.
        status: the answer to everything about a repository, instead of its content.
        cut: bytes of a file's content after which the connection is cut, by the end of its name.
        then: what becomes of a file that was cut: it is `cut` again, `refused` or `had`.
        asked: method and path of every request.
        url: its address.
    """

    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    status: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    then: Literal["cut", "refused", "had"] = "cut"
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def add(self, name: str, files: Files, kind: str = "models") -> str:
        """A further commit of a repository, where `main` is then."""
        commits = self.repositories.setdefault(f"{kind}/{name}", {})
        commit = commit_of(len(commits) + 1)
        commits[commit] = files
        self.refs.setdefault(f"{kind}/{name}", {})["main"] = commit
        return commit


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, as long as it is there."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path).strip("/")
        # The client goes when it has what it wants.
        with suppress(ConnectionError):
            if path.startswith("api/"):
                self._about(path.removeprefix("api/"))
            else:
                kind = "datasets" if path.startswith("datasets/") else "models"
                self._resolve(kind, path.removeprefix("datasets/"))

    do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _about(self, path: str) -> None:
        """`models/ID`, `models/ID/revision/REVISION` and `models/ID/tree/REVISION`."""
        for word in ("/revision/", "/tree/"):
            name, found, revision = path.partition(word)
            if found:
                break
        files = self._files(name, revision or "main")
        if files is None:
            return
        commit, content = files
        if "/tree/" in path:
            rows = [
                {"type": "file", "path": n, "size": len(b), "oid": _blob(b)}
                for n, b in content.items()
            ]
            self._answer(json.dumps(rows).encode())
            return
        siblings = [{"rfilename": n, "size": len(b)} for n, b in content.items()]
        about = {"id": name.partition("/")[2], "sha": commit, "siblings": siblings, "tags": []}
        self._answer(json.dumps(about).encode())

    def _resolve(self, kind: str, path: str) -> None:
        name, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        files = self._files(f"{kind}/{name}", revision)
        if files is None:
            return
        commit, content = files
        if file not in content:
            self._fail(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        body, tag = content[file], _blob(content[file])
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if file.endswith((".safetensors", ".bin", ".parquet")):
            headers |= {"X-Linked-Etag": f'"{_sha256(body)}"', "X-Linked-Size": str(len(body))}
        self._send_part(file, body, headers)

    def _send_part(self, file: str, body: bytes, headers: dict[str, str]) -> None:
        start, status = 0, 200
        if asked := self.headers.get("Range"):
            start, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        cut = next((name for name in self.hub.cut if file.endswith(name)), None)
        end = None if cut is None else self.hub.cut[cut]
        if cut is not None and self.command == "GET" and self.hub.then != "cut":
            self.hub.cut[cut] = 0
            if end == 0 and self.hub.then == "refused":
                self._fail(503, {})
                return
        self._answer(body[start:], status, headers, end=end or None)

    def _files(self, repository: str, revision: str) -> tuple[str, Files] | None:
        """The commit and its files; where there are none, that is answered."""
        if repository in self.hub.status:
            self._fail(*self.hub.status[repository])
            return None
        commits = self.hub.repositories.get(repository)
        if commits is None:
            self._fail(404, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.refs[repository].get(revision, revision)
        if commit not in commits:
            self._fail(404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, commits[commit]

    def _fail(self, status: int, headers: dict[str, str]) -> None:
        # The text of the real hub for whatever is not found mentions gated repositories.
        text = b"If you are trying to access a private or gated repo, make sure you are logged in"
        self._answer(text, status, headers)

    def _answer(
        self,
        body: bytes,
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        end: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[:end])
        self.close_connection = end is not None


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _blob(body: bytes) -> str:
    """As git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()

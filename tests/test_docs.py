"""Every command and snippet in the README and the docs runs, and prints what they say."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import make_model

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(bash|console|python)\n(.*?)^```$", re.M | re.S)
ANY_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.M | re.S)
# Lines that are left out of what a command prints.
LEFT_OUT = "..."
# A file that the reader is told to write: its name is its first line.
FILE = re.compile(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```$", re.M | re.S)
# These make environments or download; CI runs the first two itself, before and after the tests.
SKIPPED = {
    "make demo": "run by hand in a fresh clone: it makes an environment",
    "make test": "this very run",
    "python3 -m venv lsns_env": "makes an environment",
    "source lsns_env/bin/activate": "makes an environment",
    "pip install -r requirements.txt": "makes an environment",
    "lsns stimuli fetch langloc": "needs the network; its code is tested against a server here",
}
# Words that stand for what a reader has: replaced by what these tests have.
LINKED = ("localize.py", "generate_lesion.py", "benchmarks", "examples", "scripts", "src", "tests")
REPLACED = {"--model-name gpt2": "--model-name smollm2-135m"}
OWN_CONTRAST = "text,condition\n" + "".join(
    f"the cat number {i} sat down,positive\n{i} + {i} = {2 * i},negative\n" for i in range(8)
)


def page_name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def blocks(kind: str) -> list[tuple[str, str]]:
    return [
        (page_name(path), body)
        for path in PAGES
        for found, body in BLOCK.findall(path.read_text(encoding="utf-8"))
        if found == kind
    ]


def commands() -> list[tuple[str, str]]:
    return [(name, line) for name, body in blocks("bash") for line in body.splitlines() if line]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder as a reader has it: the scripts, a contrast, a model, a filled cache."""
    folder = tmp_path_factory.mktemp("reader")
    for name in LINKED:
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "mine.csv").write_text(OWN_CONTRAST)
    tiny = make_model()
    tiny.model.save_pretrained(folder / "models" / "my-model")
    tiny.tokenizer.save_pretrained(folder / "models" / "my-model")
    for path in PAGES:
        for name, content in FILE.findall(path.read_text(encoding="utf-8")):
            (folder / name).write_text(content)
    shared = REPOSITORY.parent / "shared" / "data" / "langloc"
    if shared.is_dir():
        (folder / "stimuli").mkdir()
        (folder / "stimuli" / "langloc").symlink_to(shared)
    return folder


# The same line on two pages, or shown in parts, runs once.
@functools.cache
def shell(line: str, place: Path) -> subprocess.CompletedProcess[str]:
    for word, mine in REPLACED.items():
        line = line.replace(word, mine)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=place, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path},
    )  # fmt: skip


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_run(page, line, place):
    if line in SKIPPED:
        pytest.skip(SKIPPED[line])
    if "stimuli/langloc" in line and not (place / "stimuli" / "langloc").exists():
        pytest.skip("the published langloc files are not beside the checkout (../shared)")
    if line.startswith("python benchmarks/"):
        pytest.skip("a benchmark: minutes, and its figures are not for a test")
    done = shell(line, place)
    assert done.returncode == 0, f"{page}: {shlex.join([line])}\n{done.stderr}"


def sessions() -> list[tuple[str, str, str]]:
    """(page, command, output) of every command in a console block."""
    return [
        (name, *part.split("\n", 1))
        for name, body in blocks("console")
        for part in body.removeprefix("$ ").split("\n$ ")
    ]


@pytest.mark.parametrize(("page", "command", "output"), sessions())
def test_what_is_shown_is_what_is_printed(page, command, output, place):
    done = shell(command, place)
    assert done.returncode == 0, done.stderr
    if command.startswith("lsns lesion"):
        # Greedy text follows the last digits of the arithmetic; the frame does not.
        assert done.stdout.splitlines()[:3] == output.splitlines()[:3], page
    else:
        assert done.stdout.strip() == output.strip(), page


def excerpts() -> list[tuple[str, str, str]]:
    """(page, command, lines) of text blocks after a bash block: its last command prints them."""
    found = []
    for path in PAGES:
        command = ""
        for kind, body in ANY_BLOCK.findall(path.read_text(encoding="utf-8")):
            if kind == "text" and command:
                found.append((page_name(path), command, body))
            elif kind != "text":
                command = body.splitlines()[-1] if kind == "bash" else ""
    return found


@pytest.mark.parametrize(("page", "command", "shown"), excerpts())
def test_what_is_shown_in_part_is_printed(page, command, shown, place):
    done = shell(command, place)
    assert done.returncode == 0, done.stderr
    printed = iter(done.stdout.splitlines())
    for line in shown.splitlines():
        # `in` goes on where the last line was found: they stand in this order.
        assert line == LEFT_OUT or line in printed, f"{page}: {command}\n{line}"


@pytest.mark.slow
def test_the_demo_ends_in_what_the_readme_shows(place):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.M | re.S)
    done = shell("lsns run examples/language.yaml", place)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_the_first_page_of_the_site_shows_the_results_of_the_readme():
    first, readme = (
        (REPOSITORY / name).read_text(encoding="utf-8") for name in ("docs/index.md", "README.md")
    )
    figures = set(re.findall(r"\b0\.\d{3}\b", first))
    assert len(figures) == 7
    assert figures <= set(re.findall(r"\b0\.\d{3}\b", readme))
    (conclusion,) = re.findall(r"\*(The units answer.*?)\*", first, re.S)
    assert " ".join(conclusion.split()) in " ".join(readme.split())


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_snippets_run(page, code, place):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page}\n{code}\n{done.stderr}"
    assert done.stdout.strip()


def test_links_lead_somewhere():
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{page_name(path)}: {target}"


def test_skipped_commands_are_still_there():
    assert set(SKIPPED) <= {line for _, line in commands()}

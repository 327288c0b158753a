"""`lsns`, as `python -m lsns`: an interruption is one line, from the first moment on."""

from __future__ import annotations

import sys

from lsns.interrupts import leave_at_once


def main(command: str | None = None) -> None:
    """Run the command line, or one command of it, and exit with its code; see `lsns.cli.run`."""
    leave_at_once()
    from lsns.cli import run

    arguments = sys.argv[1:] if command is None else [command, *sys.argv[1:]]
    sys.exit(run(arguments))


if __name__ == "__main__":
    main()

"""The one exception of the package."""

from lsns.terminal import one_line


class LsnsError(Exception):
    """An error that a user can cause and mend.

    Its message is one line: what is wrong, what was found, what to do. What a terminal would obey
    in it, such as an escape sequence in a name, is written out. The command line prints that line
    and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))

"""The one exception of the package."""


class LsnsError(Exception):
    """An error that a user can cause and mend.

    Its message is one line: what is wrong, what was found, what to do. The command line prints
    that line and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

"""The one error type that a user is meant to read."""


class MioError(Exception):
    """Bad input or an impossible request: one line that says what is wrong, where, and how to mend it.

    The command line prints the message as `error: ...` and exits with status 2; a traceback is shown only for
    errors of any other type, which are defects of this project.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

"""The exceptions for what a user can cause: said in a line, never as a traceback."""


class Failure(Exception):
    """Something the user can mend.

    `what` says what went wrong and where; `remedy` says what to do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


class CutShort(Failure):
    """A run ended before its last step because others did better by then; what it reached is kept."""

    def __init__(self, step: int, total_steps: int) -> None:
        super().__init__(f"cut short at step {step} of {total_steps}")
        self.step = step


class Stopped(KeyboardInterrupt):
    """Somebody asked for an end (Ctrl-C, SIGTERM), and what was reached is kept.

    The text says how to go on; `number` is the signal's.
    """

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that the signal ended."""
        return 128 + self.number


def interrupted_code(ended: BaseException | None) -> int:
    """Return the exit code of what an interruption has ended: that of its signal where one is known, else Ctrl-C's."""
    return ended.exit_code if isinstance(ended, Stopped) else 130

"""The one exception for what a user can cause: said in a line, never as a traceback."""


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

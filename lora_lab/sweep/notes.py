"""What is wrong with a grid file, collected with its place while the file is read."""

import difflib
from collections.abc import Iterable

from lora_lab.config import check
from lora_lab.document import ParseProblem, Span
from lora_lab.document.yaml_text import Place, YamlDocument
from lora_lab.sweep.expression import Expression, ExpressionError, parse_expression


class Notes:
    """Collects the problems of one document."""

    def __init__(self, document: YamlDocument) -> None:
        """Start without problems."""
        self.problems: list[ParseProblem] = []
        self._document = document

    def at(self, place: Place, message: str) -> None:
        """Say something of a value."""
        self.problems.append(ParseProblem(message, self._document.span_of(place)))

    def at_key(self, place: Place, message: str) -> None:
        """Say something of a key."""
        self.problems.append(ParseProblem(message, self._document.key_span_of(place)))

    def known(self, name: str, place: Place) -> bool:
        """Return whether a key names a parameter; say so where it does not."""
        unknown = [problem for problem in check({name: None}).problems if problem.kind == "unknown"]
        if unknown:
            self.at_key(place, unknown[0].message)
        return not unknown

    def fits(self, name: str, value: object, place: Place) -> bool:
        """Return whether a parameter can have a value; say so where it can't."""
        problems = [problem for problem in check({name: value}).problems if problem.key == name]
        for problem in problems:
            hint = "" if problem.suggestion is None else f"; did you mean {problem.suggestion}?"
            self.at(place, problem.message + hint)
        return not problems

    def expression(self, text: object, place: Place) -> Expression | None:
        """Read an expression; what is wrong with it is said at its place."""
        if not isinstance(text, str):
            self.at(place, f'an expression is a text such as "net_dim / 2", but this is {text!r}')
            return None
        try:
            expression = parse_expression(text)
        except ExpressionError as error:
            self._inside(place, error.offset, text, str(error))
            return None
        for name in sorted(expression.names):
            unknown = [problem for problem in check({name: None}).problems if problem.kind == "unknown"]
            if unknown:
                self._inside(place, max(text.find(name), 0), text, f"in this expression: {unknown[0].message}")
                return None
        return expression

    def _inside(self, place: Place, offset: int, text: str, message: str) -> None:
        """Say something of a place inside a text, where the file has that text letter by letter."""
        span = self._document.span_of(place)
        written = self._document.text[span.start : span.end]
        at = written.find(text)
        if at < 0 or "\n" in written or offset > len(text):
            self.problems.append(ParseProblem(message, span))
            return
        start = at + offset
        self.problems.append(
            ParseProblem(message, Span(span.start + start, span.end, span.line, span.column + start)),
        )


def meant(word: object, words: Iterable[str]) -> str:
    """Return ", did you mean …?" where one of `words` is close."""
    close = difflib.get_close_matches(str(word)[:60], list(words), n=1)
    return f", did you mean {close[0]}?" if close else ""

"""Text for terminals and logs: what other people wrote must not steer them, and what is secret must not get there.

A name, a caption or a config may hold control characters: an ESC begins commands that move the cursor, hide text,
change a window's title or write to the clipboard; U+202E turns the reading direction round. Shown is a stand-in.
"""

from lora_lab.secrets import masked

_KEPT = str.maketrans({"\n": None, "\t": None})


def printable(text: str) -> str:
    """Return the text on one line, with one harmless sign for every character that is not printable or secret."""
    text = masked(text)
    return text if text.isprintable() else "".join(char if char.isprintable() else _stand_in(char) for char in text)


def printable_lines(text: str) -> str:
    """Return the text with one harmless sign for every character that is not printable or secret.

    Lines and tabs stay.
    """
    text = masked(text)
    if text.isprintable() or text.translate(_KEPT).isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _stand_in(char) for char in text)


def _stand_in(char: str) -> str:
    """Return one printable sign for one that is not."""
    import unicodedata  # noqa: PLC0415 -- a megabyte that few files need

    return " " if char == "\t" or unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"

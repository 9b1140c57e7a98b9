"""Control characters made visible, so that no text from afar can steer the terminal it is shown on. Pure."""

from killdeer.wording import IN_LINES, PICTURES


def in_lines(text: str) -> str:
    """ESC -> `␛` and so on; line ends and tabs stay."""
    return text if text.isprintable() else text.translate(IN_LINES)


def in_cell(text: str) -> str:
    """As `in_lines`, and a line end is `␊`: a row stays one row."""
    return text if text.isprintable() else text.translate(PICTURES)

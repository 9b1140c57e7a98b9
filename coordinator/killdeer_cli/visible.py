"""Control characters made visible, so that no text from afar can steer the terminal it is shown on. Pure.

Each becomes one character, so that the places of styles and columns stay what they were.
"""

_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
# Those without a picture: C1, which some terminals obey, and what turns the direction of writing round.
_PICTURES |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_IN_LINES = {code: shown for code, shown in _PICTURES.items() if chr(code) not in "\n\t"}


def in_lines(text: str) -> str:
    """ESC -> `␛` and so on; line ends and tabs stay."""
    return text if text.isprintable() else text.translate(_IN_LINES)


def in_cell(text: str) -> str:
    """As `in_lines`, and a line end is `␊`: a row stays one row."""
    return text if text.isprintable() else text.translate(_PICTURES)

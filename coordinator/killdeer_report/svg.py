"""A matplotlib figure as SVG that stands within an HTML page: text as text, the page's colours, ids of its own."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as Xml

import matplotlib as mpl
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from killdeer_report.wording import visible

_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"
Xml.register_namespace("", _SVG)
Xml.register_namespace("xlink", _LINK)

# What is drawn in these is shown in the page's colour of that name, so that it fits a light and a dark page.
# Okabe and Ito's colours, which people tell apart who don't see red and green apart.
INK, FAINT, BAND = "#24292e", "#8c959f", "#d0d7de"
FIRST, SECOND, STRUCK, RECOVERED, ABORTED = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#aa3377"
COLOURS = {
    INK: "--ink",
    FAINT: "--faint",
    BAND: "--band",
    FIRST: "--first",
    SECOND: "--second",
    STRUCK: "--struck",
    RECOVERED: "--recovered",
    ABORTED: "--aborted",
}
_COLOUR = re.compile("|".join(COLOURS), re.IGNORECASE)

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "killdeer",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "hatch.color"), INK),
    "axes.edgecolor": FAINT,
}


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib as a report wants it, whatever a matplotlibrc says; restored at the end."""
    with style.context("default"), mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # The reader's own fonts draw the text, so one that the measuring font lacks is none that is missing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The `<svg>` element. `name` is its alone on the page; `label` says what it shows. Within `drawing()`."""
    FigureCanvasSVG(figure)
    written = io.StringIO()
    figure.savefig(
        written,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    root = Xml.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            # Its style would be the page's, and its metadata names addresses.
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _fitted(key, value, name))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", visible(label))
    return Xml.tostring(root, encoding="unicode")


def _fitted(key: str, value: str, name: str) -> str:
    """An attribute with the figure's own ids and the page's colours."""
    if key == "id":
        return f"{name}-{value}"
    if key == f"{{{_LINK}}}href":
        return value.replace("#", f"#{name}-", 1)
    value = value.replace("url(#", f"url(#{name}-")
    return _COLOUR.sub(lambda found: f"var({COLOURS[found[0].lower()]})", value) if key == "style" else value

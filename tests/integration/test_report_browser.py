"""The report in a real browser: plots are there, nothing is fetched, text from the file is text."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from killdeer_report.account import Asked, account
from killdeer_report.page import page
from tests.support import reports
from tests.support.chromium import Chromium, Site, site
from tests.support.htmlpage import Page

ASKED = Asked(units=reports.UNITS)
# A probe's line, a strike, a recovery, an abort: the page's own colours.
LIGHT = ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x7A, 0x58), (0xAA, 0x33, 0x77))
DARK = ((0x56, 0xB4, 0xE9), (0xFF, 0x8A, 0x3D), (0x35, 0xC7, 0x9A), (0xE5, 0x8F, 0xC0))

pytestmark = pytest.mark.skipif(Chromium.found() is None, reason="needs chromium: apt install chromium")


@pytest.fixture
def browser(tmp_path: Path) -> Chromium:
    return Chromium(tmp_path)


@pytest.fixture
def pages() -> Iterator[Site]:
    with site({}) as serving:
        yield serving


def test_the_report_opens_with_its_plots_and_asks_for_nothing_else(browser: Chromium, pages: Site) -> None:
    pages.pages["/report.html"] = page(account(reports.deviated(), ASKED))
    dom, asked_for = browser.dom(f"{pages.address}/report.html")
    assert pages.asked == ["/report.html"]
    assert asked_for == []
    assert dom.count("<svg") == 5
    seen = Page(dom)
    assert "s from the first strike" in seen.text
    assert "Killing a payment worker keeps errors under 0.1%." in seen.text


def test_text_from_the_file_stays_text_in_the_browser(browser: Chromium, pages: Site) -> None:
    text = (
        f"<script>document.title='owned'</script><img src={pages.address}/x onerror=alert(1)>"
        f' ]]></style><link rel=stylesheet href={pages.address}/y> "onload="alert(2)"'
        f"</title></text></svg><image href='{pages.address}/z'/>"
    )
    pages.pages["/report.html"] = page(account(reports.hostile(text), ASKED))
    dom, asked_for = browser.dom(f"{pages.address}/report.html")
    assert pages.asked == ["/report.html"]
    assert asked_for == []
    seen = Page(dom)
    assert seen.tags & {"script", "img", "image", "iframe", "form"} == set()
    assert [name for name in seen.attributes if name.startswith("on")] == []
    assert "<script>document.title='owned'</script>" in seen.text
    assert "<title>owned</title>" not in dom
    assert dom.count("<svg") == 4, "one host, three probes: no text has ended a plot"


def test_even_markup_that_got_through_could_neither_fetch_nor_run(browser: Chromium, pages: Site) -> None:
    got_through = (
        f"<script>document.title='owned'</script><img src={pages.address}/x><iframe src={pages.address}/y>"
    )
    pages.pages["/report.html"] = page(account(reports.held(), ASKED)).replace("<header>", f"<header>{got_through}")
    dom, _ = browser.dom(f"{pages.address}/report.html")
    assert pages.asked == ["/report.html"]
    assert "<title>owned</title>" not in dom


def test_a_page_that_fetches_and_runs_is_noticed(browser: Chromium, pages: Site) -> None:
    """What the tests above rely on."""
    pages.pages["/bad.html"] = (
        "<!DOCTYPE html><title>fine</title><img src=/x><img src=http://elsewhere.invalid/y>"
        "<script>document.title='owned'</script>"
    )
    dom, asked_for = browser.dom(f"{pages.address}/bad.html")
    assert "/x" in pages.asked
    assert "http://elsewhere.invalid/y" in asked_for
    assert "<title>owned</title>" in dom


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_is_drawn_is_to_be_seen(browser: Chromium, tmp_path: Path, dark: bool) -> None:
    report = tmp_path / "report.html"
    report.write_text(page(account(reports.deviated(), ASKED)))
    settings = ["--blink-settings=preferredColorScheme=0"] if dark else []
    shot = image.imread(browser.screenshot(report.as_uri(), *settings))[:, :, :3]
    pixels = np.round(shot * 255).astype(int).reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    background = tuple(colours[counts.argmax()])
    assert background == ((13, 17, 23) if dark else (255, 255, 255))
    assert len(colours) > 50
    for wanted in DARK if dark else LIGHT:
        assert (np.abs(pixels - wanted).sum(axis=1) < 12).sum() > 30, wanted

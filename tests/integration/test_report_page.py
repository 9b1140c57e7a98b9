"""A report as a page: all facts and plots are in it, nothing is fetched, nothing runs."""

import pytest

from killdeer_report.account import Account, Asked, account
from killdeer_report.comparison import compare
from killdeer_report.page import comparison_page, page
from tests.support import reports
from tests.support.htmlpage import Page

ASKED = Asked(units=reports.UNITS, notes=(("runbook", "https://wiki.example.com/payments"),))


@pytest.fixture(scope="module")
def told() -> Account:
    return account(reports.deviated(), ASKED)


@pytest.fixture(scope="module")
def html(told: Account) -> str:
    return page(told)


@pytest.mark.parametrize("fact", reports.FACTS)
def test_the_page_says(html: str, fact: str) -> None:
    assert fact in Page(html).text


def test_the_page_has_a_plot_of_each_probe_and_a_timeline_of_each_host(html: str) -> None:
    assert html.count('<figure class="probe">') == 3
    assert html.count('<figure class="timeline">') == 2
    text = Page(html).text
    for words in (
        "ms",
        "%",
        "s from the first strike",
        "aborted",
        "gone",
        "baseline, median",
        "no answer: unknown",
    ):
        assert words in text


def test_the_page_loads_nothing_and_runs_nothing(html: str) -> None:
    seen = Page(html)
    assert seen.tags & {"script", "iframe", "object", "embed", "img", "image", "form", "base"} == set()
    assert [name for name in seen.attributes if name.startswith("on")] == []
    assert [link for link in seen.links if not link.startswith(("#", "data:,"))] == []
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in html
    assert "@import" not in html
    assert [at for at in html.split("url(")[1:] if not at.startswith("#")] == []


def test_each_id_is_there_once_and_each_reference_leads_to_one(html: str) -> None:
    seen = Page(html)
    assert len(seen.ids) == len(set(seen.ids))
    used = {link[1:] for link in seen.links if link.startswith("#")}
    used |= {at.partition(")")[0] for at in html.split("url(#")[1:]}
    assert used <= set(seen.ids)


def test_a_page_is_the_same_each_time(told: Account, html: str) -> None:
    assert page(account(reports.deviated(), ASKED)) == html


def test_hostile_text_is_text_on_the_page() -> None:
    html = page(account(reports.hostile(), ASKED))
    seen = Page(html)
    assert seen.tags & {"script", "img"} == set()
    assert [name for name in seen.attributes if name.startswith("on")] == []
    assert "<script>alert(1)</script>" in seen.text
    assert "{{7*7}}" in seen.text
    assert "$x_1$" in seen.text
    assert "\x1b" not in html


def test_text_that_xml_or_the_measuring_font_lacks_is_drawn() -> None:
    report = reports.held()
    for reading in report.readings:
        reading.probe = f"_{reading.probe} \x00\x0b\ufffe 付款 \U0001f426"
    assert "付款" in Page(page(account(report, Asked()))).text


def test_a_long_run_of_many_victims_stays_a_page() -> None:
    report = reports.held()
    many = [reports.honoured(f"c{n}", host=f"pay-{n % 13}") for n in range(39)]
    report.run.strikes.extend(many)
    told = account(report, ASKED)
    assert len(told.measured.victims) == 41
    assert told.measured.times[0].median is not None
    assert page(told).count('<figure class="timeline">') == 12


def test_readings_that_all_are_unknown_are_drawn_and_said() -> None:
    report = reports.held()
    for reading in report.readings:
        reading.ClearField("value")
    del report.run.findings.impacts[:]
    text = Page(page(account(report, ASKED))).text
    assert "no readings" in text
    assert "no value of it is known since the first strike" in text


def test_a_comparison_draws_both_runs_in_one_plot_of_each_probe() -> None:
    other = reports.held()
    other.source = other.source.replace("strikes: 2", "strikes: 3")
    html = comparison_page(compare(account(reports.hostile(), ASKED), account(other, ASKED)))
    assert html.count('<figure class="overlay">') == 0, "no probe of the one has the name of one of the other"
    html = comparison_page(compare(account(reports.deviated(), ASKED), account(other, ASKED)))
    assert html.count('<figure class="overlay">') == 3
    assert "s from the first strike of each" in html
    assert "+waves: [{name: one, strikes: 3}]" in html


def test_hostile_text_is_text_in_a_comparison() -> None:
    seen = Page(comparison_page(compare(account(reports.hostile(), ASKED), account(reports.hostile(), ASKED))))
    assert seen.tags & {"script", "img"} == set()
    assert [name for name in seen.attributes if name.startswith("on")] == []

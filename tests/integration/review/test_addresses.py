"""Addresses of the review page that others link to, such as alerts: they are documented, and stay as they are."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest
from support.environment import ROOT
from support.review_page import Page

DOCUMENTED = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")


def listed(page: Page, **query: str) -> tuple[str, list[str], list[tuple[str, str]]]:
    """The heading of a list, its items' names, and the values of the fields that were chosen."""
    answer = page.ask(f"/?{urlencode(query)}")
    assert answer.status == 200
    names = re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)</a>', answer.text)
    fields = re.findall(r'<select name="(\w+)">(.*?)</select>', answer.text, re.DOTALL)
    chosen = [(name, *re.findall(r'<option value="([^"]*)" selected', options)) for name, options in fields]
    (heading,) = re.findall("<h1>(.*?)</h1>", answer.text)
    return unescape(heading), [unescape(name) for name in names], [(each[0], unescape(each[1])) for each in chosen]


def test_an_address_that_names_a_source_and_a_model_lists_what_was_flagged_of_these(page: Page) -> None:
    heading, names, chosen = listed(page, source="a", model="normal")
    assert heading == "What was flagged of a"
    assert len(names) == 4
    assert {("source", "a"), ("model", "normal")} <= set(chosen)
    _, names, _ = listed(page, source="b", model="normal", shown="all")
    assert len(names) == 6
    assert all("/b/" in name for name in names)


@pytest.mark.parametrize("query", [{"source": "a", "model": "other"}, {"source": "c"}, {"source": "<b>c</b> & d"}])
def test_a_source_or_a_model_without_items_is_said_and_stays_chosen(page: Page, query: dict[str, str]) -> None:
    """Else another filter would list what was never asked for."""
    _, names, chosen = listed(page, **query)
    assert names == []
    assert set(query.items()) <= set(chosen)
    text = unescape(page.ask(f"/?{urlencode(query)}").text)
    assert "Nothing here. No item of the source" in text
    assert "<b>c</b>" not in page.ask(f"/?{urlencode(query)}").text


def test_a_page_after_the_last_one_shows_the_last_one(page: Page) -> None:
    """Answers make a list shorter while its last page is open: going back there may not say that nothing is left."""
    assert "1 to 16 of 16" in page.ask("/?shown=all&page=7").text


def test_a_list_without_items_of_an_answer_says_so(page: Page) -> None:
    for answer in ("normal", "unsure", "disagreed"):
        text = page.ask(f"/?answered={answer}&shown=all").text
        assert "Nothing here. No item of this list has this answer." in text, answer


@pytest.mark.parametrize("answered", ["any", "none", "normal"])
def test_of_a_list_of_nothing_that_was_flagged_a_larger_alpha_is_advised(page: Page, answered: str) -> None:
    """Nothing is answered there, as there is nothing to answer."""
    text = page.ask(f"/?alpha=0.0001&answered={answered}").text
    assert "Nothing here. A larger alpha flags more." in text


def test_the_page_says_which_addresses_stay(page: Page) -> None:
    for name in ("source", "model", "shown", "alpha", "answered", "order", "sample"):
        assert f"`{name}" in DOCUMENTED.split("## Addresses")[1].split("\n## ")[0], name
    shown = re.findall(r"http://127\.0\.0\.1:8090(/\?\S+?)[`\s]", DOCUMENTED)
    assert shown
    for path in shown:
        answer = page.ask(path)
        assert answer.status == 200
        assert 'role="alert"' not in answer.text, path


def test_a_name_that_turns_the_direction_of_writing_is_shown_by_its_code(page: Page) -> None:
    text = page.ask("/?source=gnp.%E2%80%AE").text
    assert "What was flagged of gnp.\\u202e</h1>" in text


def test_an_item_is_seen_as_a_classifier_sees_it(page: Page) -> None:
    link = unescape(re.findall(r'<th scope="row"><a href="([^"]*)"', page.ask("/").text)[0])
    (other,) = re.findall(r'<a href="(/item[^"]*by=kinds)">', page.ask(link).text)
    shown = page.ask(unescape(other))
    assert shown.status == 200
    assert "What speaks for " in shown.text
    assert "Class map" in shown.text
    assert re.search(r'by=kinds" aria-current', shown.text)
    for kind in ("picture", "map", "sound"):
        (address,) = re.findall(rf'src="(/{kind}[^"]*)"', shown.text)
        assert "by=kinds" in address
        assert page.ask(unescape(address)).status == 200
    assert page.ask(f"{link}&by=nothing").text.count("Error map") == page.ask(link).text.count("Error map") == 1

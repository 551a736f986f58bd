"""The review page in a real browser: seen, heard, answered by keys, read by screen readers, and never run by what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from support.browser import Browser, browser
from support.review_page import Page

from avizor_inference.review_answers import AnswerFile

SIZES = ((1280, False), (1280, True), (400, False), (400, True))


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def at(opened: Browser, page: Page, results: Path) -> Browser:
    """A browser on the first page, with no answers yet."""
    opened.look(1280)
    opened.driver.delete_all_cookies()
    opened.open(page.address)
    opened.complaints()
    return opened


def to_first_item(at: Browser) -> None:
    at.run("document.querySelector('.items th a').focus()")
    at.leads_on(at.press, Keys.ENTER)


def answers(results: Path) -> list[tuple[str, str, str]]:
    file = AnswerFile(results / "answers.jsonl").answers()
    return [(Path(key.uri).name, each.answer, each.note) for key in file.answered() for each in file.on(key)]


def test_an_item_is_seen_heard_and_looped_where_it_is_flagged(at: Browser) -> None:
    to_first_item(at)
    shown = "return [...document.querySelectorAll('.seen, .map')].every(image => image.complete && image.naturalWidth > 100)"
    assert at.until(shown), "picture and error map are there"
    same_place = (
        "return ['seen', 'map'].map(name => JSON.stringify(document.querySelector('.' + name).getBoundingClientRect()))"
    )
    picture, error_map = at.run(same_place)
    assert picture == error_map
    at.press("m")
    assert at.run("return getComputedStyle(document.querySelector('.map')).visibility") == "hidden"
    at.press(" ")
    at.until("const s = document.querySelector('audio'); return !s.paused && s.currentTime > 0.1")
    assert at.run("return Math.abs(document.querySelector('audio').duration - 6 * 4096 / 8000) < 0.01")
    at.until("const head = document.querySelector('.playhead'); return !head.hidden && parseFloat(head.style.left) > 1")
    at.press(" ")
    at.until("return document.querySelector('audio').paused")
    at.press("l")
    looped = """
        const sound = document.querySelector('audio');
        const spans = [...document.querySelectorAll('.seeing [data-stretch]')]
            .map(mark => [Number(mark.dataset.start), Number(mark.dataset.end)]);
        window.rounds = window.rounds || 0;
        if (window.heard > sound.currentTime + 0.2) window.rounds += 1;
        window.heard = sound.currentTime;
        window.outside = window.outside || (sound.currentTime > 0.3
            && !spans.some(([start, end]) => sound.currentTime >= start - 0.3 && sound.currentTime <= end + 0.3));
        return window.rounds > 0;
    """
    at.until(looped)
    assert not at.run("return window.outside"), "only what is flagged is heard"
    assert at.complaints() == []


def test_answers_by_keys_lead_on_and_are_there_after_a_reload(at: Browser, results: Path) -> None:
    to_first_item(at)
    first = at.texts("h1")
    at.press("/", "bearing <b>?</b>", Keys.ESCAPE)
    at.leads_on(at.press, "a")
    second = at.texts("h1")
    assert second != first
    at.leads_on(at.press, "n")
    at.leads_on(at.press, "u")
    assert [word for _, word, _ in answers(results)] == ["abnormal", "normal", "unsure"]
    assert answers(results)[0][2] == "bearing <b>?</b>"
    at.leads_on(at.press, "k")
    at.driver.refresh()
    assert at.texts(".said .answer") == ["unsure"]
    at.leads_on(at.press, "k")
    assert at.texts("h1") == second
    at.leads_on(at.press, Keys.ESCAPE)
    assert at.texts(".items .answer")[:3] == ["abnormal", "normal", "unsure"]
    assert "3 of them answered: 1 abnormal, 1 normal, 1 unsure or disagreed on" in at.texts(".tally")[0]


def test_the_last_answer_can_be_undone(at: Browser, results: Path) -> None:
    to_first_item(at)
    first = at.texts("h1")
    at.leads_on(at.press, "n")
    assert at.texts("h1") != first
    at.leads_on(at.press, "z")
    assert at.texts("h1") == first
    assert answers(results) == []
    assert len((results / "answers.jsonl").read_text().splitlines()) == 2, "both are on the record"


def test_enter_in_a_field_is_no_answer(at: Browser, results: Path) -> None:
    to_first_item(at)
    at.run("document.querySelector('[name=reviewer]').focus()")
    at.press(Keys.ENTER)
    at.run("return document.readyState")
    assert answers(results) == []
    assert "/item?" in at.driver.current_url


def test_filters_and_alpha_take_effect_when_they_are_changed(at: Browser) -> None:
    assert len(at.texts(".items tbody tr")) == 4, at.texts("body")
    assert at.texts(".items td[data-name=source]") == ["a"] * 4

    def move_alpha() -> None:
        at.run("document.querySelector('[data-alpha-of]').focus()")
        at.press(Keys.ARROW_RIGHT * 30)

    at.leads_on(move_alpha)
    more = len(at.texts(".items tbody tr"))
    assert more > 4
    assert float(at.run("return document.getElementById('alpha').value")) > 0.05
    assert at.run("return document.activeElement.matches('[data-alpha-of]')"), "it can be moved on"

    def choose(name: str, value: str) -> None:
        at.run(
            "const field = document.querySelector(`select[name=${arguments[0]}]`); field.value = arguments[1];"
            "field.dispatchEvent(new Event('change', {bubbles: true}))",
            name,
            value,
        )

    at.leads_on(choose, "source", "b")
    assert set(at.texts(".items td[data-name=source]")) == {"b"}
    at.leads_on(choose, "answered", "abnormal")
    assert "Nothing here" in at.texts(".nothing")[0]
    at.driver.back()  # perhaps to the very page that was left, as the browser has kept it
    at.until("return document.querySelector('.items td[data-name=source]')")
    assert set(at.texts(".items td[data-name=source]")) == {"b"}


def test_the_name_of_a_source_leads_to_its_page_and_back_to_the_list_from_there(at: Browser) -> None:
    at.leads_on(at.run, "document.querySelector('.items td[data-name=source] a').click()")
    assert at.driver.current_url.endswith("/?source=a")
    assert at.texts("h1") == ["What was flagged of a"]
    assert len(at.texts(".items th a")) == 4
    assert at.run("return document.querySelector('select[name=source]').value") == "a"
    to_first_item(at)
    at.leads_on(at.press, Keys.ESCAPE)
    assert at.texts("h1") == ["What was flagged of a"]


def test_the_list_is_walked_by_keys(at: Browser) -> None:
    focused = "return document.activeElement.innerText"
    names = at.texts(".items th a")
    at.press("j")
    assert at.run(focused) == names[0]
    at.press("j", "j")
    assert at.run(focused) == names[2]
    at.press("k")
    assert at.run(focused) == names[1]


def test_a_normal_item_is_fetched_to_compare_with(at: Browser) -> None:
    to_first_item(at)
    at.press("c")
    at.until("return document.querySelectorAll('.nearest .seen').length === 1")
    (text,) = at.texts(".nearest [data-into] > p")
    assert text.startswith("The normal item of the same source that the model takes for most alike (by embedding): ")
    assert "/a/2026-01-0" in text
    at.until("return document.querySelector('.nearest .seen').naturalWidth > 100")
    assert at.complaints() == []


def test_names_and_notes_of_hostile_data_never_run(at: Browser, results: Path, page: Page) -> None:
    (hostile,) = [uri for uri in at.texts(".items th a") if "onerror" in uri]
    evil = "</textarea><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    page.say(hostile, "normal", "abnormal", note=evil, reviewer=evil[:100])
    at.driver.refresh()
    link = "return [...document.querySelectorAll('.items th a')].findIndex(each => each.innerText.includes('onerror'))"
    place = at.run(link)
    at.leads_on(at.run, f"document.querySelectorAll('.items th a')[{place}].click()")
    assert at.texts(".said blockquote") == [evil]
    assert evil[:100] in at.texts(".said li")[0]
    assert at.texts("h1") == [hostile]
    at.until("return document.querySelector('.seen').naturalWidth > 100")
    assert at.run("return document.title").startswith(hostile)
    assert at.run("return document.querySelectorAll('img[src=x], main script').length") == 0
    assert at.complaints() == []


def test_no_script_within_a_page_runs_even_if_one_got_there(at: Browser) -> None:
    """The policy is the second line of defence: what is put into the page as HTML is not run."""
    at.run("document.body.insertAdjacentHTML('beforeend', '<img src=/static/none.png onerror=\"window.hacked = 1\">')")
    at.run("const s = document.createElement('script'); s.textContent = 'window.hacked = 2'; document.body.append(s)")
    at.until("return true")
    assert at.run("return window.hacked") is None
    assert any("Content Security Policy" in line for line in at.complaints())


@pytest.mark.parametrize(("width", "dark"), SIZES, ids=[f"{width} {'dark' if dark else 'light'}" for width, dark in SIZES])
def test_pages_fit_and_are_named_for_screen_readers(at: Browser, page: Page, width: int, dark: bool) -> None:
    at.look(width, dark=dark)
    name = f"{width}-{'dark' if dark else 'light'}.png"
    for what in ("list", "item"):
        if what == "item":
            to_first_item(at)
            at.press("c")
            at.until("return document.querySelectorAll('.seen').length === 2")
        assert at.run("return document.documentElement.scrollWidth <= window.innerWidth"), f"{what} is wider than the window"
        assert at.problems_for_screen_readers() == []
        at.picture(Path(f"review-{what}-{name}"))

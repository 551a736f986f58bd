"""An alarm of a stream, as it is seen and heard in a real browser a moment later."""

from __future__ import annotations

from pathlib import Path

import grpc
from integration.gateway import gateway
from integration.listeners import calm, chunks, fault, listen, start
from selenium.webdriver.common.keys import Keys
from support.browser import browser
from support.review_page import review_page
from support.sounds import SAMPLE_RATE
from support.waiting import wait_until

STRETCH_S = 3 * 4096 / SAMPLE_RATE
HOSTILE = "<img src=x onerror=document.title='hacked'>"


def test_a_kept_alarm_is_heard_and_answered_after_the_page_is_loaded_again(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flagged"
    options = ("--alpha", "0.05", "--keep-flagged", folder, "--sources", f"{HOSTILE},a")
    with gateway(models, *options) as running, review_page(folder) as page, browser() as opened:
        opened.look(1280)
        opened.open(page.address)
        assert "Nothing here." in opened.texts("main")[0]
        sound = [calm(5 * STRETCH_S), fault(6 * STRETCH_S), calm(5 * STRETCH_S, seed=901)]
        for source in ("a", HOSTILE):
            with grpc.insecure_channel(running.address) as channel:
                first = start(detector="normal", source=source, false_alarms_per_hour=20)
                *_, ended = listen(running.stub(channel), first, [each for part in sound for each in chunks(part, 4_000)])
            assert ended.alarms == 1
        wait_until(lambda: running.metrics().get('avizor_flagged_kept_total{model="normal"}') == 2)
        opened.open(f"{page.address}?source=a&model=normal")  # as an alert links to it
        assert len(opened.texts(".items tbody tr")) == 1
        opened.run("document.querySelector('.items a').focus()")
        opened.leads_on(opened.press, Keys.ENTER)
        loaded = "every(image => image.complete && image.naturalWidth > 100)"
        opened.until(f"return [...document.querySelectorAll('.seen, .map')].{loaded}")
        assert opened.run("return document.querySelectorAll('.map').length") == 1
        assert opened.run("return document.querySelectorAll('.seeing [data-stretch]').length") >= 1, "where it is flagged"
        opened.press(" ")
        opened.until("const sound = document.querySelector('audio'); return !sound.paused && sound.currentTime > 0.2")
        opened.driver.save_screenshot(str(tmp_path / "kept.png"))
        opened.leads_on(opened.press, "a")
        opened.open(page.address)
        opened.until("return document.querySelectorAll('.items .answer.abnormal').length === 1")
        assert len(opened.texts(".items tbody tr")) == 2
        assert any(HOSTILE in line for line in opened.texts(".items tbody tr"))
        assert opened.driver.title != "hacked"
        assert opened.complaints() == []

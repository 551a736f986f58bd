"""Listing: the items of a job as a page lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.result_tables import PART, write_results

from avizor_inference.review_answers import Answers
from avizor_review.page.listing import Listing, Wanted
from avizor_review.results import Results

JUDGED = {"source": "a", "windows": 1, "p_value": 0.5, "score": 0.5, "is_anomaly": False}
ITEMS = [{"uri": f"a/{place:03d}.wav", "model": model, **JUDGED} for model in ("m", "n") for place in range(20)]


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[Listing]:
    with Results.open(write_results(tmp_path, recordings=ITEMS)) as results:
        yield Listing(results)


def sampled(listing: Listing, size: int) -> set[tuple[str, str]]:
    rows = listing.rows(Wanted(shown="all", sample=size), Answers())
    return {(row.model, row.uri) for row in rows}


def test_a_sample_has_so_many_items_of_each_model_and_is_a_part_of_a_larger_one(listing: Listing) -> None:
    smaller, larger = sampled(listing, 3), sampled(listing, 12)
    assert (len(smaller), len(larger)) == (6, 24)
    assert smaller < larger
    assert sampled(listing, 3) == smaller


def test_a_sample_is_there_for_one_page_while_others_ask_for_other_sizes(
    listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Listing._all

    def asked_late(self: Listing, sql: str, values: Any = None) -> Any:
        monkeypatch.undo()
        for size in (2, 4, 5, 6, 30):
            sampled(listing, size)
        return ask(self, sql, values)

    sampled(listing, 3)
    monkeypatch.setattr(Listing, "_all", asked_late)
    assert len(sampled(listing, 3)) == 6


def test_a_sample_is_drawn_again_when_items_have_come(listing: Listing) -> None:
    listing.refresh()
    sampled(listing, 3)
    (listing.results.folder / "recordings" / f"{PART}.parquet").unlink()
    write_results(listing.results.folder, recordings=[{**row, "uri": f"b/{row['uri']}"} for row in ITEMS])
    listing.refresh()
    assert {uri[:2] for _, uri in sampled(listing, 2)} == {"b/"}


def test_what_came_between_the_start_and_the_first_page_is_listed(tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path, recordings=ITEMS[:1])) as results:
        listing = Listing(results)
        (tmp_path / "recordings" / f"{PART}.parquet").rename(tmp_path / "recordings" / "fedcba9876543210.parquet")
        write_results(tmp_path, recordings=ITEMS[1:3])
        listing.refresh()
        assert len(listing.rows(Wanted(shown="all"), Answers())) == 3


def test_an_address_has_all_digits_of_alpha() -> None:
    wanted = Wanted(alpha=0.01234567891)
    assert Wanted.of_query(dict(wanted.fields()), Wanted()) == wanted
    assert Wanted(alpha=0.05).query() == "alpha=0.05"

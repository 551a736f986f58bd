"""requests.py: which items one request has."""

from __future__ import annotations

from itertools import pairwise

from avizor_client import requests

MOST_BYTES = 2 << 20  # what a slow line brings within a minute
MOST_ITEMS = 64
SIZES = [*[100_000] * 50, 3 << 20, *[1_000_000] * 5, *[10] * 200]


def test_several_items_of_a_request_are_within_its_limits_and_no_two_requests_could_be_one() -> None:
    call = requests.classify("digits", 0, 0, 0, ())
    sent = [list(request.items) for request in call.requests([bytes(size) for size in SIZES], "image", "")]
    assert [len(item.image) for group in sent for item in group] == SIZES
    for group in sent:
        assert len(group) == 1 or (len(group) <= MOST_ITEMS and sum(item.ByteSize() for item in group) <= MOST_BYTES)
    for group, following in pairwise(sent):
        assert len(group) == MOST_ITEMS or sum(item.ByteSize() for item in (*group, following[0])) > MOST_BYTES

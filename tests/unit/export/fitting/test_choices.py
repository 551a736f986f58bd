"""Choices are written as a table with a reason for each, and are compared with earlier ones."""

from __future__ import annotations

from avizor_export.fitting.choices import Choice, changed_choices, choice_lines

RATE = Choice("sample rate", "16000 Hz", "all recordings have it")


def test_each_choice_has_a_line_with_its_reason() -> None:
    assert list(choice_lines([RATE, Choice.given("spec", "fc8 latent2")])) == [
        "  sample rate  16000 Hz     because all recordings have it",
        "  spec         fc8 latent2  it was given",
    ]


def test_a_long_reason_goes_on_below_itself() -> None:
    lines = list(choice_lines([Choice("window", "2 s", "recordings are long " * 10)]))
    assert len(lines) > 2
    assert all(line.startswith(" " * 15) for line in lines[1:])


def test_a_change_says_what_it_was() -> None:
    now = [Choice("sample rate", "8000 Hz", "it was given"), Choice("window", "1 s", "they are short")]
    assert list(changed_choices(now, [RATE, Choice("hop", "1 s", "")])) == [
        "sample rate: 8000 Hz; it was 16000 Hz",
        "window: 1 s; it was not chosen then",
        "hop: is not chosen now; it was 1 s",
    ]
    assert list(changed_choices([RATE], [RATE])) == []

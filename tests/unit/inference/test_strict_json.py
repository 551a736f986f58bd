"""strict_json.py: JSON files that are refused rather than guessed at, and errors in one line."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from avizor_inference.strict_json import Strict, refuse_duplicates, unknown_key, validation_message


class Circle(Strict):
    kind: Literal["circle"] = "circle"
    radius: float


class Square(Strict):
    kind: Literal["square"] = "square"
    side: float


class Drawing(Strict):
    title: str
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = Circle(radius=1)
    sizes: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(1,), max_length=3)

    @model_validator(mode="after")
    def _is_not_forbidden(self) -> Drawing:
        if self.title == "forbidden":
            raise ValueError("the title is forbidden")
        return self


def refusal(value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(value)
    return validation_message(caught.value)


def test_what_is_whole_is_read() -> None:
    drawing = Drawing.from_json(b'{"title": "a", "shape": {"kind": "square", "side": 2}, "sizes": [1, 2]}')
    assert drawing == Drawing(title="a", shape=Square(side=2), sizes=(1, 2))


def test_what_was_read_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Drawing(title="a").title = "b"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_without_end_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match="finite number"):
        Circle.from_json(f'{{"radius": {number}}}'.encode())


@pytest.mark.parametrize(
    "text", ['{"title": "a", "title": "b"}', '{"title": "a", "shape": {"kind": "circle", "radius": 1, "radius": 1}}']
)
def test_a_key_that_is_there_twice_is_refused_at_any_depth(text: str) -> None:
    with pytest.raises(ValueError, match=r"^'(title|radius)' is repeated in one object$"):
        Drawing.from_json(text.encode())


def test_a_key_may_be_in_two_objects() -> None:
    refuse_duplicates(b'[{"a": {"a": 1}}, {"a": 2}]')


def test_an_error_that_is_not_of_pydantic_is_its_text() -> None:
    assert validation_message(ValueError("two\nlines")) == "two\nlines"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "title: is missing"),
        (3, "file: Input should be a valid dictionary or instance of Drawing"),
        ({"title": 1}, "title: Input should be a valid string"),
        ({"title": "forbidden"}, "file: the title is forbidden"),
        ({"title": "a", "shape": {"kind": "square", "side": "x"}},
         "shape.square.side: Input should be a valid number, unable to parse string as a number"),
        ({"title": "a", "shape": {"radius": 1}}, "shape.kind: is missing"),
        ({"title": "a", "shape": {"kind": "cube"}}, "shape.kind: 'cube' is none of 'circle', 'square'"),
        ({"title": "a", "shape": {"kind": "square", "side": 1, "colour": 2}}, "shape.square: unknown key 'colour'"),
        ({"title": "a", "year": 1}, "file: unknown key 'year'"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_in_our_words(value: Any, says: str) -> None:
    assert refusal(value) == says


def test_a_typing_error_is_told_once_with_what_was_meant() -> None:
    assert refusal({"titel": "a"}) == "file: unknown key 'titel', did you mean 'title'?"
    square = {"kind": "square", "sides": 1}
    assert refusal({"titel": "a", "shape": square}) == (
        "shape.square: unknown key 'sides', did you mean 'side'?; file: unknown key 'titel', did you mean 'title'?"
    )


def test_a_field_is_not_taken_for_one_that_is_missing_elsewhere() -> None:
    assert refusal({"shape": {"kind": "square", "side": 1, "title": 1}}) == (
        "title: is missing; shape.square: unknown key 'title'"
    )


def test_a_list_without_its_wrong_items_is_not_called_too_short_as_well() -> None:
    class Pair(Strict):
        numbers: tuple[int, int]

    with pytest.raises(ValidationError) as caught:
        Pair.model_validate({"numbers": [1, "x"]})
    assert validation_message(caught.value).startswith("numbers.1: Input should be a valid integer")
    assert ";" not in validation_message(caught.value)


def test_of_many_errors_the_first_five_are_told() -> None:
    class Many(Strict):
        numbers: tuple[int, ...]

    def told(count: int) -> list[str]:
        with pytest.raises(ValidationError) as caught:
            Many.model_validate({"numbers": ["x"] * count})
        return validation_message(caught.value).split("; ")

    place = "Input should be a valid integer, unable to parse string as an integer"
    assert told(5) == [f"numbers.{number}: {place}" for number in range(5)]
    assert told(6) == [*told(5), "..."]


def test_an_unknown_key_is_told_with_the_one_key_that_is_spelt_like_it() -> None:
    assert unknown_key("hight", ["width", "height", "heights"]) == "unknown key 'hight', did you mean 'height'?"
    assert unknown_key("colour", ["width", "height"]) == "unknown key 'colour'"


def test_a_copy_with_other_fields_computes_anew_what_follows_from_them() -> None:
    class Ring(Circle):
        @cached_property
        def width(self) -> float:
            return 2 * self.radius

    ring = Ring(radius=1)
    assert ring.width == 2
    assert ring.model_copy(update={"radius": 5.0}).width == 10
    assert (ring.width, ring) == (2, Ring(radius=1))

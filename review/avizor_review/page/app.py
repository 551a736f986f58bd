"""Answer the requests of the review page. Every form works without a script; the script adds keys, sound and comfort."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from avizor_inference.error_text import printable
from avizor_inference.errors import AvizorError, SettingsError
from avizor_inference.review_answers import MOST_NAME, MOST_NOTE, Answer, AnswerFile, Answers, ItemKey
from avizor_inference.strict_json import validation_message
from avizor_review.page.bodies import TooLarge, body_of
from avizor_review.page.listing import ANSWERED, ORDERS, PAGE_ROWS, SHOWN, ItemRow, Listing, Wanted
from avizor_review.page.looks import Looks

_MOST_BODY_BYTES = 64 << 10
_REVIEWER = "avizor-reviewer"

# Answers that a form may give.
_WORDS = ("normal", "abnormal", "unsure", "withdrawn")


@dataclass(frozen=True)
class ReviewApp:
    """Answers requests about one job. title: of the pages. default: what is listed at first. reviewer: who answers at first."""

    title: str
    listing: Listing
    looks: Looks
    answers: AnswerFile
    default: Wanted
    reviewer: str

    def asgi(self) -> ASGIApp:
        """Return the application."""
        pages = {"/": self._list, "/item": self._item, "/nearest": self._nearest, "/login": self._login}
        media = {"/picture": self.looks.picture, "/map": self.looks.error_map, "/sound": self.looks.sound}
        routes = [
            *(Route(path, _in_thread(page), methods=["GET"]) for path, page in pages.items()),
            *(Route(path, _in_thread(self._media(show)), methods=["GET"]) for path, show in media.items()),
            Route("/answer", self._answer, methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("avizor_review", "page/static")])),
        ]
        return Starlette(routes=routes, exception_handlers={404: _no_page})

    def _list(self, request: Request) -> Response:
        wanted, problem = self._wanted(request.query_params, Wanted.of_address)
        answers = self.answers.answers()
        self.listing.refresh()
        tally = self.listing.tally(wanted, answers)
        count = self.listing.count(wanted, answers, tally)
        # Answers make a list shorter while somebody is on its last page, which would be empty then.
        wanted = wanted.on_page(min(wanted.page, max(0, count - 1) // PAGE_ROWS))
        rows = self.listing.rows(wanted, answers)
        return _page(
            "list.html",
            title=self.title,
            wanted=wanted,
            problem=problem,
            rows=rows,
            has_times=any(row.time for row in rows),
            count=count,
            tally=tally,
            job_alpha=self.listing.alpha,
            first=wanted.page * PAGE_ROWS + 1,
            before=wanted.on_page(wanted.page - 1) if wanted.page else None,
            after=wanted.on_page(wanted.page + 1) if (wanted.page + 1) * PAGE_ROWS < count else None,
            sources=_choices("all sources", self.listing.sources(), wanted.source),
            models=_choices("all models", self.listing.models(), wanted.model),
            unreadable=answers.unreadable,
            choices={"answered": ANSWERED, "order": ORDERS, "shown": SHOWN},
        )

    def _item(self, request: Request) -> Response:
        return self._item_page(request.query_params, unquote(request.cookies.get(_REVIEWER, "")))

    def _item_page(self, query: Mapping[str, str], reviewer: str, refused: str = "", note: str = "") -> Response:
        """Return the page of one item. refused: why an answer was not kept. note: what was written with it."""
        wanted, problem = self._wanted(query, Wanted.of_query)
        answers = self.answers.answers()
        item = self._asked_item(query, answers)
        if item is None:
            return _page("missing.html", 404, title=self.title, wanted=wanted)
        place = self.listing.place(wanted, answers, item.key)
        last = _key(query, "last_")
        return _page(
            "item.html",
            422 if refused else 200,
            title=self.title,
            wanted=wanted,
            problem=refused or problem,
            item=item,
            look=self.looks.of(item, query),
            place=place,
            said=answers.on(item.key),
            others=self.listing.labels(item.uri),
            reviewer=reviewer or self.reviewer,
            note=note,
            last=last if last and answers.on(last) else None,
            most_note=MOST_NOTE,
            most_name=MOST_NAME,
        )

    def _nearest(self, request: Request) -> Response:
        answers = self.answers.answers()
        item = self._asked_item(request.query_params, answers)
        if item is None:
            return Response(status_code=404)
        nearest = self.listing.nearest(item, answers)
        return _page("nearest.html", nearest=nearest, look=nearest and self.looks.of(nearest.item, beside=self.looks.of(item)))

    def _login(self, request: Request) -> Response:
        return _page("login.html", title=self.title, is_wrong="wrong" in request.query_params)

    async def _answer(self, request: Request) -> Response:
        try:
            body = await body_of(request, _MOST_BODY_BYTES)
        except TooLarge:
            return Response("the answer is too long\n", 413)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        try:
            return await run_in_threadpool(self._keep, form, request.url.scheme == "https")
        except AvizorError as error:
            return _problem(error)

    def _keep(self, form: dict[str, str], is_tls: bool) -> Response:
        """Append an answer, and lead on to the next item; back to this one, with the reason, if it cannot be kept."""
        key = ItemKey(form.get("uri", ""), form.get("model", ""))
        try:
            wanted = Wanted.of_query(form, self.default)
        except SettingsError:
            wanted = self.default
        if self.listing.item(key, self.answers.answers()) is None:
            return _page("missing.html", 404, title=self.title, wanted=wanted)
        reviewer = printable(" ".join(form.get("reviewer", "").split()))
        here = {"uri": key.uri, "model": key.model}
        try:
            if form.get("answer") not in _WORDS:
                raise SettingsError("say normal, abnormal or unsure")
            note = _without_controls(form.get("note", "").replace("\r\n", "\n").strip())
            self.answers.append(
                Answer(
                    uri=key.uri,
                    model=key.model,
                    answer=form["answer"],  # type: ignore[arg-type]  # one of _WORDS
                    note="" if form["answer"] == "withdrawn" else note,
                    reviewer=reviewer,
                    time=datetime.now(UTC),
                )
            )
        except (ValidationError, AvizorError) as error:
            why = f"not kept: {validation_message(error) if isinstance(error, ValidationError) else error}"
            return self._item_page(form, reviewer[:MOST_NAME], why, form.get("note", ""))
        following = ItemKey(form["next_uri"], form["next_model"]) if "next_uri" in form and "next_model" in form else None
        if form["answer"] == "withdrawn" or following is None:
            answer = _see(f"/item?{wanted.query(**here)}")
        else:
            last = {"last_uri": key.uri, "last_model": key.model}
            answer = _see(f"/item?{wanted.query(uri=following.uri, model=following.model, **last)}")
        answer.set_cookie(_REVIEWER, quote(reviewer), max_age=400 * 86400, secure=is_tls, httponly=True, samesite="strict")
        return answer

    def _media(self, show: Callable[..., tuple[bytes, str]]) -> Callable[[Request], Response]:
        """Return what answers with the media of an item of the job, and of nothing else."""

        def answer(request: Request) -> Response:
            item = self._asked_item(request.query_params, Answers())
            if item is None:
                return Response(status_code=404)
            try:
                content, media_type = show(item, request.query_params)
            except AvizorError as error:
                return Response(f"{error}\n", 404, media_type="text/plain")
            return _ranged(request, content, media_type)

        return answer

    def _asked_item(self, query: Mapping[str, str], answers: Answers) -> ItemRow | None:
        key = _key(query)
        return self.listing.item(key, answers) if key else None

    def _wanted(self, query: Mapping[str, str], read: Callable[[Mapping[str, str], Wanted], Wanted]) -> tuple[Wanted, str]:
        """Return what the address asks for, and what is wrong with it: then the default is shown."""
        try:
            return read(query, self.default), ""
        except SettingsError as error:
            return replace(self.default), str(error)


def _in_thread(page: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """Return the same as what Starlette runs: queries and drawing must not hold up other requests."""

    async def answer(request: Request) -> Response:
        try:
            return await run_in_threadpool(page, request)
        except AvizorError as error:
            return _problem(error)

    return answer


def _problem(error: AvizorError) -> Response:
    return _page("problem.html", 500, title="Avizor review", problem=str(error))


def _key(query: Mapping[str, str], prefix: str = "") -> ItemKey | None:
    uri, model = (query.get(f"{prefix}{name}") for name in ("uri", "model"))
    return None if uri is None or model is None else ItemKey(uri, model)


def _without_controls(note: str) -> str:
    """Return a note with the codes of control characters, but for new lines and tabs, in their place."""
    return "".join(printable(each) if unicodedata.category(each) == "Cc" and each not in "\n\t" else each for each in note)


def _choices(every: str, names: Sequence[str], chosen: str) -> list[tuple[str, str]]:
    """Return values and texts of a field: `every` for all, the names, and what is chosen, though nothing was judged of it."""
    more = [chosen] if chosen and chosen not in names else []
    return [("", every), *((name, name) for name in [*names, *more])]


def _see(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303)


async def _no_page(request: Request, error: Exception) -> Response:
    return _page("problem.html", 404, title="Avizor review", problem="there is no such page")


def _ranged(request: Request, content: bytes, media_type: str) -> Response:
    """Answer a part of a sound if a browser asks for one, which it needs to jump within it."""
    headers = {"Accept-Ranges": "bytes"}
    unit, _, span = request.headers.get("range", "").partition("=")
    first, dash, last = span.partition("-")
    if unit != "bytes" or not dash or not first.isdecimal() or not (last.isdecimal() or not last) or len(span) > 40:
        return Response(content, headers=headers, media_type=media_type)
    start, end = int(first), min(int(last) if last else len(content) - 1, len(content) - 1)
    if start > end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Response(content[start : end + 1], 206, headers, media_type)


def _page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), status)


def _significant(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


# Everything is escaped; nothing in the templates says `safe`.
_TEMPLATES = Environment(
    loader=PackageLoader("avizor_review.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters |= {"significant": _significant, "named": printable}

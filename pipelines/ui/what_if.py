"""Sliders over the limits of a recipe: what would come and go, as `gristmill what-if` says it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from itertools import groupby
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from gristmill.operators.columns import SOURCE
from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.decide.executors import rule_names
from gristmill.pipelines.decide.held_rules import Superseded
from gristmill.pipelines.decide.losses import name_of
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.report.live_what_if import LiveAnswer, LiveWhatIf
from gristmill.pipelines.report.what_if import WhatIf
from gristmill.pipelines.report.what_if_told import groups_of, move_sentences
from gristmill.pipelines.ui.held_recipe import HeldRecipe
from gristmill.pipelines.ui.site import SectionMaker, Site, SiteSection

PATH = "/what-if"
#: Documents that come, and that go, whose beginnings are shown.
EXAMPLES = 3
#: Groups of a column that are shown, those whose kept documents change most.
SHOWN_GROUPS = 10
#: Seconds between two looks whether anybody waits for an answer yet.
_LOOK = 0.2
#: Seconds after which a slider is taken to rest: texts are read then, and rules decided that look at all documents.
_REST = 0.3


def what_if_section(recipe: str | None) -> SectionMaker:
    """Return the section of a recipe; without one, its page says how to name one."""
    held = None if recipe is None else HeldRecipe(recipe)

    def section(site: Site) -> SiteSection:
        pages = _Pages(site, held)
        routes = [
            Route(PATH, pages.show),
            Route(f"{PATH}/answer", pages.answer),
            Route(f"{PATH}/progress", pages.progress),
            Route(f"{PATH}/again", pages.again, methods=["POST"]),
        ]
        return SiteSection("What if", PATH, routes)

    return section


class _Pages:
    """The pages of the section."""

    def __init__(self, site: Site, held: HeldRecipe | None) -> None:
        self._site, self._held = site, held

    def show(self, request: Request) -> Response:
        """Return the page: how far the recipe is held, or its sliders with the answer to the numbers asked for."""
        if self._held is None:
            return self._site.page(request, "what_if.html", recipe=None)
        state = self._held.state()
        if state.live is None or state.base is None:
            return self._site.page(
                request, "what_if.html", recipe=self._held.recipe, live=None, share=state.share, error=state.error
            )
        numbers = _numbers(request, state.live)
        told = state.live.answer(numbers, EXAMPLES) if state.live.changes(numbers)[1] else state.base
        rules = [
            (rule, [(i, each, numbers.get(i, each.limit.number)) for i, each in members])
            for rule, members in _by_rule(list(enumerate(state.sliders)))
        ]
        return self._site.page(
            request,
            "what_if.html",
            recipe=self._held.recipe,
            live=state.live,
            rules=rules,
            seconds=state.seconds,
            base=state.base.told.before,
            **_shown(state.live, told, numbers),
        )

    def progress(self, request: Request) -> Response:
        """Return how far the recipe is held."""
        state = None if self._held is None else self._held.state()
        if state is None:
            raise HTTPException(404, "no recipe was named")
        return JSONResponse({"share": state.share, "ready": state.live is not None, "error": state.error})

    def again(self, request: Request) -> Response:
        """Read the store again, for runs that have ended since."""
        if self._held is not None:
            self._held.again()
        return RedirectResponse(PATH, 303)

    async def answer(self, request: Request) -> Response:
        """Return lines of JSON, each with an answer as HTML: what is known at once, then all of it, with texts.

        Work ends when the browser no longer waits: a slider that moves on gives up the question before.
        """
        state = None if self._held is None else self._held.state()
        if state is None or state.live is None:
            raise HTTPException(409, "the recipe is not held yet")
        numbers = _numbers(request, state.live)
        await asyncio.to_thread(state.live.changes, numbers)  # a wrong number is refused as a page would be
        lines = self._lines(request, state.live, numbers)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(self, request: Request, live: LiveWhatIf, numbers: Mapping[int, str]) -> AsyncIterator[bytes]:
        stop = threading.Event()
        try:
            if live.changes(numbers)[1]:
                first = await asyncio.to_thread(live.first_answer, numbers)
                yield b'{"pending": true}\n' if first is None else self._line(live, first, numbers, whole=False)
            await asyncio.sleep(_REST)
            if await request.is_disconnected():
                return
            whole = asyncio.ensure_future(asyncio.to_thread(live.answer, numbers, EXAMPLES, stop))
            while not (await asyncio.wait({whole}, timeout=_LOOK))[0]:
                if await request.is_disconnected():
                    return
            yield self._line(live, whole.result(), numbers, whole=True)
        except Superseded:
            return
        except (GristmillError, OSError) as error:
            yield json.dumps({"error": str(error)}).encode() + b"\n"
        finally:
            stop.set()

    def _line(self, live: LiveWhatIf, answer: LiveAnswer, numbers: Mapping[int, str], whole: bool) -> bytes:
        html = self._site.filled("what_if_answer.html", **_shown(live, answer, numbers)).decode()
        told = {"html": html, "complete": answer.complete, "whole": whole, "kept": answer.told.after.kept}
        return json.dumps(told).encode() + b"\n"


def _numbers(request: Request, live: LiveWhatIf) -> dict[int, str]:
    """Return the numbers asked for, by limit; those of the recipe are left out. Raises HTTPException for none."""
    numbers = {}
    for i, each in enumerate(live.limits):
        given = request.query_params.get(f"limit{i}", "").strip()
        if given and given != each.number:
            try:
                each.written(given)
            except RecipeError as error:
                raise HTTPException(400, str(error)) from None
            numbers[i] = given
    return numbers


def _by_rule(sliders: list[Any]) -> list[tuple[str, list[Any]]]:
    return [(rule, list(members)) for rule, members in groupby(sliders, key=lambda entry: entry[1].limit.rule)]


def _shown(live: LiveWhatIf, answer: LiveAnswer, numbers: Mapping[int, str]) -> dict[str, Any]:
    """Return the values of the template of an answer."""
    told = answer.told
    names = [rule.name for rule in told.before.rules]
    pending = [] if answer.complete else rule_names(live.plan.rules)[answer.rules :]
    examples = [{**example, "why": sentence(example)} for example in told.examples]
    return {
        "told": told,
        "rows": _rows(told),
        "groups": _groups(told),
        "pending": pending,
        "last": names[-1] if names else "",
        "sentences": list(move_sentences(told)) if told.changes else [],
        "examples": examples,
        "command": live.command(numbers) if told.changes else "",
    }


def _rows(told: WhatIf) -> list[tuple[str, str, tuple[int, int], tuple[int, int]]]:
    """Return rows of a name, a class, and documents and tokens before and after."""
    before, after = told.before, told.after
    rows = [("input", "", (before.documents, before.tokens), (after.documents, after.tokens))]
    for one, other in zip(before.rules, after.rules, strict=True):
        rows.append((f"− {one.name}", "", (one.dropped, one.dropped_tokens), (other.dropped, other.dropped_tokens)))
    rows.append(("kept", "sum", (before.kept, before.kept_tokens), (after.kept, after.kept_tokens)))
    return rows


def _groups(told: WhatIf) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    shown = []
    for column, groups in groupby(groups_of(told), key=lambda row: row[0].column):
        changed = [row for row in groups if column == SOURCE or row[1] != row[2]]
        shown += [(name_of(group), before, after) for group, before, after in changed[:SHOWN_GROUPS]]
    return shown

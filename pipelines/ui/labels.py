"""Labels: the tasks of a store, who answered what, and how far annotators agree."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow.compute as pc
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.html.svg import horizontal_bar
from gristmill.pipelines.label.store import LabelStore, fingerprints
from gristmill.pipelines.report.labels import aggregated, info
from gristmill.pipelines.ui.site import Site, SiteSection, text, whole

#: Answers on a page.
SHOWN = 50
#: Answers, those given most, of which the share is shown.
SHOWN_ANSWERS = 20
_COLUMNS = (CONTENT_ID, "annotator", "answer", "probability", "error", "created")


def section(site: Site) -> SiteSection:
    """Return the section of labels."""

    def show_tasks(request: Request) -> Response:
        tasks: list[dict[str, Any]] = info(site.store) if fingerprints(site.store) else []
        return site.page(request, "labels.html", tasks=tasks)

    def show_task(request: Request) -> Response:
        fingerprint = request.path_params["task"]
        if fingerprint not in fingerprints(site.store):
            raise HTTPException(404, "this store has no such task")
        page = whole(request, "page", 1, 1, 1_000_000)
        annotator, answer = text(request, "annotator"), text(request, "answer")
        (task,) = info(site.store, fingerprint)
        store = LabelStore(site.store, fingerprint)
        answers = store.rows(columns=_COLUMNS)
        spread = _spread(answers.group_by(["annotator", "answer"]).aggregate([(CONTENT_ID, "count")]).to_pylist())
        if annotator:
            answers = answers.filter(pc.equal(answers["annotator"], annotator))
        if answer:
            answers = answers.filter(pc.fill_null(pc.equal(answers["answer"], answer), False))
        rows = answers.slice((page - 1) * SHOWN, SHOWN).to_pylist()
        ids = _ids(store)
        for row in rows:
            row["id"] = ids.get(row[CONTENT_ID])
            row[CONTENT_ID] = row[CONTENT_ID].hex()
        return site.page(
            request,
            "task.html",
            task=task,
            written=store.task()["task"],
            spread=spread,
            agreement=_agreement(site.store, store.task()["task"]),
            rows=rows,
            total=len(answers),
            page=page,
            shown_at_once=SHOWN,
            annotator=annotator,
            answer=answer,
        )

    return SiteSection("Labels", "/labels", [Route("/labels", show_tasks), Route("/labels/{task}", show_task)])


def _ids(store: LabelStore) -> dict[bytes, str]:
    documents = store.documents()
    return dict(zip(documents[CONTENT_ID].to_pylist(), documents["id"].to_pylist(), strict=True))


def _spread(counts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers of each annotator, each with a bar of its share: by number, else the most frequent first."""
    valid = [row for row in counts if row["answer"] is not None]
    of_annotator, of_answer = Counter[str](), Counter[str]()
    for row in valid:
        of_annotator[row["annotator"]] += row[f"{CONTENT_ID}_count"]
        of_answer[row["answer"]] += row[f"{CONTENT_ID}_count"]
    most = [answer for answer, _ in of_answer.most_common(SHOWN_ANSWERS)]
    if all(answer.lstrip("-").isdecimal() for answer in most):
        most.sort(key=int)
    order = {answer: i for i, answer in enumerate(most)}
    shown = [row for row in valid if row["answer"] in order]
    found = []
    for row in sorted(shown, key=lambda row: (row["annotator"], order[row["answer"]])):
        n, total = row[f"{CONTENT_ID}_count"], of_annotator[row["annotator"]]
        label = f"{row['annotator']}: {n:,} of {total:,} answers are {row['answer']}"
        found.append({**row, "n": n, "share": n / total, "bar": horizontal_bar([(n / total, "kept")], label)})
    return found


def _agreement(store: str, task: dict[str, Any]) -> dict[str, Any]:
    """Return how far annotators agree (`aggregated`), or why that is not known."""
    if not task:
        return {"unknown": "the store has no record of the task"}
    try:
        return aggregated(store, task)
    except (RecipeError, GristmillError) as error:
        return {"unknown": str(error)}

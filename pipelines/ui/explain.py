"""Explain: what the store knows of one document, as `gristmill explain` tells it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.operators import columns
from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.report.explain import add_texts, document_at, sentence, text_at
from gristmill.pipelines.report.stored_rows import rejected_rows
from gristmill.pipelines.stages.quarantine import where
from gristmill.pipelines.store.shown import in_order, told
from gristmill.pipelines.ui.cache import Job
from gristmill.pipelines.ui.site import Site, SiteSection, text, whole

#: Documents with the same id that are shown.
SHOWN = 10
#: Characters of a text that are shown.
LONGEST = 500_000
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_ABOUT = ("id", "source", "address", "file", "row", "fates", "excerpt", "content_id", "text_id", "text", "unreadable")


def section(site: Site) -> SiteSection:
    """Return the section that explains documents."""

    def addresses_of(wanted: str) -> tuple[list[int], Job | None]:
        """Return the addresses of documents with an id, else content id, else address, and the job that is not done."""
        shown = site.shown()
        ids, job = site.indexes.keys(columns.ID, shown)
        if found := ids.find(wanted, SHOWN):
            return found, job
        if len(wanted) == 32 and _HEXADECIMAL.issuperset(wanted):
            contents, job_of_contents = site.indexes.keys(columns.CONTENT_ID, shown)
            job = job or job_of_contents
            if found := contents.find(bytes.fromhex(wanted), SHOWN):
                return found, job
        return ([int(wanted)] if wanted.isdecimal() and len(wanted) <= 20 and int(wanted) < 2**64 else []), job

    def explain(request: Request) -> Response:
        wanted, with_texts = text(request, "id"), whole(request, "texts", 0, 0, 1)
        job = None
        if "address" in request.query_params:
            addresses = [whole(request, "address", 0, 0, 2**64 - 1)]
        elif wanted:
            addresses, job = addresses_of(wanted)
        else:
            return site.page(request, "explain.html", wanted="", documents=[], rejects=[], job=None)
        shown = site.shown()
        documents = [known for address in addresses if (known := document_at(site.store, shown, address)) is not None]
        rejects = rejected_rows(site.store, in_order(shown), wanted) if wanted else []
        if not documents and not rejects and job is None:
            named = f"the id, content id or address {wanted}" if wanted else f"the address {addresses[0]}"
            raise RecipeError(f"no document of this store has {named}; {told(shown)}")
        for document in documents:
            if with_texts:
                add_texts(site.store, shown, document)
                try:
                    document["text"] = text_at(site.store, shown, document["address"])[:LONGEST]
                except (GristmillError, OSError) as error:  # the file is gone or another one since
                    document["unreadable"] = str(error)
        return site.page(
            request,
            "explain.html",
            wanted=wanted or (documents[0]["id"] if documents else ""),
            documents=[_shown(document) for document in documents],
            rejects=[{**reject, "where": where(reject)} for reject in rejects],
            texts=bool(with_texts),
            job=job,
        )

    return SiteSection("Explain", "/explain", [Route("/explain", explain)])


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its measures apart, and each fate in a sentence."""
    measures = [(name, value) for name, value in document.items() if name not in _ABOUT]
    fates = [{**fate, "sentence": sentence(fate)} for fate in document["fates"]]
    return {**document, "measures": measures, "fates": fates}

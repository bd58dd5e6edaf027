"""Clusters of near copies: the largest first, and one with its members, word by word beside what was kept."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.operators import columns
from gristmill.operators.errors import GristmillError
from gristmill.pipelines.report.clusters import SHOWN_MEMBERS, compare_members
from gristmill.pipelines.report.stored_rows import document_ids
from gristmill.pipelines.report.views import decided_shards
from gristmill.pipelines.store.fuzzy_index import id_of
from gristmill.pipelines.store.shown import Shown
from gristmill.pipelines.ui.site import Site, SiteSection, text, whole

#: Clusters on a page, and members of one.
SHOWN, SHOWN_OF_ONE = 50, 20


def section(site: Site) -> SiteSection:
    """Return the section of clusters."""

    def show_clusters(request: Request) -> Response:
        page = whole(request, "page", 1, 1, 1_000_000)
        shown, of = site.shown(), site.shown_of(request)
        found: dict[str, Any] = {"made": _makes_clusters(of), "job": None, "total": 0, "clusters": []}
        if found["made"]:
            index, job = site.indexes.clusters(of)
            found["job"] = job
            if index.ready:
                found["total"], found["clusters"] = index.largest((page - 1) * SHOWN, SHOWN)
        return site.page(request, "clusters.html", shown=shown, of=of, page=page, shown_at_once=SHOWN, **found)

    def show_cluster(request: Request) -> Response:
        of = site.shown_of(request)
        rule, cluster = text(request, "rule"), whole(request, "cluster", 0, 0, 2**64 - 1)
        page, with_texts = whole(request, "page", 1, 1, 1_000_000), whole(request, "texts", 0, 0, 1)
        if not _makes_clusters(of):
            raise HTTPException(404, f"{of.dataset} {of.version} was decided without fuzzy_dedup")
        index, job = site.indexes.clusters(of)
        found = index.one(rule, cluster) if index.ready else None
        if index.ready and found is None:
            raise HTTPException(404, f"{of.dataset} {of.version} has no such cluster")
        skip = (page - 1) * SHOWN_OF_ONE
        members = index.members(rule, cluster, skip, SHOWN_OF_ONE) if found else []
        _add_ids(site.store, of, members)
        return site.page(
            request,
            "cluster.html",
            of=of,
            found=found,
            job=job,
            members=members,
            page=page,
            shown_at_once=SHOWN_OF_ONE,
            texts=bool(with_texts),
            compared=_compared(site.store, of, members) if with_texts else [],
            unlike=SHOWN_MEMBERS,
        )

    return SiteSection("Clusters", "/clusters", [Route("/clusters", show_clusters), Route("/cluster", show_cluster)])


def _makes_clusters(of: Shown) -> bool:
    """Return whether the newest run that decided a version has a rule that makes clusters."""
    return any("clusters" in rule["details"] for rule in of.standing[0].run.record["result"]["funnel"]["rules"])


def _add_ids(store: str, of: Shown, members: list[dict[str, Any]]) -> None:
    """Add the ids of members of a cluster and of their survivors, and whether the survivor is of an earlier night."""
    addresses = {member[name] for member in members for name in ("address", "survivor")}
    ids = document_ids(store, decided_shards(of.standing), addresses)
    for member in members:
        member["id"] = ids.get(member["address"], str(member["address"]))
        member["earlier"] = member["survivor"] not in ids
        member["survivor_id"] = id_of(store, member["survivor"]) if member["earlier"] else ids[member["survivor"]]


def _compared(store: str, of: Shown, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the members that are least like their survivors, each with a word diff, or why its text is not there."""
    shown = [member for member in members if member["survivor"] != member["address"]][:SHOWN_MEMBERS]
    for member in shown:
        if not member["earlier"]:
            ordinals = {member[name] >> columns.ROW_BITS for name in ("address", "survivor")}
            try:
                compare_members(store, [stands.only(ordinals) for stands in of.standing], [member])
            except (GristmillError, OSError) as error:  # the file is gone or another one since
                member["unreadable"] = str(error)
    return shown

"""Limits that are not plain comparisons: of each language, from a file, and cuts of a student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import gristmill
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.html.cuts import cuts_of
from gristmill.pipelines.store.run_records import RunRecords
from tests.pipelines.html.corpus import cells, parsed, write_corpus

pytestmark = pytest.mark.xdist_group("reports")
LIMITS = {"by": "lang", "minimum": {"gopher_words": {"en": 70, "de": 55, "it's": 3}}, "maximum": {"score": {"en": 5}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by limits of a file, which is another one since."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "limits.yaml").write_text(yaml.safe_dump(LIMITS))
    gristmill.run(write_corpus(folder, decide=[{"thresholds": "limits.yaml"}, {"drop": "gopher_words > 170"}]))
    (folder / "limits.yaml").write_text(yaml.safe_dump({**LIMITS, "minimum": {"gopher_words": {"en": 1}}}))
    return folder


def test_limits_of_languages_are_those_that_the_run_had(folder: Path) -> None:
    run = RunRecords(str(folder / "store")).newest()
    cuts = cuts_of(run.record["recipe"], Funnel.from_json(run.record["result"]["funnel"]))
    assert [(cut.column, cut.sign, cut.limit, cut.group) for cut in cuts] == [
        ("gopher_words", "<", 55, ("lang", "de")),
        ("gopher_words", "<", 70, ("lang", "en")),
        ("gopher_words", "<", 3, ("lang", "it's")),
        ("score", ">", 5, ("lang", "en")),
        ("gopher_words", ">", 170, None),
    ]
    sql = """
        SELECT lang, "limit"::DOUBLE AS at, min(value::DOUBLE) AS low, max(value::DOUBLE) AS high
        FROM decisions JOIN documents USING (address) WHERE rule = 'thresholds' GROUP BY ALL
    """
    for lang, limit, _, _ in (tuple(row.values()) for row in gristmill.query(str(folder / "store"), sql).to_pylist()):
        assert limit in {cut.limit for cut in cuts if cut.group == ("lang", lang)}


def test_charts_show_the_limits_of_languages_with_a_table(folder: Path) -> None:
    page = parsed(Path(gristmill.report(store=folder / "store", examples=4)).read_bytes())
    (article,) = page.xpath("//article[h3='gopher_words']")
    assert "< 3 to 70, by lang (thresholds)" in " ".join(article.text_content().split())
    chart = article.xpath("./*[local-name()='svg']")[0]
    assert len(chart.xpath(".//*[@class='group-cut']")) == 3
    assert len(chart.xpath(".//*[@class='cut']")) == 1
    (limits,) = article.xpath(".//div[starts-with(@aria-label, 'Limits of')]/table")
    assert cells(limits)[1:] == [["de", "55"], ["en", "70"], ["it's", "3"]]
    small = {s.get("aria-label"): len(s.xpath("./*[@class='cut']")) for s in article.xpath(".//*[@class='small']")}
    assert small["Histogram of gopher_words where lang de, limit 55, limit 170"] == 2
    kept = page.xpath("//details[summary/span='thresholds'][contains(summary, 'kept, nearest to a limit')]//figcaption")
    ids = [caption.xpath("./span[1]")[0].text_content() for caption in kept]
    sql = """
        SELECT id FROM documents JOIN decisions USING (address) WHERE kept ORDER BY least(
            abs(gopher_words / CASE lang WHEN 'en' THEN 70 WHEN 'de' THEN 55 END - 1),
            abs(score / CASE lang WHEN 'en' THEN 5 END - 1)), address LIMIT 4
    """
    assert ids == [row["id"] for row in gristmill.query(str(folder / "store"), sql).to_pylist()]


def test_a_cut_is_the_one_that_was_looked_up(tmp_path: Path) -> None:
    row = {"threshold": 3.5, "kept": 0.5, "precision": 0.9, "recall": 0.8, "f1": 0.85}
    report: dict[str, Any] = {"kind": "choice", "curves": {"good": {"rows": [row]}}}
    (tmp_path / "m.bin.report.json").write_text(json.dumps(report))
    cut = {"wish": "keep 0.5", "model": "m.bin", "column": "score", "label": "good"}
    gristmill.run(write_corpus(tmp_path, decide=[{"cut": cut}]))
    (tmp_path / "m.bin.report.json").unlink()
    run = RunRecords(str(tmp_path / "store")).newest()
    (found,) = cuts_of(run.record["recipe"], Funnel.from_json(run.record["result"]["funnel"]))
    assert (found.column, found.sign, found.limit, found.written) == ("score", "<", 3.5, "the cut for keep 0.5")
    page = (Path(run.url) / "report.html").read_text()
    assert "3.5, which is the cut for keep 0.5" in page

"""The report of a run: what it shows is what DuckDB counts over the decisions; it is small, and the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import gristmill
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.html import spreads as spreads_of
from gristmill.pipelines.html.cuts import cuts_of
from gristmill.pipelines.html.histogram_chart import bars_of
from gristmill.pipelines.html.reports import find_run, leave_report
from gristmill.pipelines.html.run_report import run_report
from gristmill.pipelines.html.spreads import Spreads, correlations, spreads
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.runs import Run
from tests.pipelines.html.corpus import cells, number, parsed, write_corpus
from tests.pipelines.stages.test_run import execute

pytestmark = pytest.mark.xdist_group("reports")  # one store for all
RULES = ["short", "exact_dedup", "fuzzy_dedup", "drop", "select"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return gristmill.run(write_corpus(tmp_path_factory.mktemp("report")), workers=2)


@pytest.fixture(scope="module")
def store(result: RunResult) -> str:
    return result.dataset.split("/datasets/")[0]


@pytest.fixture(scope="module")
def run(store: str) -> Run:
    return RunRecords(store).newest()


@pytest.fixture(scope="module")
def page(result: RunResult) -> Any:
    assert result.report is not None
    return parsed(Path(result.report).read_bytes())


def asked(store: str, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in gristmill.query(store, sql).to_pylist()]


def measured(run: Run) -> Spreads:
    funnel = Funnel.from_json(run.record["result"]["funnel"])
    columns = [cut.column for cut in cuts_of(run.record["recipe"], funnel)]
    return spreads(Standing(run, run.shards()), funnel, columns, LocalEngine(2))


def test_a_run_leaves_its_report_beside_its_record_and_says_where(tmp_path: Path) -> None:
    recipe = write_corpus(tmp_path)
    done = CliRunner().invoke(app, ["run", str(recipe)], env={"COLUMNS": "300"})
    reports = list((tmp_path / "store").rglob("report.html"))
    assert [path.parent for path in reports] == list((tmp_path / "store" / "runs").iterdir())
    assert f"report   {reports[0]}" in done.stdout
    before = reports[0].read_bytes()
    again = gristmill.run(recipe)
    assert again.cached
    assert again.report is None
    assert list((tmp_path / "store").rglob("report.html")) == reports
    assert reports[0].read_bytes() == before
    assert CliRunner().invoke(app, ["verify", "--store", str(tmp_path / "store")]).exit_code == 0


def test_the_funnel_is_that_of_the_decisions(store: str, page: Any) -> None:
    counts = dict(asked(store, "SELECT rule, count(*) FROM decisions GROUP BY rule"))
    rows = {row[0]: row for row in cells(page.xpath("//table[contains(@class, 'funnel')]")[0])}
    assert number(rows["input"][4]) == sum(counts.values()) == 320
    assert number(rows["kept"][4]) == counts[None]
    left = 320
    for rule in RULES:
        assert number(rows[rule][2]) == counts[rule]
        left -= counts[rule]
        assert number(rows[rule][4]) == left
    assert rows["quarantine"][2] == "2"


@pytest.mark.parametrize("column", ["source", "lang"])
def test_losses_are_those_of_the_decisions_in_documents_and_tokens(store: str, page: Any, column: str) -> None:
    sql = f"""
        SELECT {column}, rule, count(*), sum(tokens)::BIGINT FROM decisions JOIN documents USING (address) GROUP BY ALL
    """
    dropped = {(value, rule): (n, tokens) for value, rule, n, tokens in asked(store, sql)}
    shares, exact = (cells(table) for table in page.xpath(f"//h3[text()='By {column}']/following::table")[:2])
    values = {value for value, _ in dropped}
    assert {row[0] for row in shares[1:]} == {*values, "all"}
    for row in shares[1:-1]:
        left = number(row[1])
        assert left == sum(n for (value, _), (n, _) in dropped.items() if value == row[0])
        for rule, share in zip(RULES, row[2:], strict=False):
            n = dropped.get((row[0], rule), (0, 0))[0]
            assert share == f"{100 * n / left:.1f}%"
            left -= n
    name = ""
    for row in exact[1:]:
        name, (rule, seen, n, seen_tokens, tokens, _) = (row[0], row[1:]) if len(row) == 7 else (name, row)
        if name != "all":
            assert (number(n), number(tokens)) == dropped.get((name, rule), (0, 0))
            assert number(seen) >= number(n)
            assert number(seen_tokens) >= number(tokens)


def test_bars_are_counts_of_documents_between_their_edges(store: str, run: Run, page: Any) -> None:
    found = measured(run)
    assert {"bytes", "tokens", "score", "gopher_words"} < {*found.measures}
    documents = gristmill.query(store, "SELECT * EXCLUDE (id) FROM documents JOIN decisions USING (address)")
    kept = np.asarray(documents["kept"])
    for name, spread in found.measures.items():
        bars = bars_of(spread, [40] if name == "gopher_words" else [])
        assert bars is not None
        values = np.asarray(documents[name])
        edges = [-np.inf, *bars.edges[1:-1], np.inf]
        assert bars.before.tolist() == np.histogram(values, edges)[0].tolist(), name
        assert bars.after.tolist() == np.histogram(values[kept], edges)[0].tolist(), name
        table = page.xpath(f"//article[h3='{name}']//table")[-1]
        shown = [tuple(map(number, row[1:])) for row in cells(table)[1 : 1 + int((bars.before > 0).sum())]]
        assert shown == [(b, a) for b, a in zip(bars.before.tolist(), bars.after.tolist(), strict=True) if b]


def test_spreads_of_groups_are_those_of_their_documents(store: str, run: Run) -> None:
    found = measured(run)
    sql = """
        SELECT source, lang, count(*), count(*) FILTER (kept) FROM documents JOIN decisions USING (address) GROUP BY
        GROUPING SETS (source, lang)
    """
    for source, lang, before, after in asked(store, sql):
        spread = found.groups["lang", lang] if source is None else found.groups["source", source]
        words = spread["gopher_words"]
        assert (words.before.values, words.after.values) == (before, after)


def test_limits_are_those_of_the_recipe_and_a_quantile_is_what_it_came_to(store: str, run: Run) -> None:
    cuts = cuts_of(run.record["recipe"], Funnel.from_json(run.record["result"]["funnel"]))
    assert [(cut.rule, cut.column, cut.sign, cut.drops_below) for cut in cuts] == [
        ("short", "gopher_words", "<", True),
        ("short", "score", "<", True),
        ("drop", "gopher_mean_word_length", "<", True),
    ]
    assert [cut.limit for cut in cuts[:2]] == [40, 1]
    limit = asked(store, "SELECT DISTINCT \"limit\" FROM decisions WHERE rule = 'drop'")
    assert [(cuts[2].limit,)] == limit


def test_correlations_are_spearmans(store: str, run: Run) -> None:
    names, values = correlations(measured(run).sample)
    assert np.allclose(values, values.T)
    for one, other in (("bytes", "gopher_words"), ("score", "tokens"), ("gopher_stop_words", "gopher_top_2gram")):
        ranks = ", ".join(
            f"rank() OVER (ORDER BY {name}) + (count(*) OVER (PARTITION BY {name}) - 1) / 2 AS r_{name}"
            for name in (one, other)
        )
        ((expected,),) = asked(store, f"SELECT corr(r_{one}, r_{other}) FROM (SELECT {ranks} FROM documents)")
        assert values[names.index(one), names.index(other)] == pytest.approx(expected)


def test_missing_values_have_the_mean_rank_and_what_does_not_vary_is_left_out() -> None:
    nothing = [None] * 4
    sample = pa.table(
        {"a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, None, None, 2.0], "same": [3.0] * 4, "none": pa.array(nothing, "f8")}
    )
    names, values = correlations(sample)
    assert names == ["a", "b"]
    expected = np.corrcoef([0, 1, 2, 3], [0, 0.5, 0.5, 1])[0, 1]
    assert values[0, 1] == pytest.approx(expected)
    assert correlations(None)[0] == []


def test_of_many_documents_some_shards_of_each_source_are_looked_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreads_of, "MOST_SHARDS", 2)
    found = measured(run)
    assert (found.documents, found.of) == (160, 320)
    assert {name for column, name in found.groups if column == "source"} == {"a", "b"}
    assert b"Of 160 of 320 documents" in run_report(run, LocalEngine(2))


def test_the_quarantine_is_counted_by_reason_and_shown(store: str, page: Any) -> None:
    counted = asked(store, "SELECT source, reason, count(*) FROM quarantine GROUP BY ALL ORDER BY ALL")
    section = page.xpath("//section[@aria-labelledby='quarantine']")[0]
    by_reason, some = (cells(table)[1:] for table in section.xpath(".//table"))
    assert sorted((source, reason, number(n)) for source, reason, n in by_reason) == counted
    assert len(some) == 2
    assert all(row[0].endswith("a-0.jsonl") and row[1] in ("81", "82") for row in some)


def test_a_page_is_small_whole_and_asks_for_nothing(page: Any, result: RunResult) -> None:
    assert Path(str(result.report)).stat().st_size < 1_000_000
    assert not page.xpath("//script | //link | //img | //iframe | //object | //embed | //form | //@style | //@src")
    links = page.xpath("//@href")
    targets = page.xpath("//@id")
    assert links
    assert all(link.startswith("#") and link[1:] in targets for link in links)
    assert len(targets) == len({*targets})
    charts = page.xpath("//*[local-name()='svg']")
    assert len(charts) > 40
    for chart in charts:
        assert chart.get("role") == "img"
        assert len(chart.get("aria-label")) > 5
        assert chart.xpath(".//*[local-name()='rect' or local-name()='path']")
    for chart in page.xpath("//*[local-name()='svg'][@class='chart']"):
        assert chart.xpath("ancestor::article//table"), "each chart has a table"


def test_the_same_run_gives_the_same_bytes_whoever_makes_its_page(run: Run, result: RunResult) -> None:
    first = Path(str(result.report)).read_bytes()
    for workers in (1, 3):
        assert run_report(run, LocalEngine(workers)) == first


@pytest.mark.slow
@pytest.mark.ray
def test_threads_and_ray_make_the_same_page(run: Run, result: RunResult) -> None:
    assert run_report(run, open_engine("ray", 2)) == Path(str(result.report)).read_bytes()


def fail(row: Any) -> Any:
    raise FatalError("no room\nat all")


def test_a_report_that_cannot_be_made_fails_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = execute(write_corpus(tmp_path), finish=leave_report, faults={"_of_shard": lambda function: fail})
    assert done.report is None
    assert done.funnel.kept == 120
    assert (
        f"! the report could not be made: no room at all. `gristmill report {done.run}` tries again"
        in capsys.readouterr().err
    )
    assert Path(gristmill.report(store=str(tmp_path / "store"), examples=0)).is_file()


def test_a_run_is_found_by_its_name_number_dataset_and_recipe(store: str, run: Run, tmp_path: Path) -> None:
    for wanted in (None, run.name, "1", "web"):
        assert find_run(RunRecords(store), wanted).name == run.name
    out = tmp_path / "out.html"
    recipe = Path(store).parent / "recipe.yaml"
    assert gristmill.report(recipe, out=out, examples=0) == str(out)
    with pytest.raises(RecipeError, match="no run and no dataset wob; did you mean web"):
        find_run(RunRecords(store), "wob")
    with pytest.raises(RecipeError, match="no run and no dataset 2;"):
        find_run(RunRecords(store), "2")
    (Path(store) / "runs" / "00000002-00000000").mkdir()
    try:
        with pytest.raises(RecipeError, match="00000002-00000000 was never finished"):
            find_run(RunRecords(store), "2")
    finally:
        (Path(store) / "runs" / "00000002-00000000").rmdir()

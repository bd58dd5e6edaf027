"""`gristmill init`: a recipe that runs unchanged on folders as newcomers have them, and asks nothing of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gristmill import load_recipe, open_dataset, plan
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.start.place import find_place
from gristmill.pipelines.start.templates import TEMPLATES
from tests.pipelines.start.folders import MADE, package_texts, shared_folder
from tests.support import make_documents, write_jsonl

#: Kinds of folders that are tried whenever tests run.
QUICK = ("jsonl.gz", "parquet", "warc")

pytestmark = pytest.mark.xdist_group("init")  # kernels are loaded once


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return package_texts(tmp_path_factory.mktemp("packages"))


def gristmill(*arguments: str | Path, code: int = 0, input: str | None = None) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], input=input)
    assert done.exit_code == code, done.output
    return done.output


def values(*arguments: str | Path) -> dict[str, Any]:
    """The JSON that a command prints."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def without_warnings(printed: str) -> bool:
    """Whether a summary asks nothing: that a README was passed over, or that a page has no text, is no question."""
    plain = ("passed over as no data", "finds no text in it")
    return not [line for line in printed.splitlines() if line.startswith("!") and not any(p in line for p in plain)]


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in MADE]
)
def test_the_recipe_runs_as_it_is_written(
    kind: str, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = MADE[kind](tmp_path / "texts", texts)
    monkeypatch.chdir(tmp_path)
    printed = gristmill("init", place, "--yes")
    assert "next: gristmill run recipe.yaml" in printed
    recipe = (tmp_path / "recipe.yaml").read_text()
    ran = gristmill("run", "recipe.yaml", "--quiet")
    assert without_warnings(ran), ran
    assert recipe == (tmp_path / "recipe.yaml").read_text()
    kept = open_dataset(tmp_path / "store" / "datasets" / "texts").arrow().to_table()
    assert kept.num_rows > 20
    assert all(text.strip() for text in kept["text"].to_pylist())


def test_what_it_finds_is_told_before_it_is_written(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MADE["parquet"](tmp_path / "texts", texts)
    monkeypatch.chdir(tmp_path)
    made = values("init", "texts", "--want", "dedup", "--want", "nightly", "--out", "a/b.yaml")
    (source,) = made["look"]["sources"]
    taken = {field["field"]: field["taken_for"] for field in source["fields"]}
    assert taken == {"url": "url", "body": "text", "status": "metadata status", "lang": "metadata lang"}
    assert source["paths"] == [str(tmp_path / "texts" / "pages-*.parquet")]
    assert any("ranks.parquet" in remark for remark in made["look"]["remarks"])
    recipe = load_recipe("a/b.yaml").recipe
    assert recipe.sources[0].path == "../texts/pages-*.parquet"
    assert (recipe.sources[0].text, recipe.sources[0].url) == ("body", "url")
    assert recipe.refresh is not None
    sample = made["sample"]
    assert sample["languages"] == {"en": 1.0}
    looked = [text.encode() for text in texts[: made["look"]["documents_looked_at"]]]
    assert sample["bytes"]["0.5"] == sorted(map(len, looked))[(len(looked) + 1) // 2 - 1]
    assert sample["copies"] == pytest.approx(1 - len({*looked}) / len(looked))
    assert made["next"] == "gristmill refresh a/b.yaml"
    assert values("refresh", "a/b.yaml")["published"]


def test_languages_of_a_field_are_those_that_rules_judge(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"text": text, "lang": "en" if n % 4 else "de"} for n, text in enumerate(texts[:400])]
    write_jsonl(tmp_path / "texts" / "mixed.jsonl", documents)
    monkeypatch.chdir(tmp_path)
    gristmill("init", "texts", "--want", "quality", "--yes")
    recipe = load_recipe("recipe.yaml").recipe
    assert recipe.decide[0].languages == ("en",)  # type: ignore[attr-defined]
    assert recipe.write.columns == ("id", "text", "source", "lang")
    assert plan("recipe.yaml")["sources"][0]["files"] == 1


def test_enter_and_enter_again(texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MADE["csv"](tmp_path / "data", texts[:200])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gristmill.pipelines.cli.start.is_a_terminal", lambda: True)
    printed = gristmill("init", input="\n\n\n")
    assert "[data]" in printed
    assert "[dedup, quality]" in printed
    assert plan("recipe.yaml")["sources"][0]["files"] == 1
    refused = gristmill("init", "data", code=2)
    assert "recipe.yaml is there already and was not touched" in refused
    before = (tmp_path / "recipe.yaml").read_text()
    gristmill("init", "data", "--force", input="dedup\n")
    after = (tmp_path / "recipe.yaml").read_text()
    assert "gopher_rules" in before
    assert "gopher_rules" not in after


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name your texts: gristmill init PLACE"),
        (["nowhere"], "nothing matches"),
        (["images"], "holds no file that can be read (2 .png)"),
        (["saved"], "load_from_disk(FOLDER).to_parquet"),
        (["numbers.jsonl"], "no field of the records in numbers.jsonl looks like a text: there is n, m. Name it"),
        (["numbers.jsonl", "--text", "k"], "no record looked at in numbers.jsonl has a field k; there is m, n"),
        (["texts.jsonl", "--want", "qualty"], "did you mean quality?"),
        (["--template", "finweb"], "there is no template finweb; did you mean fineweb?"),
        (["--template", "dedup", "--want", "dedup"], "leave --want or --template out"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("images/a.png", "images/b.png", "saved/data-00000-of-00001.arrow"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"\x89\0\xff")
    write_jsonl(tmp_path / "numbers.jsonl", [{"n": n, "m": n / 2} for n in range(10)])
    write_jsonl(tmp_path / "texts.jsonl", make_documents(10))
    assert told in " ".join(gristmill("init", *arguments, code=2).split())
    assert not (tmp_path / "recipe.yaml").exists()


def test_the_store_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe in the folder of the texts does not read what runs write beside it."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "more" / "a.jsonl", make_documents(40))
    write_jsonl(tmp_path / "b.jsonl", make_documents(40, seed=1))
    gristmill("init", ".", "--want", "dedup", "--yes")
    first = values("run", "recipe.yaml")
    assert first["funnel"]["records"] == 80
    second = values("run", "recipe.yaml")
    assert second["cached"]
    assert second["funnel"]["records"] == 80
    place = find_place(".", str(tmp_path))
    assert sorted(Path(file.url).name for group in place.groups for file in group.files) == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("name", ["body\nstore: /elsewhere", "a: {b}", "\x1b[31mred", "'\"#", "*[x]", "文"])
def test_names_are_quoted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name.replace("/", "-")
    write_jsonl(folder / f"{folder.name}.jsonl", [{"n": d["id"], name: d["text"]} for d in make_documents(20)])
    printed = gristmill("init", folder, "--want", "dedup")
    assert "\x1b" not in printed
    loaded = load_recipe("recipe.yaml")
    assert loaded.store == str(tmp_path / "store")
    assert loaded.recipe.sources[0].text == name
    assert plan("recipe.yaml")["sources"][0]["files"] == 1


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_recipes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("LABEL_URL", "LABEL_KEY", "LABEL_MODEL"):
        monkeypatch.delenv(variable, raising=False)
    printed = gristmill("init", "--template", name)
    loaded = load_recipe("recipe.yaml")
    assert loaded.store == str(tmp_path / "store")
    assert "configs/" not in printed
    assert "make demo" not in printed
    assert (tmp_path / "tasks" / "edu.yaml").exists() == (name == "label")
    if ".warc" not in printed and ".wet" not in printed:
        write_jsonl(tmp_path / "mine" / "a.jsonl", [{"id": d["id"], "body": d["text"]} for d in make_documents(40)])
        gristmill("init", "mine", "--template", name, "--force")
        assert load_recipe("recipe.yaml").recipe.sources[0].text == "body"
        assert plan("recipe.yaml")["sources"][0]["files"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet", "txt", "csv", "hub", "warc", "wet"])
def test_real_text(kind: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shared_folder(kind, shared_data, tmp_path / "texts")
    monkeypatch.chdir(tmp_path)
    gristmill("init", place, "--yes")
    ran = gristmill("run", "recipe.yaml", "--quiet")
    print(ran)
    assert without_warnings(ran), ran

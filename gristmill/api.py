"""The Python API: the commands as functions, which return values and print nothing unless asked to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.engine import EngineName, open_engine
from gristmill.pipelines.progress.reporter import Reporter, in_a_notebook
from gristmill.pipelines.recipe import recipe as recipes
from gristmill.pipelines.recipe.recipe import LoadedRecipe

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.operators.label.task import Sample
    from gristmill.pipelines.html.run_report import RunPage
    from gristmill.pipelines.label.result import LabelPlan, LabelResult
    from gristmill.pipelines.label.task import LoadedTask
    from gristmill.pipelines.readers.mix_plan import MixPlan
    from gristmill.pipelines.readers.mixture import Mixture
    from gristmill.pipelines.readers.open_dataset import OpenDataset
    from gristmill.pipelines.readers.packed_strata import Where
    from gristmill.pipelines.readers.packed_tokens import PackedTokens
    from gristmill.pipelines.report.sweep import Sweep
    from gristmill.pipelines.report.thresholds import GroupQuantiles
    from gristmill.pipelines.report.what_if import WhatIf
    from gristmill.pipelines.sources.spec import Source
    from gristmill.pipelines.stages.context import Context, RunResult
    from gristmill.pipelines.train.feed import ClassifierFeed
    from gristmill.pipelines.train.loop import LoopResult
    from gristmill.pipelines.train.split import Examples
    from gristmill.pipelines.versions.refresh import NightResult

#: A recipe, or the path or URL of its YAML file.
Recipe = LoadedRecipe | str | os.PathLike[str]


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read and check a recipe; `overrides` are `key=value` pairs such as `decide.select.documents=500`.

    Raises RecipeError with every mistake found, one a line.
    """
    return recipes.load_recipe(os.fspath(path), overrides)


def plan(recipe: Recipe) -> dict[str, Any]:
    """Return what a run would do, as `gristmill plan --json` prints it. Nothing is executed.

    Raises RecipeError with every mistake found, StoreDamaged where the store is not as it was written.
    """
    from gristmill.pipelines.planning.state import plan_run
    from gristmill.pipelines.report.plan import to_json

    return to_json(plan_run(_loaded(recipe), asks=False))


def run(
    recipe: Recipe,
    *,
    engine: EngineName = "auto",
    workers: int | None = None,
    refit: bool = False,
    reporter: Reporter | None = None,
    confirm: Callable[[LabelPlan], bool] = lambda plan: True,
) -> RunResult:
    """Run a recipe: measure what is new, decide, write a dataset version.

    Args:
        recipe: A loaded recipe, or the path or URL of its YAML file.
        engine: `local` runs threads, `ray` Ray tasks; `auto` takes Ray inside a Ray job or with RAY_ADDRESS set.
        workers: Number of shards that are worked on at the same time; by default the number of cores.
        refit: If true, measures such as importance are fitted again, on the corpus as it is now.
        reporter: Shows progress; by default it is shown in notebooks alone.
        confirm: Gets the plan of a labelling task before it asks, and returns whether it may; by default it may.

    Raises:
        RecipeError: The recipe is wrong, or a file that it names; nothing was started.
        GristmillError: The run cannot go on; what was finished stays in the store, and the next call goes on from it.
    """
    from gristmill.pipelines.stages.run import run as run_stages

    opened = partial(open_engine, engine, workers)
    return run_stages(_loaded(recipe), opened, _reporter(reporter), refit, confirm, finish=_leave_report)


def refresh(
    recipe: Recipe,
    night: date | None = None,
    since: date | None = None,
    *,
    engine: EngineName = "auto",
    workers: int | None = None,
    reporter: Reporter | None = None,
    confirm: Callable[[LabelPlan], bool] = lambda plan: True,
) -> NightResult:
    """Do one night of a recipe: take in what is new, write a version, publish it if the recipe's guards let it pass.

    Args:
        recipe: See `run`; its section `refresh` says what a night does.
        night: The date of the night, by default today's (UTC): the last whose files are read, where paths have dates.
        since: The first such night, by default that of the recipe, else the night itself.
        engine: See `run`.
        workers: See `run`.
        reporter: See `run`.
        confirm: See `run`.

    Raises:
        RecipeError: The recipe is wrong, or a file that it names; nothing was started.
        GristmillError: The night cannot go on, or a hook failed; the next call goes on from what was finished.
    """
    from gristmill.pipelines.versions.refresh import refresh as do_night

    night = night or datetime.now(UTC).date()
    loaded = _loaded(recipe).of_nights(night, since)
    opened = partial(open_engine, engine, workers)
    told = _reporter(reporter)
    kept: dict[str, RunPage] = {}
    done = do_night(loaded, opened, told, night, confirm, partial(_leave_report, kept=kept))
    if kept:
        from gristmill.pipelines.html.reports import leave_night

        leave_night(done, kept, loaded.store, told)
    return done


def label(
    task: str | os.PathLike[str],
    store: str | os.PathLike[str] = "./store",
    *,
    dataset: str | None = None,
    paths: Sequence[str] = (),
    text: str = "text",
    id: str = "id",
    engine: EngineName = "auto",
    workers: int | None = None,
    reporter: Reporter | None = None,
    confirm: Callable[[LabelPlan], bool] = lambda plan: True,
) -> LabelResult:
    """Put a labelling task to documents; questions that are already answered are not asked again.

    Args:
        task: The path or URL of the task's YAML file.
        store: The store's folder or URL: answers are kept in it.
        dataset: The dataset of the store to label; or
        paths: globs of files to label, of any format, with
        text: the field that holds the text, and
        id: the field that holds the id.
        engine: See `run`.
        workers: See `run`.
        reporter: See `run`.
        confirm: See `run`.

    Raises:
        GristmillError: The task is wrong or cannot go on; answers received so far stay in the store.
    """
    from gristmill.pipelines.label.run import label_source
    from gristmill.pipelines.label.task import load_task
    from gristmill.pipelines.storage.locations import absolute

    if (dataset is None) == (not paths):
        raise RecipeError("name the documents to label: --dataset NAME of the store, or --input GLOB")
    loaded = load_task(os.fspath(task))
    place = absolute(os.fspath(store), ".")
    source = _source(place, dataset, paths, text, id, loaded.task.sample)
    with closing(open_engine(engine, workers)) as opened:
        result = label_source(loaded, place, source, opened, _reporter(reporter), confirm)
    if not result.declined:
        from gristmill.pipelines.html.task_reports import leave_task_report

        result.report = leave_task_report(loaded, place, _reporter(reporter))
    return result


def distil(
    out: str,
    task: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] = "./store",
    *,
    table: str | None = None,
    test: str | None = None,
    text: str = "text",
    label: str = "label",
    probability: str | None = None,
    by: Sequence[str] = (),
    scale: bool = False,
    gold: str | None = None,
    method: str = "mean",
    inputs: Sequence[str] = (),
    student: str = "linear",
    calibration: str | None = None,
    calibrate_by: str | None = None,
    balance: bool = False,
    correct: str = "auto",
    unlabelled: str | None = None,
    prior: float | None = None,
    ngram: int = 2,
    buckets: int = 1 << 18,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Make a student of labels and return the report on it, which lies beside it as JSON and Markdown.

    Args:
        out: Where the student goes, for the measure `distilled`.
        task: The path or URL of a task's YAML file, whose aggregated answers teach it; or
        store: the store's folder or URL.
        table: A table of texts and labels, Parquet or any format that `labels import` reads.
        test: A table with the same fields to test with; by default a fifth of the texts is held out.
        text: The field that holds the text.
        label: The field that holds the label.
        probability: The field of the label's probability.
        by: Fields of strata, such as the source, in which figures are told.
        scale: Whether the labels of the table are numbers of a scale.
        gold: Of a task the annotator who is right; of a table the field of labels that are right, where they are known.
        method: How the answers of several annotators are aggregated; see `aggregate_labels`.
        inputs: Globs in which the texts of a task are looked for, in place of where they were labelled.
        student: linear, whose every score can be explained; or fasttext, a model that the fasttext library reads too.
        calibration: temperature or isotonic; by default isotonic with `unlabelled`, else temperature.
        calibrate_by: A field of strata (of a task `source`) that are calibrated apart where they have enough texts.
        balance: Whether all labels weigh alike, however rare: for a rare label that matters more than others.
        correct: Whether labels of a choice that other texts speak against are learnt as they probably should be: auto
            (where about 5 % or more seem wrong), always or never.
        unlabelled: The one of two labels whose texts nobody looked at, such as those of the web: some of them are of
            the other, and scores are the probability that one of them is.
        prior: The share of them that is; by default it is estimated.
        ngram: Longest word n-gram.
        buckets: Hash buckets of word n-grams.
        seed: Seed of the split.
        reporter: See `run`.

    Raises:
        RecipeError: What is asked for is wrong, or there are too few examples.
    """
    from gristmill.pipelines.html.model_reports import leave_model_report
    from gristmill.pipelines.train.distil import Options
    from gristmill.pipelines.train.distil import distil as make
    from gristmill.pipelines.train.examples import examples_of_table

    if student not in ("linear", "fasttext"):
        raise RecipeError(f"there is no student {student}; take linear or fasttext")
    if calibration not in (None, "temperature", "isotonic"):
        raise RecipeError(f"there is no calibration {calibration}; take temperature or isotonic")
    if prior is not None and (unlabelled is None or not 0 < prior < 1):
        raise RecipeError(f"prior is the share of positive texts among those that `unlabelled` names, not {prior}")
    if correct not in ("auto", "always", "never"):
        raise RecipeError(f"there is no correction {correct}; take auto, always or never")
    if not (1 <= ngram <= 8 and 2 <= buckets <= 1 << 26):
        raise RecipeError(f"ngram is from 1 to 8 and buckets from 2 to {1 << 26:,}, not {ngram} and {buckets:,}")
    examples = _examples(task, store, table, (text, label, probability, by, scale), method, gold, inputs)
    held_out = None
    if test is not None:
        held_out = examples_of_table(test, text, label, None, by, examples.kind == "scale", examples.labels)
    taught = (calibration, unlabelled, prior, correct, calibrate_by, balance, student)
    options = Options(ngram, buckets, seed, *taught)  # type: ignore[arg-type]
    report = make(examples, out, _reporter(reporter), options, held_out)
    leave_model_report(report, out, _reporter(reporter))
    return report


def loop(
    task: str | os.PathLike[str],
    out: str,
    store: str | os.PathLike[str] = "./store",
    *,
    recipe: Recipe | None = None,
    dataset: str | None = None,
    paths: Sequence[str] = (),
    text: str = "text",
    id: str = "id",
    rounds: int = 3,
    budget: int = 3000,
    sampler: str = "uncertainty",
    label: str | None = None,
    gold: str | None = None,
    method: str = "mean",
    pool: int = 100_000,
    seed: int = 0,
    engine: EngineName = "auto",
    workers: int | None = None,
    reporter: Reporter | None = None,
    confirm: Callable[[LabelPlan], bool] = lambda plan: True,
) -> LoopResult:
    """Have texts labelled, make a student, choose by it what to label next, and again.

    As many texts as the sampler chooses are drawn at random beside it, and both sides are tested with the same texts.
    What a round chose and what was answered is kept: the same call goes on where one was ended, and pays nothing twice.

    Args:
        task: The path or URL of the task's YAML file; all its annotators are asked.
        out: Where the student of all labels goes; the rounds are told in the folder `OUT.loop`.
        store: The store's folder or URL; of a recipe it is the recipe's.
        recipe: A recipe that is run first, and whose dataset is labelled; or
        dataset: the dataset of the store to label; or
        paths: globs of files to label, of any format, with
        text: the field that holds the text, and
        id: the field that holds the id.
        rounds: How often is labelled.
        budget: How many texts are labelled in all rounds together; a fifth of them is to test with.
        sampler: uncertainty, llkd, robust, neighbours or bandit, or random for that alone.
        label: The label that is looked for: its F1 is told, and the bandit's reward is to find it.
        gold: The annotator who is right.
        method: How the answers of several annotators are aggregated; see `aggregate_labels`.
        pool: How many texts are looked at to choose from, drawn at random where there are more.
        seed: Of all that is random.
        engine: See `run`.
        workers: See `run`.
        reporter: See `run`.
        confirm: See `run`; it is asked in each round that has questions.

    Raises:
        RecipeError: The task, the recipe or an option is wrong, or there are too few texts.
        GaveUp: Texts are left without an answer; the next call asks about them.
    """
    from gristmill.pipelines.html.model_reports import leave_loop_report, leave_model_report
    from gristmill.pipelines.label.run import origin_of, scan_some
    from gristmill.pipelines.label.task import load_task
    from gristmill.pipelines.storage.locations import absolute
    from gristmill.pipelines.train.loop import LoopOptions
    from gristmill.pipelines.train.loop import loop as run_loop

    if [recipe is not None, dataset is not None, bool(paths)].count(True) != 1:
        raise RecipeError(
            "name the texts to choose from: --recipe RECIPE, --dataset NAME of the store, or --input GLOB"
        )
    options = LoopOptions(rounds, budget, sampler, label, gold, method, pool, seed)
    options.check()
    loaded = load_task(os.fspath(task))
    loaded.require_folders()
    if recipe is not None:
        recipe = _loaded(recipe)
        run(recipe, engine=engine, workers=workers, reporter=reporter, confirm=confirm)
        store, dataset = recipe.store, recipe.recipe.name
    place = absolute(os.fspath(store), ".")
    source = _source(place, dataset, paths, text, id, None)
    with closing(open_engine(engine, workers)) as opened:
        documents = scan_some(source, opened, _reporter(reporter))
        origin = origin_of(source, place)
        result = run_loop(loaded, place, documents, out, options, opened, _reporter(reporter), confirm, origin)
    leave_loop_report(result.rounds, out, sampler, _reporter(reporter))
    if result.student is not None:
        leave_model_report(result.student, out, _reporter(reporter))
    return result


def audit_labels(
    task: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] = "./store",
    *,
    table: str | None = None,
    text: str = "text",
    label: str = "label",
    probability: str | None = None,
    scale: bool = False,
    gold: str | None = None,
    method: str = "mean",
    inputs: Sequence[str] = (),
    budget: int = 0,
    out: str | None = None,
    reporter: Reporter | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the texts whose labels are probably wrong, the most suspected first, and a report.

    The table has `id`, `answer`, `suggested`, `wrong` (the probability that the answer is not right), `fix` (the
    expected distance from it to the right one, 0 to 1 where labels exclude each other), `reasons` and `text`.

    Args:
        task: The path or URL of a task's YAML file, whose aggregated answers are audited; or
        store: the store's folder or URL.
        table: A table of texts and labels, Parquet or any format that `labels import` reads.
        text: The field that holds the text.
        label: The field that holds the label.
        probability: The field of the label's probability.
        scale: Whether the labels of the table are numbers of a scale.
        gold: Of a task the annotator who is right; of a table the field of labels that are right, where they are known.
        method: How the answers of several annotators are aggregated; see `aggregate_labels`.
        inputs: Globs in which the texts of a task are looked for, in place of where they were labelled.
        budget: How many texts can be asked about again: `report["budget"]` says what is expected of it.
        out: A .parquet file for the table; a page to read lies beside it (.md), and the ids to ask about again
            (.ids.txt), for the `sample` of a task.
        reporter: See `run`.

    Raises:
        RecipeError: What is asked for is wrong, or there are too few texts.
    """
    from gristmill.pipelines.train.audit import audit, check_name, write_audit

    if budget < 0:
        raise RecipeError(f"budget is a number of texts, not {budget}")
    if out is not None:
        check_name(out)
    options = (text, label, probability, (), scale)
    found = audit(_examples(task, store, table, options, method, gold, inputs), _reporter(reporter), budget)
    if out is not None:
        write_audit(found, out)
    return found.table, found.report


def classifier_feed(
    task: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] = "./store",
    *,
    table: str | None = None,
    dataset: str | None = None,
    text: str = "text",
    label: str = "label",
    probability: str | None = None,
    scale: bool = False,
    gold: str | None = None,
    method: str = "mean",
    inputs: Sequence[str] = (),
    validation: float = 0.1,
    test: float = 0.1,
    balance: bool = False,
    seed: int = 0,
    out: str | None = None,
    format: str = "parquet",
) -> ClassifierFeed:
    """Return labelled texts in train, validation and test, a text and its near copies in one of them.

    Args:
        task: The path or URL of a task's YAML file, whose aggregated answers are the labels; or
        store: the store's folder or URL.
        table: A table of texts and labels, Parquet or any format that `labels import` reads; or
        dataset: the dataset of the store whose columns they are; rows without a label are left out.
        text: The field that holds the text.
        label: The field that holds the label.
        probability: The field of the label's probability.
        scale: Whether the labels of the table or dataset are numbers of a scale.
        gold: Of a task the annotator who is right; else the field of labels that are right, where they are known.
        method: How the answers of several annotators are aggregated; see `aggregate_labels`.
        inputs: Globs in which the texts of a task are looked for, in place of where they were labelled.
        validation: The share of the clusters of near copies of each label that goes to `validation`.
        test: The share of them that goes to `test`.
        balance: Whether weights make all labels of `train` weigh alike, however rare.
        seed: Seed of the splits.
        out: A folder to write the splits to, with a report beside them (feed.json).
        format: parquet, for Hugging Face and others, or fasttext.

    Raises:
        RecipeError: What is asked for is wrong, or there are no labels.
    """
    from gristmill.pipelines.train import feed

    if [task is not None, table is not None, dataset is not None].count(True) != 1:
        raise RecipeError(
            "name the labels: a TASK, whose answers are in the store, --table FILE, or --dataset NAME of the store"
        )
    feed.check_format(format)
    examples = _examples(task, store, table, (text, label, probability, (), scale), method, gold, inputs, dataset)
    name = str(task or table or dataset)
    made = feed.classifier_feed(examples, name, validation, test, seed, balance)
    if out is not None:
        made.write(out, format)
    return made


def _examples(
    task: str | os.PathLike[str] | None,
    store: str | os.PathLike[str],
    table: str | None,
    of_table: tuple[str, str, str | None, Sequence[str], bool],
    method: str,
    gold: str | None,
    inputs: Sequence[str],
    dataset: str | None = None,
) -> Examples:
    """Return the examples of a task, of a table, or of a dataset of the store."""
    from gristmill.pipelines.label.task import load_task
    from gristmill.pipelines.storage import files
    from gristmill.pipelines.storage.locations import absolute
    from gristmill.pipelines.store.datasets import FOLDER
    from gristmill.pipelines.train.examples import examples_of_dataset, examples_of_table, examples_of_task

    if dataset is None and (task is None) == (table is None):
        raise RecipeError("name what to learn from: a TASK, whose answers are in the store, or --table FILE")
    if dataset is not None:
        name, label, probability, _, scale = of_table
        url = files.join(os.fspath(store), FOLDER, dataset)
        return examples_of_dataset(url, name, label, probability, scale, gold)
    if table is not None:
        return examples_of_table(table, *of_table, gold=gold)
    loaded = load_task(os.fspath(str(task)), asks=False)
    return examples_of_task(loaded, absolute(os.fspath(store), "."), method, gold, inputs)


def aggregate_labels(
    task: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] = "./store",
    *,
    table: str | None = None,
    fields: Mapping[str, str | None] | None = None,
    scale: bool = False,
    pairs: str | None = None,
    method: str = "mean",
    out: str | None = None,
) -> tuple[pa.Table, dict[str, Any]]:
    """Return one soft label for each item that several annotators labelled, and a report on them.

    Args:
        task: The path or URL of a task's YAML file, whose answers are in the store (of pairs: texts get scores); or
        store: the store's folder or URL.
        table: A table of votes, Parquet or any format that `labels import` reads, in place of a task.
        fields: Its fields by what they are: item, annotator, label, gold, time, stratum. Of a task `gold` is the
            annotator who is right, and any `stratum` tells agreement by source.
        scale: Whether the labels of the table are numbers of a scale.
        pairs: `LEFT,RIGHT,WINNER`, the fields of a table of comparisons: items get scores.
        method: mean, majority, weighted, one_coin, dawid_skene, mace, glad or moments.
        out: A .parquet file to write the labels to.

    Raises:
        RecipeError: The task, the table or a name is wrong.
    """
    from gristmill.pipelines.label import aggregate as aggregation
    from gristmill.pipelines.label.task import load_task
    from gristmill.pipelines.label.votes import Fields, votes_of_table, votes_of_task
    from gristmill.pipelines.storage.locations import absolute

    if (task is None) == (table is None):
        raise RecipeError("name what to aggregate: a TASK, whose answers are in the store, or --table FILE")
    named = {name: value for name, value in (fields or {}).items() if value is not None}
    if pairs is not None:
        if table is None or pairs.count(",") != 2:
            raise RecipeError("--pairs takes the fields of a --table: LEFT,RIGHT,WINNER")
        result = aggregation.aggregate_comparisons(table, *(name.strip() for name in pairs.split(",")))
    elif table is not None:
        result = aggregation.aggregate(votes_of_table(table, Fields(**named), "scale" if scale else "choice"), method)
    else:
        place = absolute(os.fspath(store), ".")
        loaded = load_task(os.fspath(str(task)), asks=False)
        if loaded.task.pairs:
            result = aggregation.aggregate_pairs(loaded, place)
        else:
            votes = votes_of_task(loaded, place, named.get("gold"), "stratum" in named)
            result = aggregation.aggregate(votes, method)
    if out is not None:
        aggregation.write_labels(result[0], out)
    return result


def explain(
    store: str | os.PathLike[str],
    id: str,
    *,
    score: str | None = None,
    student: str | None = None,
    label: str | None = None,
    versions: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return the measures and decisions in a store of the documents with an id, a content id or an address.

    Decisions are those of the versions that readers take, or of `versions`: names, numbers or tags by dataset. `tell`
    gets them as a line.

    With `score`, a column that a student measured, the first fate of each has `student`: why the text has its score, by
    the words of the text and by the examples that taught the student. `student`, the path of a model that `distil`
    made, asks about any other; `label` about another label than that of the column, or than the most probable.

    Raises RecipeError where there is no such document, column, student or label, or `score` and `student` are both
    given.
    """
    from gristmill.pipelines.report import explain as explanation

    if score is not None and student is not None:
        raise RecipeError("a score is a column's or a student's: leave one of `score` and `student` out")
    return explanation.explain(os.fspath(store), id, student, label, score, versions, tell)


def query(
    store: str | os.PathLike[str],
    sql: str,
    unsafe: bool = False,
    *,
    versions: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> pa.Table:
    """Return the result of DuckDB SQL over a store: its views are documents, decisions, clusters, losses, ...

    They are of the versions that readers take, or of `versions`: names, numbers or tags by dataset. `tell` gets those
    that the query speaks of as a line.

    Raises RecipeError where the query is wrong or, unless `unsafe`, does more than read.
    """
    from gristmill.pipelines.report import query as queries

    return queries.query(os.fspath(store), sql, unsafe, versions, tell)


def report(
    about: Recipe | None = None,
    store: str | os.PathLike[str] = "./store",
    *,
    examples: int = 3,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> str:
    """Make the report of a run, a labelling task or a model, one HTML page; return its URL.

    That of a run has examples of texts, and the versions before it.

    Args:
        about: The name or number of a run; the name of a dataset (of the version that readers take); a recipe or the
            path of its YAML file (of its dataset, in its store); the path of a task's YAML file; or that of a model
            that `distil`, `loop` or `train` made. By default it is the newest run of the store.
        store: The store's folder or URL.
        examples: Documents of each kind that are shown for each rule or answer.
        out: Where it is written; by default beside the run, in the task's folder of the store, or beside the model.
        workers: Number of shards that are looked at at the same time; by default the number of cores.
        reporter: See `run`.

    Raises:
        RecipeError: There is no such run, or the store has no labels of the task.
        StoreLocked: Another run holds the store; `out` writes nothing into it.
        GristmillError: A file of the store is not what was written.
    """
    from gristmill.pipelines.storage.locations import absolute

    place, wanted = absolute(os.fspath(store), "."), about
    to = None if out is None else os.fspath(out)
    if about is not None and (isinstance(about, LoadedRecipe) or os.fspath(about).endswith((".yaml", ".yml"))):
        if not isinstance(about, LoadedRecipe) and (task := _task_of(os.fspath(about))) is not None:
            from gristmill.pipelines.html.task_reports import make_task_report

            return make_task_report(task, place, examples, to)
        loaded = _loaded(about)
        place, wanted = loaded.store, loaded.recipe.name
    name = None if wanted is None else os.fspath(wanted)  # type: ignore[arg-type]
    if name is not None and name.endswith(".bin"):
        from gristmill.pipelines.html.model_reports import make_model_report

        return make_model_report(name, to)
    from gristmill.pipelines.html.reports import make_report

    with closing(open_engine("local", workers)) as engine:
        return make_report(place, name, examples, engine, _reporter(reporter), to)


def thresholds(
    recipe: Recipe, columns: Sequence[str], quantiles: Sequence[float], *, by: str = "lang", least: int = 1000
) -> GroupQuantiles:
    """Return quantiles of columns that a run of a recipe measured, among the documents with each value of `by`.

    Groups with fewer than `least` documents are left out and named. Its `to_yaml()` is a file for the rule
    `thresholds`. Raises RecipeError where the columns are not measured or are of another kind.
    """
    from gristmill.pipelines.report.thresholds import group_quantiles

    return group_quantiles(_loaded(recipe), columns, quantiles, by, least)


def what_if(
    recipe: Recipe,
    changes: Sequence[str],
    *,
    examples: int = 3,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> WhatIf:
    """Return what a recipe keeps, and what it would keep with some changes, from what earlier runs measured.

    The result has the funnels `before` and `after`, as runs would report them, and `moves`: how many documents each
    rule drops now and which rule would drop them then. Nothing is measured and nothing in the store is written. With an
    index the documents of all nights are decided as one run.

    Args:
        recipe: A loaded recipe, or the path or URL of its YAML file.
        changes: `key=value` pairs, as `--set` takes them: `decide.low_quality.when=quality < 0.4`.
        examples: How many documents that would come are named, and how many that would go, with their texts.
        workers: See `run`.
        reporter: See `run`.

    Raises:
        RecipeError: The recipe or a change is wrong, or needs measures that no run has made.
    """
    from gristmill.pipelines.report.what_if import what_if as ask

    with closing(open_engine("local", workers)) as engine:
        return ask(_loaded(recipe), changes, examples, engine, _reporter(reporter))


def sweep(
    recipe: Recipe,
    column: str,
    low: float,
    high: float,
    *,
    steps: int = 17,
    rule: str | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> Sweep:
    """Return how many documents and tokens a recipe keeps as the limit on a column moves from `low` to `high`.

    It is decided from what earlier runs measured, as by `what_if` with each limit; `points` has them with their counts,
    in all and by source.

    Args:
        recipe: A loaded recipe, or the path or URL of its YAML file.
        column: The column that a rule compares with a number or a quantile; `gopher_words <` where it has two limits.
        low: The lowest limit.
        high: The highest.
        steps: How many limits there are, evenly spread; whole numbers for a column of whole numbers.
        rule: The rule, where several compare the column; or a condition that stands after all rules: `quality < {}`.
        workers: See `run`.
        reporter: See `run`.

    Raises:
        RecipeError: No rule has such a limit, several have, or nothing is measured.
    """
    from gristmill.pipelines.report.sweep import sweep as ask

    with closing(open_engine("local", workers)) as engine:
        return ask(_loaded(recipe), column, (low, high), steps, rule, engine, _reporter(reporter))


def open_dataset(url: str | os.PathLike[str], version: str | None = None, *, only_new: bool = False) -> OpenDataset:
    """Open a dataset for reading: the version that readers take, or that of a name, number or tag.

    `url` is the dataset's folder, such as `store/datasets/web`. Of a dataset with an index that is the documents of all
    nights; with `only_new` those that the version added. What is returned has `paths`, `manifest`, `schema` and `rows`,
    and gives the documents as `arrow()`, `pandas()`, `polars()`, `duckdb()`, `huggingface()`, `ray()` or `torch()`.

    Raises RecipeError where there is no such dataset or version, StoreDamaged where its manifest is not what was
    written.
    """
    from gristmill.pipelines.readers.open_dataset import OpenDataset

    return OpenDataset(os.fspath(url), version, only_new)


def open_packed(
    url: str | os.PathLike[str], version: str | None = None, *, window: int = 16, where: Where | None = None
) -> PackedTokens:
    """Open the packed tokens of a dataset for training: of the version that readers take, or of the one named.

    `url` is the dataset's folder, such as `store/datasets/web`. What is returned has `len()`, `sequence(number)` and
    `feed(seed=0, rank=0, world=1, epochs=1, state=None)`, whose sequences or `batches(size)` are those of one rank.
    `window` shards are read mixed with each other at a time. With `where={"source": "web"}` only the strata with these
    values, of tokens that are packed by them; a list stands for several values.

    Raises RecipeError where there is no such dataset, version or stratum, or its tokens are not packed, StoreDamaged
    where its manifest is not what was written.
    """
    from gristmill.pipelines.readers.packed_tokens import PackedTokens

    return PackedTokens(os.fspath(url), version, window, where)


def mix(
    mixture: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> MixPlan:
    """Write the plan of a mixture of packed tokens and return it: how many sequences of which datasets, in which order.

    The versions that it names are tagged, so that `gristmill datasets gc` leaves them, until `release_mixture`; its
    `remarks` name those of stores that could not be written to.

    Args:
        mixture: The path or URL of its YAML file; see docs/mixtures.md.
        out: The path or URL of the plan, by default beside the YAML file: `mix.json` beside `mix.yaml`.
        say: Called with a message where it takes long to find out whether another run holds a store.

    Raises:
        RecipeError: The file is wrong, datasets do not go together, or have too few tokens.
        StoreDamaged: A dataset is not what was written.
    """
    from gristmill.pipelines.readers.mix_plan import plan_mixture
    from gristmill.pipelines.versions.plans import hold

    plan = plan_mixture(os.fspath(mixture), None if out is None else os.fspath(out))
    plan = hold(plan, say)  # first: no plan names a version that may go
    plan.write()
    return plan


def release_mixture(
    mixture: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[tuple[str, str]]:
    """Hold the versions that plans of a mixture named no longer; return them, each after the URL of its dataset.

    Takes what `mix` takes. Raises RecipeError where the file is wrong, StoreLocked where a run holds a store.
    """
    from gristmill.pipelines.versions.plans import release

    return release(os.fspath(mixture), None if out is None else os.fspath(out), say)


def open_mixture(plan: str | os.PathLike[str]) -> Mixture:
    """Open a mixture of packed tokens for training, by the plan that `mix` wrote.

    What is returned has `len()`, `parts` and `feed(rank=0, world=1, state=None)`, whose sequences or `batches(size)`
    are those of one rank, in the order that the plan's seed decides.

    Raises RecipeError where there is no such plan, or a dataset is not the one that was planned, StoreDamaged where the
    plan or a dataset is not what was written.
    """
    from gristmill.pipelines.readers.mixture import Mixture

    return Mixture(os.fspath(plan))


def _source(store: str, dataset: str | None, paths: Sequence[str], text: str, id: str, sample: Sample | None) -> Source:
    """Return the documents of a dataset, or of globs, with the fields that a sample needs."""
    from gristmill.pipelines.label.documents import source_of
    from gristmill.pipelines.storage import files
    from gristmill.pipelines.store.datasets import FOLDER

    if dataset is None:
        return source_of(list(paths), "input", text, id, sample)
    return source_of(files.join(store, FOLDER, dataset), dataset, text, id, sample, (columns.SOURCE,))


def _task_of(path: str) -> LoadedTask | None:
    """Return the task of a YAML file; None where it is a recipe, or nothing that is either."""
    from gristmill.pipelines.label.task import is_task, load_task

    return load_task(path, asks=False) if is_task(path) else None


def _leave_report(context: Context, kept: dict[str, RunPage] | None = None) -> RunResult:
    """Write the report of a run; what it takes is loaded only where there is something to report."""
    from gristmill.pipelines.html.reports import leave_report

    return leave_report(context, kept)


def _loaded(recipe: Recipe) -> LoadedRecipe:
    return recipe if isinstance(recipe, LoadedRecipe) else load_recipe(recipe)


def _reporter(reporter: Reporter | None) -> Reporter:
    """Return a reporter: that of the caller, else one that shows progress in a notebook and nothing elsewhere."""
    return Reporter(quiet=not in_a_notebook()) if reporter is None else reporter

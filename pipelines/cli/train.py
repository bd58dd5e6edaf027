"""`gristmill train`, `gristmill distil` and `gristmill loop`."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.pipelines.cli.common import (
    AsJson,
    Debug,
    EngineChoice,
    Engines,
    Gold,
    IdField,
    IsScale,
    LabelField,
    LabelTable,
    Method,
    ProbabilityField,
    Progress,
    ProgressChoice,
    Quiet,
    Store,
    TextField,
    TextInputs,
    Workers,
    errors,
    out,
    print_result,
    reporting,
)
from gristmill.pipelines.cli.labels import TaskPath, Yes, confirmation

#: Of `operators/student/samplers.py`, which takes NumPy to load.
SAMPLER_NAMES = ("uncertainty", "llkd", "robust", "neighbours", "bandit", "random")
train_app = typer.Typer(help="Train the models that measures use.", no_args_is_help=True)


@train_app.command()
def quality(
    model: Annotated[str, typer.Option("--out", help="Where the model goes; its report goes next to it.")],
    positive: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Documents of good quality; may be repeated.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Documents of other quality; may be repeated.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="TASK", help="Instead of both: documents by their answers to a task.")
    ] = None,
    good: Annotated[
        list[str] | None, typer.Option(help="Labels that are good; of a scale the least number that is.")
    ] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="GLOB", help="Look for the texts of the labels here.")
    ] = None,
    store: Store = "./store",
    text: TextField = "text",
    dim: Annotated[int, typer.Option(help="Length of the vectors.")] = 32,
    word_ngrams: Annotated[int, typer.Option(help="Longest word n-gram.")] = 2,
    epochs: Annotated[int, typer.Option(help="Passes over the documents.")] = 5,
    learning_rate: Annotated[float, typer.Option(help="Step at the start; it falls to zero.")] = 0.5,
    min_count: Annotated[int, typer.Option(help="Rarer words are not learnt.")] = 3,
    buckets: Annotated[int, typer.Option(help="Hash buckets of word n-grams.")] = 500_000,
    holdout: Annotated[float, typer.Option(help="Share of documents that the report is about.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the training.")] = 0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a fastText classifier that tells positive documents from negative ones, and report how well it does."""
    with errors(debug):
        from gristmill.operators.errors import RecipeError
        from gristmill.pipelines.html.model_reports import leave_model_report, page_of
        from gristmill.pipelines.progress.reporter import Reporter
        from gristmill.pipelines.report.console.training import show_training
        from gristmill.pipelines.train.quality import train_quality

        options = {"dim": dim, "word_ngrams": word_ngrams, "epochs": epochs, "learning_rate": learning_rate}
        options |= {"min_count": min_count, "buckets": buckets, "holdout": holdout, "seed": seed}
        if (labels is None) == (not positive or not negative) or (labels and (positive or negative)):
            raise RecipeError("say what to learn from: --positive GLOB and --negative GLOB, or --labels TASK")
        if labels is None:
            report = train_quality(positive or (), negative or (), model, text=text, **options)  # type: ignore[arg-type]
        else:
            from gristmill.pipelines.label.answered_texts import Taught
            from gristmill.pipelines.label.store import open_stored
            from gristmill.pipelines.label.task import load_task
            from gristmill.pipelines.storage.locations import absolute

            task = load_task(labels, asks=False)
            taught = Taught(task, open_stored(absolute(store, "."), task.fingerprint), good or (), input_ or ())
            sides = ([taught.positive], [taught.negative])
            report = train_quality(*sides, model, read=taught.read, **options)  # type: ignore[arg-type]
        leave_model_report(report.as_json(), model, Reporter(quiet=True))
        print_result(as_json, report.as_json(), lambda: show_training(report, page_of(model), out))


def distil(
    model: Annotated[str, typer.Option("--out", help="Where the student goes; its calibration and report beside it.")],
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="The task whose answers teach it.", show_default=False)
    ] = None,
    table: LabelTable = None,
    test: Annotated[
        str | None,
        typer.Option("--test", metavar="FILE", help="A table to test with, in place of a part of the texts."),
    ] = None,
    text: TextField = "text",
    label: LabelField = "label",
    probability: ProbabilityField = None,
    by: Annotated[list[str] | None, typer.Option(help="Field of strata to tell figures in; may be repeated.")] = None,
    scale: IsScale = False,
    gold: Gold = None,
    method: Method = "mean",
    input_: TextInputs = None,
    student: Annotated[
        str, typer.Option(help="linear, whose scores can be explained, or fasttext, which that library reads too.")
    ] = "linear",
    calibration: Annotated[str | None, typer.Option(help="temperature or isotonic.")] = None,
    calibrate_by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Calibrate the values of a field apart, such as source.")
    ] = None,
    balance: Annotated[bool, typer.Option("--balance", help="All labels weigh alike, however rare.")] = False,
    correct: Annotated[
        str, typer.Option(help="Correct labels that other texts speak against: auto, always or never.")
    ] = "auto",
    unlabelled: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="The one of two labels whose texts nobody looked at, such as the web's."),
    ] = None,
    prior: Annotated[
        float | None, typer.Option(help="Share of the unlabelled texts that is of the other; else estimated.")
    ] = None,
    ngram: Annotated[int, typer.Option(help="Longest word n-gram.")] = 2,
    buckets: Annotated[int, typer.Option(help="Hash buckets of word n-grams.")] = 1 << 18,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    store: Store = "./store",
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a student of labels: a fast, calibrated classifier, tested on texts that it has not seen."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.html.model_reports import page_of
        from gristmill.pipelines.report.console.training import show_distilled

        report = api.distil(
            model,
            task,
            store,
            table=table,
            test=test,
            text=text,
            label=label,
            probability=probability,
            by=by or (),
            scale=scale,
            gold=gold,
            method=method,
            inputs=input_ or (),
            student=student,
            calibration=calibration,
            calibrate_by=calibrate_by,
            balance=balance,
            correct=correct,
            unlabelled=unlabelled,
            prior=prior,
            ngram=ngram,
            buckets=buckets,
            seed=seed,
            reporter=reporter,
        )
        print_result(as_json, report, lambda: show_distilled(report, page_of(model), out))


def loop(
    task: TaskPath,
    model: Annotated[str, typer.Option("--out", help="Where the student goes; the rounds in OUT.loop.")],
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="RECIPE", help="Run this recipe; choose from its dataset.")
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Choose from this dataset of the store.")] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="GLOB", help="Choose from these files, of any format.")
    ] = None,
    text: TextField = "text",
    id: IdField = "id",
    rounds: Annotated[int, typer.Option(help="How often is labelled.")] = 3,
    budget: Annotated[
        int, typer.Option(help="Texts to label in all rounds together; a fifth of them to test with.")
    ] = 3000,
    sampler: Annotated[str, typer.Option(help=f"How texts are chosen: {', '.join(SAMPLER_NAMES)}.")] = "uncertainty",
    label: Annotated[str | None, typer.Option(help="The label that is looked for.")] = None,
    gold: Annotated[str | None, typer.Option(help="The annotator who is right.")] = None,
    method: Method = "mean",
    pool: Annotated[int, typer.Option(help="Texts to choose from, drawn at random where there are more.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    store: Store = "./store",
    yes: Yes = False,
    engine: Engines = EngineChoice.auto,
    workers: Workers = None,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Label, make a student, choose by it what to label next, and again; beside it as many texts at random."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.html.model_reports import page_of
        from gristmill.pipelines.report.console.training import show_loop

        result = api.loop(
            task,
            model,
            store,
            recipe=recipe,
            dataset=dataset,
            paths=input_ or (),
            text=text,
            id=id,
            rounds=rounds,
            budget=budget,
            sampler=sampler,
            label=label,
            gold=gold,
            method=method,
            pool=pool,
            seed=seed,
            engine=engine.value,
            workers=workers,
            reporter=reporter,
            confirm=confirmation(yes),
        )
        print_result(as_json, result.to_json(), lambda: show_loop(result, model, sampler, page_of(model), out))

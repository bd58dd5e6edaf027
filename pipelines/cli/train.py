"""`gristmill train` and `gristmill distil`."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.pipelines.cli.common import (
    AsJson,
    Debug,
    Gold,
    IsScale,
    LabelField,
    LabelTable,
    Method,
    ProbabilityField,
    Quiet,
    Store,
    TextField,
    TextInputs,
    err,
    errors,
    out,
    print_result,
)

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
    text: Annotated[str, typer.Option(help="Field that holds the text.")] = "text",
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
        print_result(as_json, report.as_json(), lambda: show_training(report, out))


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
    calibration: Annotated[str | None, typer.Option(help="temperature or isotonic.")] = None,
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
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a student of labels: a fast, calibrated classifier, tested on texts that it has not seen."""
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.progress.reporter import Reporter
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
            calibration=calibration,
            correct=correct,
            unlabelled=unlabelled,
            prior=prior,
            ngram=ngram,
            buckets=buckets,
            seed=seed,
            reporter=Reporter(err, quiet),
        )
        print_result(as_json, report, lambda: show_distilled(report, out))

"""`gristmill label` and `gristmill labels`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.operators.errors import RecipeError
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
    Unsafe,
    Workers,
    err,
    errors,
    out,
    print_result,
    print_table,
    reporting,
)

if TYPE_CHECKING:
    from gristmill.pipelines.label.result import Confirm, LabelPlan

labels_app = typer.Typer(
    help="Labels that language models and people gave: see, take out, put in.", no_args_is_help=True
)
#: Of `operators/label/aggregation/methods.py`, which takes NumPy to load.
METHOD_NAMES = ("mean", "majority", "weighted", "one_coin", "dawid_skene", "mace", "glad", "moments")
TaskPath = Annotated[str, typer.Argument(metavar="TASK", help="The task, a YAML file.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask without confirmation.")]


def confirmation(yes: bool) -> Confirm:
    """Return a function that shows the plan and asks to go on: not with --yes; RecipeError without a terminal."""

    def confirm(plan: LabelPlan) -> bool:
        from gristmill.pipelines.report.console.labelling import show_label_plan

        show_label_plan(plan, err)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise RecipeError(
                f"{plan.task}: {plan.questions:,} questions are about to be asked, and there is no terminal to confirm "
                "it on: add --yes"
            )
        return typer.confirm("Ask?", err=True)

    return confirm


def label(
    task: TaskPath,
    store: Store = "./store",
    dataset: Annotated[str | None, typer.Option("--dataset", help="Label this dataset of the store.")] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="GLOB", help="Label these files, of any format.")
    ] = None,
    text: TextField = "text",
    id: IdField = "id",
    yes: Yes = False,
    engine: Engines = EngineChoice.auto,
    workers: Workers = None,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Put a labelling task to documents; what is answered already is not asked again."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.report.console.labelling import show_label_result

        result = api.label(
            task,
            store,
            dataset=dataset,
            paths=input_ or (),
            text=text,
            id=id,
            engine=engine.value,
            workers=workers,
            reporter=reporter,
            confirm=confirmation(yes),
        )
        print_result(as_json, result.to_json(), lambda: show_label_result(result, out))
        if not result.complete and result.reached is None:
            raise typer.Exit(1)


@labels_app.command("info")
def labels_info(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="One task; by default all.", show_default=False)
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show who has answered what: answers, quarantine, confidence, tokens, cost."""
    with errors(debug):
        from gristmill.pipelines.label.task import load_task
        from gristmill.pipelines.report import labels
        from gristmill.pipelines.report.console.store import show_tasks

        tasks = labels.info(store, None if task is None else load_task(task, asks=False).fingerprint)
        print_result(as_json, tasks, lambda: show_tasks(tasks, out))


@labels_app.command("export")
def labels_export(
    task: TaskPath,
    to: Annotated[str, typer.Option("--out", metavar="FILE", help="A .parquet, .csv or .jsonl file to write.")],
    annotator: Annotated[str | None, typer.Option("--annotator", help="Only this annotator's answers.")] = None,
    text: Annotated[bool, typer.Option("--text", help="With the documents' texts, read from where they lie.")] = False,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="GLOB", help="Look for the texts in these files instead.")
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write the answers: a row for each document and annotator."""
    with errors(debug):
        from gristmill.pipelines.config.wording import plural
        from gristmill.pipelines.label.answered_texts import texts_of
        from gristmill.pipelines.label.export import export_labels
        from gristmill.pipelines.label.task import load_task
        from gristmill.pipelines.storage.locations import absolute

        fingerprint = load_task(task, asks=False).fingerprint
        texts = partial(texts_of, inputs=input_ or ()) if text or input_ else None
        rows = export_labels(absolute(store, "."), fingerprint, to, annotator, texts)
        message = f"{plural(rows, 'row')} in {to}"
        print_result(as_json, {"rows": rows, "file": to}, lambda: out.print(message, markup=False))


@labels_app.command("import")
def labels_import(
    task: TaskPath,
    path: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="CSV, Parquet or JSON lines: id, content_id or text; answer.", show_default=False
        ),
    ],
    annotator: Annotated[str, typer.Option("--annotator", help="Who gave them, such as gold.")],
    mapping: Annotated[
        str | None, typer.Option("--ids", metavar="FILE", help="A file with id and content_id, where ids are others'.")
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Take in labels that people gave, as one more annotator's."""
    with errors(debug):
        from gristmill.pipelines.config.wording import plural
        from gristmill.pipelines.label.importing import import_labels
        from gristmill.pipelines.label.store import LabelStore
        from gristmill.pipelines.label.task import load_task
        from gristmill.pipelines.storage.locations import absolute

        loaded = load_task(task, asks=False)
        if annotator in (model.name for model in loaded.task.annotators):
            raise RecipeError(f"{annotator} is a model of {task}; give the labels another --annotator")
        labels = LabelStore(absolute(store, "."), loaded.fingerprint)
        imported = import_labels(labels, loaded.task.answer, path, annotator, mapping=mapping)
        labels.write_task(loaded.name, loaded.as_written)
        message = f"{plural(imported.labels, 'label')} of {annotator} for {loaded.name}"
        print_result(as_json, imported._asdict(), lambda: out.print(message, markup=False))


@labels_app.command("audit")
def labels_audit(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="The task whose answers are audited.", show_default=False)
    ] = None,
    table: LabelTable = None,
    to: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="A .parquet file for the review list; a page beside it.")
    ] = None,
    budget: Annotated[int, typer.Option(help="Texts that can be asked about again; their ids go beside --out.")] = 0,
    text: TextField = "text",
    label: LabelField = "label",
    probability: ProbabilityField = None,
    scale: IsScale = False,
    gold: Gold = None,
    method: Method = "mean",
    input_: TextInputs = None,
    store: Store = "./store",
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the labels that are probably wrong, why, and which texts to ask about again."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.report.console.training import show_audit

        suspected, report = api.audit_labels(
            task,
            store,
            table=table,
            text=text,
            label=label,
            probability=probability,
            scale=scale,
            gold=gold,
            method=method,
            inputs=input_ or (),
            budget=budget,
            out=to,
            reporter=reporter,
        )
        print_result(as_json, {**report, "file": to}, lambda: show_audit(suspected, report, to, out))


@labels_app.command("aggregate")
def labels_aggregate(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="The task whose answers are aggregated.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option("--out", metavar="FILE", help="A .parquet file to write.")] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="FILE", help="Votes in a table of any format, in place of TASK.")
    ] = None,
    item: Annotated[str, typer.Option("--item", help="Field of the item.")] = "item",
    annotator: Annotated[str, typer.Option("--annotator", help="Field of the annotator.")] = "annotator",
    label: Annotated[str, typer.Option("--label", help="Field of the label.")] = "label",
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold", help="Field of the true label, where it is known; of a TASK the annotator who is right."
        ),
    ] = None,
    time: Annotated[str | None, typer.Option("--time", help="Field of the time: annotators may change.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Field by which agreement is told; of a TASK `source`.")
    ] = None,
    scale: Annotated[bool, typer.Option("--scale", help="The labels of the table are numbers of a scale.")] = False,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs", metavar="LEFT,RIGHT,WINNER", help="The table has comparisons of two items: its fields."
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHOD_NAMES)}.")] = "mean",
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make one soft label of the labels of several annotators, and tell how good each of them is."""
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.report.console.aggregation import show_aggregation

        fields = {"item": item, "annotator": annotator, "label": label, "gold": gold, "time": time, "stratum": by}
        _, report = api.aggregate_labels(
            task, store, table=table, fields=fields, scale=scale, pairs=pairs, method=method, out=to
        )
        print_result(as_json, {**report, "file": to}, lambda: show_aggregation(report, to, out))


@labels_app.command("feed")
def labels_feed(
    folder: Annotated[str, typer.Option("--out", metavar="FOLDER", help="A folder for train, validation and test.")],
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="The task whose answers are the labels.", show_default=False)
    ] = None,
    table: LabelTable = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Labels that are columns of this dataset of the store.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="parquet, for Hugging Face and others, or fasttext: lines `__label__NAME TEXT`.")
    ] = "parquet",
    validation: Annotated[float, typer.Option(help="Share of the texts that goes to validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the texts that goes to test.")] = 0.1,
    balance: Annotated[
        bool, typer.Option("--balance", help="Weights make all labels weigh alike, however rare.")
    ] = False,
    text: TextField = "text",
    label: LabelField = "label",
    probability: ProbabilityField = None,
    scale: IsScale = False,
    gold: Gold = None,
    method: Method = "mean",
    input_: TextInputs = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write labelled texts for the training of a classifier, near copies never in two of its splits."""
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.report.console.training import show_feed

        feed = api.classifier_feed(
            task,
            store,
            table=table,
            dataset=dataset,
            text=text,
            label=label,
            probability=probability,
            scale=scale,
            gold=gold,
            method=method,
            inputs=input_ or (),
            validation=validation,
            test=test,
            balance=balance,
            seed=seed,
            out=folder,
            format=format,
        )
        print_result(as_json, {**feed.report, "folder": folder}, lambda: show_feed(feed.report, folder, out))


@labels_app.command("compact")
def labels_compact(
    task: TaskPath,
    let_go: Annotated[
        bool,
        typer.Option("--let-go", help="Go on without files that are damaged or gone: what they held is asked again."),
    ] = False,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make few files of many; the answers stay the same. Runs do so themselves where there are many."""
    with errors(debug):
        from gristmill.pipelines.config.wording import plural
        from gristmill.pipelines.label.store import open_stored
        from gristmill.pipelines.label.task import load_task

        labels = open_stored(store, load_task(task, asks=False).fingerprint)
        lost = labels.let_go() if let_go else []
        count = labels.compact()

        def show() -> None:
            for name in lost:
                out.print(f"! let go of {name}", style="yellow", markup=False)
            out.print(f"answers to {labels.task()['name']} in {plural(count, 'file')}", markup=False)

        print_result(as_json, {"task": labels.task()["name"], "files": count, "let_go": lost}, show)


@labels_app.command("query")
def labels_query(
    sql: Annotated[
        str,
        typer.Argument(metavar="SQL", help="DuckDB SQL over labels, quarantine, documents, tasks.", show_default=False),
    ],
    store: Store = "./store",
    unsafe: Unsafe = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask the label store: SQL over answers, quarantine, documents and tasks."""
    with errors(debug):
        from gristmill.pipelines.report import labels

        print_table(as_json, labels.query(store, sql, unsafe))

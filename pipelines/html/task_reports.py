"""Reports on labelling tasks: left by `gristmill label` in the label store, and made by `gristmill report TASK`."""

from __future__ import annotations

from gristmill.pipelines.html.label_examples import label_examples
from gristmill.pipelines.html.label_page import label_page, label_page_url
from gristmill.pipelines.html.leaving import left
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.task_facts import task_facts
from gristmill.pipelines.storage import files

#: Answers up to which each `gristmill label` computes how far annotators agree, which takes about 40 microseconds each.
_MOST_ANSWERS = 500_000


def leave_task_report(loaded: LoadedTask, store: str, reporter: Reporter) -> str | None:
    """Write the report on a task that was just put to documents; return its URL, None where it cannot be made.

    No text is read for it, and of very many answers agreement is left to `gristmill report`.
    """
    labels = LabelStore(store, loaded.fingerprint)
    again = f"gristmill report {loaded.document.file}"
    return left(
        label_page_url(labels),
        lambda: label_page(loaded, labels, task_facts(loaded, store, _MOST_ANSWERS), ()),
        reporter,
        again,
    )


def make_task_report(loaded: LoadedTask, store: str, examples: int, out: str | None = None) -> str:
    """Make the report on a task with examples of its texts; return its URL. With `out` it is written there.

    Raises RecipeError where the store has none of its labels.
    """
    labels = LabelStore(store, loaded.fingerprint)
    facts = task_facts(loaded, store)
    url = out or label_page_url(labels)
    files.write_bytes(url, label_page(loaded, labels, facts, label_examples(facts, labels, examples)))
    return url

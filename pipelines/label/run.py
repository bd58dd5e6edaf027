"""A labelling run: choose documents, forecast, ask the annotators that have not answered yet, store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Asker, Rejected
from gristmill.operators.label.samplers import KEY
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.annotators import AnyAnnotator
from gristmill.pipelines.label.asking import Round, Tally
from gristmill.pipelines.label.backends import OpenAsker, open_asker
from gristmill.pipelines.label.budget import Amount, Ledger
from gristmill.pipelines.label.documents import Documents, imported_ids, scan
from gristmill.pipelines.label.forecast import Forecast, Sizes, forecast
from gristmill.pipelines.label.pairs import paired
from gristmill.pipelines.label.questions import BATCH, ReadingChunk, StreamingAsker
from gristmill.pipelines.label.result import AnnotatorResult, Confirm, LabelPlan, LabelResult
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import MISSING, QUARANTINED, REPAIR, Annotation, Known
from gristmill.pipelines.label.store.writer import Writer
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.locations import absolute
from gristmill.pipelines.store.datasets import FOLDER as DATASETS

#: Documents, and bytes of their text, that travel together to a backend on Ray.
CHUNK_DOCUMENTS = 2048
CHUNK_BYTES = 16_000_000
#: Times that questions that were lost on the way to an endpoint or back are asked again.
ROUNDS = 6
#: Times that a text whose replies are empty is asked in one run.
EMPTY_REPLIES = 2


def choose_documents(loaded: LoadedTask, documents: Documents) -> Documents:
    """Return the documents that the task's sample chooses."""
    sample = loaded.task.sample
    ids = None if sample is None or sample.import_ is None else imported_ids(loaded.resolve(sample.import_))
    return documents.chosen_by(sample, ids)


def label(
    loaded: LoadedTask,
    store_url: str,
    documents: Documents,
    reporter: Reporter,
    confirm: Confirm,
    opener: OpenAsker = open_asker,
    source: Mapping[str, Any] | None = None,
) -> LabelResult:
    """Put a task to the documents that it chooses of these: see `label_chosen`."""
    sample = choose_documents(loaded, documents)
    return label_chosen(loaded, store_url, sample, documents.table.num_rows, reporter, confirm, opener, source)


def label_chosen(
    loaded: LoadedTask,
    store_url: str,
    chosen: Documents,
    of: int,
    reporter: Reporter,
    confirm: Confirm,
    opener: OpenAsker = open_asker,
    source: Mapping[str, Any] | None = None,
    night: date | None = None,
) -> LabelResult:
    """Put a task to documents, chosen from `of`, and store the answers. Nothing that is known is asked again.

    `source` is the place of the documents that the store remembers: see `LabelStore.write_task`. `night` is the date
    whose budget counts, by default today's (UTC).

    Raises GristmillError; what was answered before the error stays in the store.
    """
    started = time.monotonic()
    texts = chosen.without_repeats()
    if loaded.task.pairs:
        texts = paired(texts, loaded.task.sample)
    counts = (chosen.table.num_rows, of, texts.table.num_rows)
    result = LabelResult(loaded.name, loaded.fingerprint, "", *counts, chosen.rejects, chosen.first_reject)
    store = LabelStore(store_url, loaded.fingerprint)
    with ExitStack() as stack:
        askers = [stack.enter_context(closing(opener(loaded.local(a), loaded.task))) for a in loaded.task.annotators]
        writer = stack.enter_context(store.open_run())
        result.run = writer.run
        if foreign := store.foreign():
            message = f"{plural(len(foreign), 'file')} of the label store that no run made, such as {foreign[0]}"
            reporter.warn(f"! {message}: left out. `gristmill verify` lists them")
        result.before = result.spent = store.spent()
        night = night or datetime.now(UTC).date()
        tonight = store.begin_night(night, result.before)
        ledger = _ledger(loaded, result.before, tonight, writer)
        labelling = Labelling(loaded, store, texts, ledger, writer, reporter)
        parts = [labelling.part_of(*pair) for pair in zip(loaded.task.annotators, askers, strict=True)]
        forecasts = [labelling.forecast(part) for part in parts]
        spent = (result.before, night.isoformat(), tonight)
        plan = LabelPlan(loaded.name, *counts, forecasts, loaded.task.budget, *spent)
        result.declined = plan.questions > 0 and not confirm(plan)
        if result.declined:
            result.annotators = [labelling.unasked(part) for part in parts]
        else:
            store.write_task(loaded.name, loaded.as_written, source)
            named = [chosen, texts] if loaded.task.pairs else [chosen]
            store.write_documents(writer.run, [documents.named() for documents in named])
            result.annotators = [labelling.ask(part) for part in parts]
            result.reached, result.spent = labelling.ledger.reached, labelling.ledger.spent
    result.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True)
class AnnotatorWork:
    """Work of one annotator."""

    annotator: AnyAnnotator
    asker: Asker
    sizes: Sizes
    known: Known  #: its answers before the run

    @property
    def annotation(self) -> Annotation:
        """Return the origin that its answers are stored under."""
        return Annotation(self.annotator.name, self.annotator.model, self.asker.revision)

    @property
    def streams(self) -> bool:
        """Return whether the backend's own workers read the documents."""
        return isinstance(self.asker, StreamingAsker)


@dataclass(frozen=True)
class Labelling:
    """A run of a task over some texts, each of them once."""

    loaded: LoadedTask
    store: LabelStore
    texts: Documents
    ledger: Ledger
    writer: Writer
    reporter: Reporter

    def part_of(self, annotator: AnyAnnotator, asker: Asker) -> AnnotatorWork:
        """Return the work that is left for an annotator."""
        answers = self.store.known(annotator.name, asker.revision)
        sizes = Sizes(self.loaded.task, annotator, asker.tokenizer)
        return AnnotatorWork(annotator, asker, sizes, answers)

    def forecast(self, part: AnnotatorWork, known: Known | None = None) -> Forecast:
        """Estimate the questions to an annotator, and the tokens and cost that they take.

        `known` are its answers, by default those before the run.
        """
        states = self._states(part.known if known is None else known)
        missing, repairs = (self.texts.filter(states == state) for state in (MISSING, REPAIR))
        prices = self.loaded.task.prices_of(part.annotator)
        known_count = len(states) - missing.table.num_rows - repairs.table.num_rows
        return forecast(part.annotator, part.sizes, prices, missing, repairs, known_count)

    def ask(self, part: AnnotatorWork) -> AnnotatorResult:
        """Ask first questions, then repairs of the answers that are not valid."""
        started = time.monotonic()
        first, answers = self._rounds(part, part.known, MISSING)
        second, answers = self._rounds(part, answers, REPAIR)
        first.add(second)
        return self._result(part, answers, started, second.answered, first.first_failure)

    def unasked(self, part: AnnotatorWork) -> AnnotatorResult:
        """Return the result of an annotator that is asked nothing."""
        return self._result(part, part.known, time.monotonic())

    def _result(
        self, part: AnnotatorWork, answers: Known, started: float, repaired: int = 0, first_failure: str = ""
    ) -> AnnotatorResult:
        states = self._states(answers)
        unanswered = int(np.isin(states, (MISSING, REPAIR)).sum())
        quarantined = int((states == QUARANTINED).sum())
        left: dict[str, Any] = {}
        if unanswered:
            to_come = self.forecast(part, answers)
            left = {f"unanswered_{of}": getattr(to_come, of) for of in ("input_tokens", "output_tokens", "cost")}
        return AnnotatorResult(
            *part.annotation,
            texts=len(states),
            cached=int((~np.isin(self._states(part.known), (MISSING, REPAIR))).sum()),
            answered=len(states) - unanswered - quarantined,
            quarantined=quarantined,
            unanswered=unanswered,
            repaired=repaired,
            first_failure=first_failure,
            seconds=time.monotonic() - started,
            **left,
        )

    def _rounds(self, part: AnnotatorWork, known: Known, state: int) -> tuple[Tally, Known]:
        """Ask about texts in a state until none was lost on the way; return the counts, and what is known then."""
        total = Tally()
        for _ in range(1 + ROUNDS):
            given_up = [key for key, times in total.empty.items() if times >= EMPTY_REPLIES]
            mask = self._states(known) == state
            mask &= ~pc.is_in(self.texts.table[KEY], pa.array(given_up, self.texts.table[KEY].type)).to_numpy()
            documents = self.texts.filter(mask)
            if not documents.table.num_rows:
                break
            keys = documents.table[KEY].to_pylist() if state == REPAIR else ()
            tally = self._round(part, documents, {key: known.rejected(key) for key in keys})
            total.add(tally)
            known = self.store.known(part.annotation.annotator, part.annotation.revision)
            if not tally.lost:
                break
        return total, known

    def _states(self, known: Known) -> NDArray[np.uint8]:
        """Return the states of the texts (n)."""
        return known.states(self.texts.table[KEY])

    def _round(self, part: AnnotatorWork, documents: Documents, rejected: Mapping[bytes, Rejected]) -> Tally:
        title = f"{self.loaded.name} {part.annotator.name}{' repairs' if rejected else ''}"
        with self.reporter.stage(title, documents.table.num_rows, "document") as stage:
            return Round(
                self.loaded.task.answer,
                part.annotation,
                part.asker,
                part.sizes,
                self.loaded.task.prices_of(part.annotator),
                self.ledger,
                self.writer,
                stage,
                attempt=2 if rejected else 1,
                at_once=max(1, getattr(part.annotator, "concurrency", 2 * BATCH) // 2),
            ).ask(list(self._chunks(part, documents, rejected)))

    def _chunks(
        self, part: AnnotatorWork, documents: Documents, rejected: Mapping[bytes, Rejected]
    ) -> Iterator[ReadingChunk]:
        for _, of_shard in documents.by_shard():
            pieces = of_shard.split(CHUNK_DOCUMENTS, CHUNK_BYTES) if part.streams else [of_shard]
            for piece in pieces:
                mine = {key: rejected[key] for key in piece.keys} if rejected else {}
                yield ReadingChunk(piece, self.loaded.task, part.asker.tokenizer, mine)


def _ledger(loaded: LoadedTask, before: Amount, tonight: Amount, writer: Writer) -> Ledger:
    """Return the budget's ledger. Questions in flight to an endpoint are on record: they may be charged after a crash.

    A local model charges nothing for an answer that never came.
    """
    remote = {annotator.name for annotator in loaded.task.annotators if annotator.engine == "http"}

    def on_reserve(annotator: str, amount: Amount) -> None:
        if annotator in remote:
            writer.reserve(annotator, amount)

    return Ledger(loaded.task.budget, loaded.task.prices, before, on_reserve, tonight)


def label_source(
    loaded: LoadedTask, store_url: str, source: Source, engine: Engine, reporter: Reporter, confirm: Confirm
) -> LabelResult:
    """Put a task to the documents of a source. Raises GristmillError as `label_chosen` does."""
    loaded.require_folders()
    documents = scan_some(source, engine, reporter)
    return label(loaded, store_url, documents, reporter, confirm, source=origin_of(source, store_url))


def scan_some(source: Source, engine: Engine, reporter: Reporter) -> Documents:
    """Return the documents of a source. Raises RecipeError where there are none."""
    documents = scan(source, ".", engine, reporter)
    if not documents.table.num_rows:
        records = plural(documents.rejects, "record")
        why = f": {records} left out, such as {documents.first_reject}" if documents.rejects else ""
        raise RecipeError(f"{source.name} has no documents to label{why}")
    return documents


def origin_of(source: Source, store_url: str) -> dict[str, Any]:
    """Return the place of the documents of a source as the store remembers it: see `LabelStore.write_task`."""
    paths = [absolute(path, ".") for path in source.patterns()]
    folder = f"{files.join(store_url, DATASETS)}/"
    if len(paths) == 1 and paths[0].startswith(folder):
        return {"dataset": paths[0].removeprefix(folder)}
    return {"path": paths, "text": source.text, "id": source.id}

"""Language models on Ray: chunks stream through CPU tasks, which make the questions, into actors that answer.

Chunks and replies travel pickled in binary columns, as in `ray_data.py`. If a worker is killed, Ray tries again up to
RETRIES times and then leaves the chunk out. `answer_in_rounds` asks again about chunks that are not complete, and
leaves out replies that were handed out before. In the end each remaining chunk is asked about by itself, so that a
document that ends its process takes no other with it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Asker, Question, Reply, Tokenizer
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.engine.base import RETRIES, Outcome
from gristmill.pipelines.engine.local import attempt
from gristmill.pipelines.engine.ray_data import configure, last_line, limiting_retries, pickled
from gristmill.pipelines.label.annotators import Annotator, TransformersAnnotator, VllmAnnotator, revision_of
from gristmill.pipelines.label.local.backend import open_asker as open_local
from gristmill.pipelines.label.models import found_revision, load_tokenizer
from gristmill.pipelines.label.questions import Chunk, HeldChunk
from gristmill.pipelines.label.ray.resources import Placement, vllm_placement


class ReplyBatch(NamedTuple):
    """Some replies of a chunk, or the error that kept it from being asked about."""

    chunk: int  #: its index
    parts: int  #: number of parts that the chunk comes back in
    replies: Sequence[Reply]
    error: Exception | None


#: Asks about the chunks with these indices; parts come back in any order and any grouping, and some may never come.
Ask = Callable[[Sequence[int]], Iterator[Iterable[ReplyBatch]]]


def answer_in_rounds(who: str, chunks: Sequence[Chunk], ask: Ask) -> Generator[Sequence[Reply]]:
    """Yield replies to the questions of all chunks, each once.

    Raises FatalError and RecipeError of a part at once, any other error of one after the replies of all other chunks,
    and FatalError if a chunk is never answered.
    """
    ledger = _Ledger(chunks)
    indices = list(ledger.missing)
    while indices:
        round_indices = indices
        yield from ledger.settle(ask(round_indices))
        indices = list(ledger.missing)
        if len(indices) in (1, len(round_indices)):  # one more round would not change that
            break
    for index in indices[: RETRIES + 1]:
        yield from ledger.settle(ask([index]))
    if ledger.missing:
        raise _given_up(who, [chunks[index] for index in ledger.missing])
    if ledger.errors:
        raise ledger.errors[0]


class _Ledger:
    """Chunks that are not answered in full, and those of their keys that are."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.missing = dict.fromkeys(index for index, chunk in enumerate(chunks) if chunk.documents)
        self.errors: list[Exception] = []
        self._answered: defaultdict[int, set[bytes]] = defaultdict(set)

    def settle(self, groups: Iterator[Iterable[ReplyBatch]]) -> Iterator[Sequence[Reply]]:
        """Yield the replies of one round without those of the rounds before."""
        before = {index: frozenset(keys) for index, keys in self._answered.items()}
        came: Counter[int] = Counter()
        for group in groups:
            fresh: list[Reply] = []
            for part in group:
                self._note(part.error)
                fresh += [reply for reply in part.replies if reply.key not in before.get(part.chunk, ())]
                self._answered[part.chunk].update(reply.key for reply in part.replies)
                came[part.chunk] += 1
                if came[part.chunk] == part.parts:
                    del self.missing[part.chunk], self._answered[part.chunk]
            if fresh:
                yield fresh

    def _note(self, error: Exception | None) -> None:
        if isinstance(error, FatalError | RecipeError):
            raise error
        if error is not None:
            self.errors.append(error)


def _given_up(who: str, chunks: Sequence[Chunk]) -> FatalError:
    more = len(chunks) - 1
    others = f" and {plural(more, 'more chunk')}" if more else ""
    return FatalError(
        f"{who} could not answer {chunks[0]}{others}: the process that held the model ended every time, at last with "
        "one chunk by itself. Memory is the usual cause: take smaller batches or larger machines, and see Ray's logs "
        "(/tmp/ray/session_latest/logs). All other answers are kept; run the same command to go on"
    )


#: Ray's column: a row in which it is not empty passes by vLLM and by `postprocess`.
ERROR = "__inference_error__"
INDEX, PARTS, OUTCOME, KEY = "index", "parts", "outcome", "key"
_PARTS = pa.schema([(INDEX, pa.int64()), (PARTS, pa.int64()), (OUTCOME, pa.large_binary())])
_ROWS = pa.schema([*_PARTS, (KEY, pa.binary()), ("tokenized_prompt", pa.list_(pa.int64())), (ERROR, pa.string())])
_TASKS = {"num_cpus": 1, "max_retries": RETRIES}
_NO_QUESTION = {KEY: b"", "tokenized_prompt": [0], ERROR: "not asked"}
Prompt = Callable[[Question], list[int]]
Read = Callable[[Mapping[str, Any]], Reply]
Run = Callable[[Sequence[Chunk]], Generator[Sequence[Reply]]]


class RayAsker:
    """StreamingAsker by actors. Each call that answers starts the actors, and ends them with its last reply."""

    def __init__(self, annotator: Annotator, tokenizer: Tokenizer, run: Run) -> None:
        self.tokenizer = tokenizer
        self.revision = revision_of(annotator, found_revision(annotator.model, annotator.revision))
        self._run = run

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions; every batch is pulled before the first is asked."""
        return self._run([HeldChunk(tuple(batch)) for batch in batches])

    def answer_chunks(self, chunks: Sequence[Chunk]) -> Generator[Sequence[Reply]]:
        """Yield replies to the questions of all chunks."""
        return self._run(chunks)

    def close(self) -> None:
        """Do nothing: actors end with the replies."""


def open_replicas(annotator: TransformersAnnotator, asked: TaskQuestion) -> RayAsker:
    """Open the backend `transformers` in `annotator.replicas` actors, each with a GPU if the annotator's device is one.

    Raises RecipeError if the cluster has no room for them, or there is no such model.
    """
    on_gpu = annotator.device.startswith("cuda") or (annotator.device == "auto" and _cluster_has("GPU"))
    placement = Placement(annotator.replicas, 1, {"CPU": 1.0, "GPU": 1.0} if on_gpu else {"CPU": 1.0})
    preflight(annotator.name, placement)
    opener = partial(open_local, annotator, asked)
    run = partial(answer_with_actors, annotator.name, placement, opener)
    return RayAsker(annotator, load_tokenizer(annotator.model, annotator.revision), run)


def on_ray() -> bool:
    """Return whether this process is connected to a Ray cluster; does not import ray to find out."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _cluster_has(resource: str) -> bool:
    """Return whether any node has some of a resource, by Ray's names."""
    return any(node.get(resource) for node in _nodes())


def preflight(who: str, placement: Placement) -> None:
    """Raise RecipeError if the cluster has no room for the replicas of the annotator `who`."""
    placement.check(who, _nodes())


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def answer_with_actors(
    who: str, placement: Placement, open_asker: Callable[[], Asker], chunks: Sequence[Chunk]
) -> Generator[Sequence[Reply]]:
    """Yield replies from actors, each of which opens its own asker: see StreamingAsker.answer_chunks.

    who: the annotator's name. placement: one worker for each. Raises RecipeError if the actors do not fit the
    cluster, FatalError if none can answer.
    """
    preflight(who, placement)
    resources = placement.resources
    actors = {
        "fn_constructor_args": (open_asker,),
        "max_task_retries": RETRIES,
        "num_cpus": resources.get("CPU", 0),
        "num_gpus": resources.get("GPU", 0),
    }

    def plan(chunks: Any) -> Any:
        from ray.data import ActorPoolStrategy

        pool = ActorPoolStrategy(size=placement.replicas)
        return _map(_map(chunks, _ask, **_TASKS), _Answering, compute=pool, **actors)

    return _answer(who, chunks, plan)


def answer_with_vllm(
    annotator: VllmAnnotator, sampling: Mapping[str, Any], prompt: Prompt, read: Read, chunks: Sequence[Chunk]
) -> Generator[Sequence[Reply]]:
    """Yield replies from the vLLM engines of ray.data.llm: see StreamingAsker.answer_chunks.

    sampling: vLLM's sampling parameters. prompt: the token ids of a question's prompt. read: the reply in a row of
    Ray's processor, which has the question's `key`; of a row that failed it has ERROR and no answer.
    Raises RecipeError if vLLM's engines do not fit the cluster, FatalError if they do not start.
    """
    placement = vllm_placement(annotator)
    preflight(annotator.name, placement)

    def plan(chunks: Any) -> Any:
        processor = _processor(annotator, placement, sampling, read)
        return _map(processor(_map(chunks, partial(_prompts, prompt), **_TASKS)), partial(_alike, read), **_TASKS)

    return _answer(annotator.name, chunks, plan)


def _processor(annotator: VllmAnnotator, placement: Placement, sampling: Mapping[str, Any], read: Read) -> Any:
    """Return Ray's processor with nothing but vLLM's engine: prompts come as token ids, and vLLM itself gives text."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    revision = {} if annotator.revision is None else {"revision": annotator.revision}
    config = vLLMEngineProcessorConfig(
        model_source=annotator.model,
        engine_kwargs={**revision, **annotator.engine_kwargs, "tensor_parallel_size": annotator.tensor_parallel},
        concurrency=(annotator.replicas, annotator.replicas),
        batch_size=annotator.batch_size,
        should_continue_on_error=True,
        placement_group_config={"bundles": [placement.resources] * placement.workers},
        runtime_env={"env_vars": annotator.env},
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        log_engine_metrics=False,
    )
    with _quietly():
        processor = build_processor(
            config, preprocess=lambda row: {"sampling_params": dict(sampling)}, postprocess=partial(_kept, read)
        )
    for name in processor.list_stage_names():  # by default an engine that dies of a document is restarted endlessly
        limits = {"max_restarts": RETRIES, "max_task_retries": RETRIES}
        processor.get_stage_by_name(name).map_batches_kwargs.update(limits)
    return processor


def _answer(who: str, chunks: Sequence[Chunk], plan: Callable[[Any], Any]) -> Generator[Sequence[Reply]]:
    """Yield replies by a plan, which makes the dataset of parts from the dataset of chunks."""

    def ask(indices: Sequence[int]) -> Iterator[list[ReplyBatch]]:
        import ray

        configure(ray)
        items = [{INDEX: index, "item": pickle.dumps(chunks[index])} for index in indices]
        with limiting_retries():
            dataset = plan(ray.data.from_items(items, override_num_blocks=len(items)))
        try:
            for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                yield _parts(batch)
        except ray.exceptions.RayError as error:
            raise FatalError(
                f"{who} did not start on the Ray cluster: {last_line(error)}. See Ray's logs "
                "(/tmp/ray/session_latest/logs) for what came before; what was answered is kept"
            ) from None

    return answer_in_rounds(who, chunks, ask)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the messages of Ray and vLLM while they are set up off the console: standard output holds results alone."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _map(dataset: Any, function: Any, **options: Any) -> Any:
    return dataset.map_batches(function, batch_size=None, batch_format="pyarrow", **options)


def _ask(batch: pa.Table) -> pa.Table:
    """Turn chunks into their questions."""
    made = [attempt(_questions, 0, item) for item in batch["item"].to_pylist()]
    return pa.table({INDEX: batch[INDEX], "questions": pa.array(map(pickled, made), pa.large_binary())})


def _questions(item: bytes) -> list[Question]:
    chunk: Chunk = pickle.loads(item)
    return list(chunk.questions())


class _Answering:
    """Asker of an actor, opened by the first task: a model that ends its process there does so a few times only."""

    def __init__(self, open_asker: Callable[[], Asker]) -> None:
        self._open = open_asker
        self._asker: Asker | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        made = zip(batch[INDEX].to_pylist(), batch["questions"].to_pylist(), strict=True)
        rows = [{INDEX: index, PARTS: 1, OUTCOME: self._outcome(*pickle.loads(data))} for index, data in made]
        return pa.Table.from_pylist(rows, _PARTS)

    def _outcome(self, questions: list[Question] | None, error: Exception | None) -> bytes:
        return pickled(attempt(self._answer, 0, questions) if questions else Outcome(0, error=error))

    def _answer(self, questions: list[Question]) -> list[Reply]:
        if self._asker is None:
            self._asker = self._open()
        return [reply for replies in self._asker.answer([questions]) for reply in replies]


def _prompts(prompt: Prompt, batch: pa.Table) -> pa.Table:
    """Turn chunks into a row for each question, or one row that passes by vLLM if there is none."""
    rows: list[dict[str, Any]] = []
    for index, item in zip(batch[INDEX].to_pylist(), batch["item"].to_pylist(), strict=True):
        made = attempt(lambda item: [(question.key, prompt(question)) for question in _questions(item)], 0, item)
        question_rows = [{KEY: key, "tokenized_prompt": ids, OUTCOME: b"", ERROR: ""} for key, ids in made.value or ()]
        for row in question_rows or [{**_NO_QUESTION, OUTCOME: pickled(made)}]:
            rows.append({INDEX: index, PARTS: max(1, len(question_rows)), **row})
    return pa.Table.from_pylist(rows, _ROWS)


def _kept(read: Read, row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are kept of a row that was answered."""
    return {INDEX: row[INDEX], PARTS: row[PARTS], KEY: row[KEY], OUTCOME: pickled(Outcome(0, value=[read(row)]))}


def _alike(read: Read, batch: pa.Table) -> pa.Table:
    """Return a batch with failed rows in the form of those that were answered."""
    rows = batch.select([*_PARTS.names, KEY, ERROR]).to_pylist()
    failed = ({**row, OUTCOME: row[OUTCOME] or pickled(Outcome(0, value=[read(row)]))} for row in rows)
    return pa.Table.from_pylist([{name: row[name] for name in _PARTS.names} for row in failed], _PARTS)


def _parts(batch: pa.Table) -> list[ReplyBatch]:
    rows = zip(*(batch[name].to_pylist() for name in _PARTS.names), strict=True)
    loaded = ((index, parts, *pickle.loads(data)) for index, parts, data in rows)
    return [ReplyBatch(index, parts, replies or (), error) for index, parts, replies, error in loaded]

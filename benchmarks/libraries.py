"""Code of our own beside the library that could take its place.

    pip install ruamel.yaml anyio tenacity scikit-learn; python -m benchmarks.libraries

Each row is one job done by gristmill's code and by the library, in the same process: median processor seconds of the
process, and their ratio. What a library would have to do besides is said beside the figures in docs/design.md.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import print_table
from gristmill.operators.columns import CONTENT_ID, TYPES
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.sha256 import sha256_modulo
from gristmill.operators.label.clusters import cluster
from gristmill.pipelines.config.located_yaml import load
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.http.loop import Inbox, through_loop
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import MISSING, SCHEMA, Annotation, AnswerRow, Known, merged

BIG = Annotation("big", "some/model", "revision")
Job = Callable[[], Any]


def seconds(job: Job, runs: int) -> float:
    """Median processor seconds of this process for a job, after one call that is not counted."""
    job()
    taken = []
    for _ in range(runs):
        start = time.process_time()
        job()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def yaml_lines() -> tuple[Job, Job]:
    """Read a recipe of a thousand sources with the lines of all values."""
    from ruamel.yaml import YAML

    sources = "".join(f"  - {{name: s{i}, path: 'data/{i}/*.jsonl.gz', text: text, id: id}}\n" for i in range(1000))
    text = f"version: 1\nname: many\nsources:\n{sources}"
    return lambda: load(text, "recipe.yaml"), lambda: YAML().load(text)


def k_means() -> tuple[Job, Job]:
    """Cluster 20,000 vectors of 256 dimensions in 50 groups."""
    from sklearn.cluster import MiniBatchKMeans

    vectors = np.random.default_rng(1).standard_normal((20_000, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.random.default_rng(2).permutation(len(vectors))

    def library() -> Any:
        return MiniBatchKMeans(50, batch_size=1024, random_state=1, n_init=1, max_iter=5).fit_predict(vectors)

    return lambda: cluster(vectors, rows, 50, 1), library


def sha256() -> tuple[Job, Job]:
    """Digest 200,000 pairs of words, modulo 10,000."""
    texts = [f"word{i % 5000} other{i % 777}".encode() for i in range(200_000)]
    data = np.frombuffer(b"".join(texts), np.uint8)
    ends = np.cumsum([0, *map(len, texts)])
    buckets = np.empty(len(texts), np.int64)

    def library() -> list[int]:
        return [int.from_bytes(hashlib.sha256(text).digest(), "big") % 10_000 for text in texts]

    _sha256_buckets(data, ends, buckets)
    assert buckets.tolist() == library()
    return lambda: _sha256_buckets(data, ends, buckets), library


@kernel
def _sha256_buckets(data, ends, out):  # type: ignore[no-untyped-def]
    words = np.empty(72, np.uint32)
    for i in range(out.shape[0]):
        out[i] = sha256_modulo(data, ends[i], ends[i + 1] - ends[i], 10_000, words)


def bridge() -> tuple[Job, Job]:
    """Hand 20,000 questions, in batches of 64, to an event loop in another thread and take the replies."""
    import anyio
    from anyio.from_thread import BlockingPortalProvider

    batches = [list(range(i, i + 64)) for i in range(0, 20_000, 64)]

    async def work(inbox: Inbox[int], emit: Callable[[int], None]) -> None:
        while (question := await inbox.get()) is not None:
            emit(question)

    def library() -> int:
        async def open_streams() -> Any:
            return anyio.create_memory_object_stream(256), anyio.create_memory_object_stream(256)

        async def echo(questions: Any, replies: Any) -> None:
            async with questions, replies:
                async for question in questions:
                    await replies.send(question)

        async def some(replies: Any) -> list[int]:
            taken = [await replies.receive()]
            while replies.statistics().current_buffer_used:
                taken.append(replies.receive_nowait())
            return taken

        async def feed(sending: Any) -> None:
            async with sending:
                for batch in batches:
                    for question in batch:
                        await sending.send(question)

        total = 0
        with BlockingPortalProvider() as portal:
            (ask, asked), (answer, answered) = portal.call(open_streams)
            portal.start_task_soon(echo, asked, answer)
            portal.start_task_soon(feed, ask)
            while True:
                try:
                    total += len(portal.call(some, answered))
                except anyio.EndOfStream:
                    return total

    return lambda: sum(map(len, through_loop(batches, work, 256))), library


def retries() -> tuple[Job, Job]:
    """Await 20,000 attempts that succeed at once, each in a loop that would try again."""
    from tenacity import AsyncRetrying, stop_after_attempt, wait_random_exponential

    async def attempt() -> int:
        return 1

    async def plain() -> None:
        for _ in range(20_000):
            failed = 0
            while await attempt() != 1 and failed < 6:
                failed += 1

    async def library() -> None:
        for _ in range(20_000):
            async for trial in AsyncRetrying(stop=stop_after_attempt(6), wait=wait_random_exponential(0.5, 30)):
                with trial:
                    await attempt()

    def run(work: Callable[[], Awaitable[None]]) -> Job:
        return lambda: asyncio.run(work())  # type: ignore[arg-type]

    return run(plain), run(library)


def answers(n: int) -> Iterator[AnswerRow]:
    """Yield n answers with keys of their own."""
    keys = np.random.default_rng(1).bytes(16 * n)
    for i in range(n):
        yield AnswerRow(keys[16 * i : 16 * i + 16], 1, "4", 0.75, None, 0.99, 0.9, None, 512, 1, 0.0001)


def appending(folder: str) -> tuple[Job, Job]:
    """Append 20,000 answers one by one, each kept if the process is killed at once (sqlite3: WAL, no fsync)."""
    rows = list(answers(20_000))
    runs = iter(range(1000))

    def ours() -> None:
        with LabelStore(folder, f"f{next(runs)}").open_run("run") as writer:
            for row in rows:
                writer.reserve("big", Amount(1, 600, 16, 0.001))
                writer.append(BIG, [row], Amount(1, 600, 16, 0.001))

    def library() -> None:
        connection = sqlite3.connect(os.path.join(folder, f"{next(runs)}.db"), isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        marks = ", ".join("?" * len(AnswerRow._fields))
        connection.execute(f"CREATE TABLE answers ({', '.join(AnswerRow._fields)}, annotator)")
        connection.execute("CREATE TABLE reserved (annotator PRIMARY KEY, input, output, cost)")
        connection.execute("INSERT INTO reserved VALUES ('big', 0, 0, 0)")
        settle = "UPDATE reserved SET input = input + ?, output = output + ?, cost = cost + ? WHERE annotator = 'big'"
        for row in rows:
            connection.execute(settle, (600, 16, 0.001))
            connection.execute("BEGIN")
            connection.execute(f"INSERT INTO answers VALUES ({marks}, 'big')", row)
            connection.execute(settle, (-600, -16, -0.001))
            connection.execute("COMMIT")
        connection.close()

    return ours, library


def stored(folder: str, n: int) -> tuple[pa.Table, str]:
    """Return n answers (SCHEMA), every tenth key twice, and a Parquet file of them."""
    keys = np.random.default_rng(3).integers(0, 256, (n, 16), np.uint8)
    keys[::10] = keys[1::10]
    columns = {name: pa.nulls(n, SCHEMA.field(name).type) for name in SCHEMA.names}
    columns[CONTENT_ID] = pa.FixedSizeBinaryArray.from_buffers(TYPES[CONTENT_ID], n, [None, pa.py_buffer(keys)])
    columns["created"] = pa.array(np.arange(n), SCHEMA.field("created").type)
    constants = {**BIG._asdict(), "answer": "4", "attempt": 1, "input_tokens": 9, "output_tokens": 1, "cost": 0.1}
    for name, value in constants.items():
        columns[name] = pa.repeat(pa.scalar(value, SCHEMA.field(name).type), n)
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    path = os.path.join(folder, "answers.parquet")
    pq.write_table(table, path)
    return table, path


def merging(folder: str) -> tuple[Job, Job]:
    """Merge a million rows to the one that counts of each key, its tokens and cost summed up (DuckDB: one thread)."""
    table, path = stored(folder, 1_000_000)
    connection = duckdb.connect(config={"threads": 1})
    query = f"""
        SELECT * EXCLUDE (input_tokens, output_tokens, cost),
               sum(input_tokens) OVER key AS input_tokens, sum(output_tokens) OVER key AS output_tokens,
               sum(cost) OVER key AS cost
        FROM '{path}'
        WINDOW key AS (PARTITION BY content_id, annotator, revision)
        QUALIFY row_number() OVER (PARTITION BY content_id, annotator, revision ORDER BY attempt DESC, created DESC) = 1
        ORDER BY content_id, annotator, revision"""
    assert connection.execute(query).to_arrow_table().num_rows == merged(table).num_rows
    return lambda: merged(pq.read_table(path, use_threads=False)), lambda: connection.execute(query).to_arrow_table()


def look_up(folder: str) -> tuple[Job, Job]:
    """Open a million answers and ask for a million keys, half of them known (DuckDB: one thread, a join)."""
    table, path = stored(folder, 1_000_000)
    other = np.random.default_rng(9).bytes(16 * 500_000)
    unknown = pa.FixedSizeBinaryArray.from_buffers(TYPES[CONTENT_ID], 500_000, [None, pa.py_buffer(other)])
    wanted = pa.table({"key": pa.chunked_array([table[CONTENT_ID].chunk(0).slice(0, 500_000), unknown])})
    connection = duckdb.connect(config={"threads": 1})
    connection.register("wanted", wanted)
    query = f"""
        WITH known AS (SELECT content_id, arg_max(answer IS NOT NULL, (attempt, created)) AS state
                       FROM '{path}' GROUP BY content_id)
        SELECT state FROM wanted LEFT JOIN known ON key = content_id"""

    def ours() -> int:
        known = Known([pq.read_table(path, use_threads=False)])
        return int((known.states(wanted["key"]) == MISSING).sum())

    def library() -> int:
        return int(connection.execute(query).to_arrow_table()["state"].null_count)

    assert ours() == library() == 500_000
    return ours, library


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    jobs: Sequence[tuple[str, Callable[[str], tuple[Job, Job]]]] = [
        ("lines of YAML: ruamel.yaml", lambda _: yaml_lines()),
        ("k-means: scikit-learn", lambda _: k_means()),
        ("SHA-256: hashlib", lambda _: sha256()),
        ("thread bridge: anyio", lambda _: bridge()),
        ("retries: tenacity", lambda _: retries()),
        ("answers, appended: sqlite3", appending),
        ("answers, merged: DuckDB", merging),
        ("answers, looked up: DuckDB", look_up),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in jobs:
            place = Path(folder, str(len(rows)))
            place.mkdir()
            ours, library = (seconds(job, options.runs) for job in make(str(place)))
            rows.append([name, ours, library, library / ours])
    print_table(["job: library", "ours s", "library s", "library / ours"], rows)


if __name__ == "__main__":
    main()

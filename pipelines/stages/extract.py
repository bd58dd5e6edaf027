"""The extract stage of a run: pages become text, shard by shard, before anything else reads them."""

from __future__ import annotations

from gristmill.operators.errors import FatalError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.engine.base import check_reach
from gristmill.pipelines.shard_tasks.extract import ExtractShard, extract_shard
from gristmill.pipelines.stages.context import Context
from gristmill.pipelines.store.extracts import extract_file


def extract(context: Context) -> Context:
    """Extract the pages that no earlier run has extracted. A shard that cannot be read is left to the measure stage."""
    pages = [shard for shard in context.shards if shard.extraction is not None]
    there = {name for extraction in {shard.extraction for shard in pages} if extraction for name in extraction.names()}
    # a file that is damaged is made again when it is read
    tasks = [ExtractShard(shard) for shard in pages if extract_file(shard.ordinal) not in there]
    if len(tasks) < len(pages):
        done = f"{len(pages) - len(tasks)} of {plural(len(pages), 'shard')} of pages are extracted already"
        context.reporter.say(f"  extract  {done}")
    if not tasks:
        return context
    check_reach(context.engine, [context.store, *(file.url for task in tasks for file in task.shard.spec.files)])
    sizes = [float(sum(file.size for file in task.shard.spec.files)) for task in tasks]
    with context.reporter.stage("extract", len(tasks), size=sum(sizes)) as stage:
        for outcome in context.engine.map(extract_shard, tasks):
            stage.went_through(sizes[outcome.index])
            if isinstance(outcome.error, FatalError):
                raise outcome.error
            if outcome.error is None:
                counts = outcome.unwrap()
                context.seconds.update(counts.seconds)
                stage.advance(text_bytes=counts.text_bytes, documents=counts.documents)
            else:
                stage.advance()
    return context

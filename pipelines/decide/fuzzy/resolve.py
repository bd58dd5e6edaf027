"""Fuzzy deduplication over all shards, in passes over shards or partitions that only the exchange connects.

The result depends on the documents, their addresses and the parameters: not on the engine, the workers, or the number
of partitions.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np

from gristmill.pipelines.decide.fuzzy.candidates import CandidatePairs
from gristmill.pipelines.decide.fuzzy.clusters import CLUSTERED, Clusters, largest
from gristmill.pipelines.decide.fuzzy.components import find_components
from gristmill.pipelines.decide.fuzzy.history import MET, History, Meetings
from gristmill.pipelines.decide.fuzzy.keys import KEYS, KEYS_FACTOR, send_keys
from gristmill.pipelines.decide.fuzzy.pairs import PAIRS
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.similarity import Evidence
from gristmill.pipelines.decide.fuzzy.survivors import MEMBER_FACTOR, Settled, Settlement, gathered_schema
from gristmill.pipelines.decide.fuzzy.verification import PairSample, Verification, evidence_schema
from gristmill.pipelines.decide.shards import Survivors
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for
from gristmill.pipelines.storage import files


def resolve(
    parameters: Parameters,
    evidence: Evidence,
    survivors: Survivors,
    engine: Engine,
    folder: str,
    history: History | None = None,
) -> Clusters:
    """Find the clusters among all shards' documents, and the survivors of each; files go to `folder`.

    Documents whose signature is null are in no cluster. Candidates are compared by `evidence`; without
    verification it only says how similar a document is to the survivor of its cluster. Documents that `history` holds
    are compared too, with those of `survivors`, and always survive.
    """
    candidates = _find_candidates(parameters, survivors, engine, folder, history)
    ordinals = candidates.ordinals
    earlier = frozenset(ordinals.tolist()) - frozenset(candidates.senders.tolist())
    if history is not None and earlier:
        met = [history.shard(ordinal, parameters.column) for ordinal in sorted(earlier)]
        survivors = Survivors([*survivors.shards, *met], survivors.documents)
    edges = Exchange(files.join(folder, "edges"), 1, PAIRS)
    if parameters.verified:
        pairs = Exchange(files.join(folder, "pairs"), len(ordinals), PAIRS)
        smaller = Exchange(files.join(folder, "smaller"), len(ordinals), evidence_schema(evidence))
        verification = Verification(evidence, parameters.threshold, candidates, pairs, smaller, edges)
        compared, alike, sample = _verify(verification, survivors, engine)
    else:
        compared = alike = sum(run_all(engine, partial(candidates.connect, edges), survivors.shards))
        sample = PairSample.merge([])
    candidates.remove()
    members = find_components(ordinals, edges, alike, parameters.edge_budget, engine, folder)
    edges.remove()
    reach = parameters.threshold if parameters.verified else -math.inf
    partitions = partitions_for(members.documents, weight=MEMBER_FACTOR)
    gathered = Exchange(files.join(folder, "gathered"), partitions, gathered_schema(evidence))
    settled = Exchange(files.join(folder, "settled"), len(ordinals), CLUSTERED)
    settlement = Settlement(evidence, reach, parameters.keep, ordinals, members, gathered, settled, earlier)
    total = _settle(settlement, survivors, engine)
    return Clusters(
        ordinals=ordinals,
        settled=settled.merged(range(partitions), engine),
        partitions=partitions,
        candidates=compared,
        edges=alike,
        clusters=total.sizes.total(),
        dropped=total.dropped,
        largest=total.largest,
        sizes=total.sizes,
        sample=sample,
    )


def _find_candidates(
    parameters: Parameters, survivors: Survivors, engine: Engine, folder: str, history: History | None
) -> CandidatePairs:
    senders = np.array(sorted(shard.ordinal for shard in survivors.shards), np.int64)
    partitions = partitions_for(parameters.bands * survivors.documents, len(senders), KEYS_FACTOR)
    keys = Exchange(files.join(folder, "keys"), partitions, KEYS)
    copies = Exchange(files.join(folder, "copies"), 1, PAIRS)
    sum(run_all(engine, partial(send_keys, parameters, keys, copies), survivors.shards))
    keys = keys.merged(senders.tolist(), engine)
    ordinals, meetings = senders, None
    if history is not None and history.generations:
        met = Exchange(files.join(folder, "met"), 1, KEYS)
        most = MET if parameters.verified else 1
        meetings = Meetings(history.generations, keys, tuple(senders.tolist()), met, most)
        shards = set().union(*run_all(engine, meetings.find, range(partitions)))
        ordinals = np.array(sorted({*shards, *senders.tolist()}), np.int64)
    pairs = Exchange(files.join(folder, "candidates"), len(ordinals), PAIRS)
    candidates = CandidatePairs(ordinals, senders, keys, copies, pairs, parameters.verified, meetings)
    sum(run_all(engine, candidates.find, range(partitions)))
    keys.remove()  # the largest of all files
    return replace(candidates, found=pairs.merged(range(partitions), engine))


def _verify(verification: Verification, survivors: Survivors, engine: Engine) -> tuple[int, int, PairSample]:
    """Compare all candidates; return how many there are, how many are similar, and a sample of them."""
    compared = sum(run_all(engine, verification.attach, survivors.shards))
    senders = verification.candidates.ordinals.tolist()
    pairs, smaller = (sent.merged(senders, engine) for sent in (verification.pairs, verification.smaller))
    verification = replace(verification, pairs=pairs, smaller=smaller)
    alike, sample = 0, PairSample.merge([])
    for verified in run_all(engine, verification.verify, survivors.shards):
        alike, sample = alike + verified.edges, PairSample.merge([sample, verified.sample])
    verification.remove()
    return compared, alike, sample


def _settle(settlement: Settlement, survivors: Survivors, engine: Engine) -> Settled:
    """Settle all components; return the results of the partitions, added up."""
    sum(run_all(engine, settlement.send, survivors.shards))
    settlement = replace(settlement, gathered=settlement.gathered.merged(settlement.ordinals.tolist(), engine))
    total = Settled(0, (), Counter())
    for result in run_all(engine, settlement.settle, range(settlement.gathered.partitions)):
        most = largest([*total.largest, *result.largest])
        total = Settled(total.dropped + result.dropped, most, total.sizes + result.sizes)
    settlement.remove()
    return total

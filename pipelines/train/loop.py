"""`gristmill loop`: have texts labelled, make a student, choose by it what to label next, and again.

Two sides run beside each other: one whose texts a sampler chooses, and one with as many drawn at random, which the
sampler must beat. Both begin with the same random texts and are tested with others, drawn before. A text that both
want is asked about once. The student that comes out learns from all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import GaveUp, RecipeError
from gristmill.operators.label.answers import Choice, Multi, Scale
from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.student.features import Floats, Ngrams
from gristmill.operators.student.linear import Student, fit
from gristmill.operators.student.samplers import SAMPLERS, TAKE_VECTORS, Places, TextPool
from gristmill.pipelines.config.wording import did_you_mean, plural
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.backends import OpenAsker, open_asker
from gristmill.pipelines.label.documents import Documents
from gristmill.pipelines.label.result import Confirm
from gristmill.pipelines.label.run import label_chosen
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.train.distil import Options, distil, prepared
from gristmill.pipelines.train.examples import examples_of_task
from gristmill.pipelines.train.loop_figures import Tested, compared
from gristmill.pipelines.train.loop_report import markdown, plot
from gristmill.pipelines.train.loop_state import FIRST, RANDOM, SAMPLED, TEST, LoopState, choice_of
from gristmill.pipelines.train.split import Examples
from gristmill.pipelines.train.text_pool import Judges, Looks, LoopTexts

#: Share of the texts to be labelled that both sides are tested with.
TEST_SHARE = 0.2
#: Texts of the first round, at least.
LEAST_FIRST = 100
RANDOM_SAMPLER = "random"
_SIDES = {SAMPLED: (FIRST, SAMPLED), RANDOM: (FIRST, RANDOM)}
_SURE_STRENGTH = 1.0


@dataclass(frozen=True)
class LoopOptions:
    """Options of a loop."""

    rounds: int = 3
    budget: int = 3000  #: texts to be labelled in all rounds together, those to test with among them
    sampler: str = "uncertainty"
    label: str | None = None  #: the label that is looked for: its F1 is told, and the bandit's reward is to find it
    gold: str | None = None  #: the annotator who is right
    method: str = "mean"  #: how the answers of several annotators are aggregated
    pool: int = 100_000  #: texts that are looked at to choose from, drawn at random
    seed: int = 0

    def check(self) -> None:
        """Raise RecipeError where they make no sense."""
        samplers = [*SAMPLERS, RANDOM_SAMPLER]
        if self.sampler not in samplers:
            raise RecipeError(f"there is no sampler {self.sampler}{did_you_mean(self.sampler, samplers)}")
        least = round(LEAST_FIRST * self.rounds / (1 - TEST_SHARE))
        if self.rounds < 1 or self.budget < least:
            raise RecipeError(
                f"{plural(self.rounds, 'round')} and a budget of {self.budget:,} texts do not go together: the first "
                f"round takes {LEAST_FIRST} texts or more, and as many each of the others, so give {least:,} or more"
            )
        if self.pool < self.budget:
            raise RecipeError(f"a pool of {self.pool:,} texts has no {self.budget:,} to label; make it larger")


class LoopResult(NamedTuple):
    """Result of a loop."""

    rounds: Sequence[Mapping[str, Any]]  #: the figures of each round
    student: Mapping[str, Any] | None  #: the report on the student; None where somebody said not to go on
    reached: str | None  #: the ceiling of the task's budget that ended the loop

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {"rounds": list(self.rounds), "student": self.student, "reached": self.reached}


def loop(
    loaded: LoadedTask,
    store_url: str,
    documents: Documents,
    out: str,
    options: LoopOptions,
    engine: Engine,
    reporter: Reporter,
    confirm: Confirm,
    source: Mapping[str, Any],
    opener: OpenAsker = open_asker,
) -> LoopResult:
    """Label, learn and choose in rounds; write the student to `out` and its figures beside it.

    What a round chose is kept before it is asked, and answers as they come: a loop that was ended goes on where it was.
    Raises RecipeError where options or documents do not fit, GaveUp where texts are left without an answer.
    """
    options.check()
    _check_label(loaded, options.label)
    begun = {
        "task": loaded.fingerprint,
        "store": store_url,
        **{name: getattr(options, name) for name in ("sampler", "label", "gold", "method", "pool", "seed")},
    }
    texts = LoopTexts.of(documents, options.pool, options.seed, engine)
    if len(texts.keys) < options.budget:
        raise RecipeError(f"there are {len(texts.keys):,} different texts; a budget of {options.budget:,} takes more")
    state = LoopState.open(out, begun)
    running = _Loop(loaded, store_url, texts, options, state, reporter)
    ask = partial(label_chosen, loaded, store_url, reporter=reporter, confirm=confirm, opener=opener, source=source)
    rows: list[Mapping[str, Any]] = []
    reached = None
    for number in range(1, options.rounds + 1):
        chosen = state.choice(number)
        if chosen is None:
            chosen = state.write_choice(number, running.choose(number))
        keys = {*chosen[CONTENT_ID].to_pylist()}
        mask = texts.masked(keys)
        if gone := len(keys) - int(mask.sum()):
            reporter.warn(f"! of round {number}, {plural(gone, 'text')} left out: not among the documents any more")
        asked = ask(texts.documents.filter(mask), len(texts.keys))
        if asked.declined:
            return LoopResult(rows, None, None)
        reached = asked.reached
        if not asked.complete and reached is None:
            lost = next(annotator for annotator in asked.annotators if annotator.unanswered)
            raise GaveUp(
                f"round {number}: {plural(lost.unanswered, 'text')} of {lost.texts:,} have no answer of "
                f"{lost.annotator} ({lost.first_failure}); run the same command again to go on from here"
            )
        figures = state.figures(number)
        if figures is not None:
            reporter.say(f"  round {number}  is known: {figures['asked']:,} texts so far")
        else:
            figures = running.figures(number)
            if asked.complete:
                state.write_figures(number, figures)
        rows.append(figures)
        state.write_pages(markdown(rows, options.sampler), plot(rows, options.sampler))
        if reached is not None:
            break
    return LoopResult(rows, running.student(len(rows), out), reached)


class _Labelled(NamedTuple):
    """The labels after a round."""

    parts: Mapping[str, Sequence[bytes]]  #: content ids that were chosen so far, by part
    examples: Examples  #: with an answer, of all parts


class _Learnt(NamedTuple):
    """One side after a round."""

    examples: Examples
    judges: Judges
    wrong: float  #: share of its labels that seem wrong


@dataclass(frozen=True)
class _Loop:
    """A loop over a pool of texts."""

    loaded: LoadedTask
    store: str
    texts: LoopTexts
    options: LoopOptions
    state: LoopState
    reporter: Reporter
    labelled: dict[int, _Labelled] = field(default_factory=dict)  #: by round, what is known already
    learnt: dict[tuple[int, str], _Learnt] = field(default_factory=dict)  #: by round and side, likewise

    def choose(self, number: int) -> pa.Table:
        """Return what a round is to ask about: see `CHOSEN`."""
        earlier = self._parts(number - 1)
        labelled = {key for keys in earlier.values() for key in keys}
        if number == 1:
            tested = round(TEST_SHARE * self.options.budget)
            n = (self.options.budget - tested) // self.options.rounds
            return choice_of({TEST: self.texts.keys[:tested], FIRST: self.texts.keys[tested : tested + n]}, {})
        n = max(0, self.options.budget - len(labelled)) // (self.options.rounds - number + 1)
        if self.options.sampler == RANDOM_SAMPLER:
            return choice_of({RANDOM: self._at_random(earlier, n)}, {})
        looks, places = self._sampled(number, earlier, n - n // 2)
        sampled = [self.texts.keys[place] for place in places.tolist()]
        foretold = {key: looks.shares[self.texts.places[key]].tolist() for key in sampled}
        return choice_of({SAMPLED: sampled, RANDOM: self._at_random(earlier, n // 2)}, foretold)

    def figures(self, number: int) -> dict[str, Any]:
        """Return what the sides are worth after a round."""
        parts, examples = self._labelled(number)
        tested = Tested.of(examples.take(self._of(examples, parts, (TEST,))), self._wanted(examples), self.options.seed)
        shares, row = {}, {"round": number, "asked": len({key for keys in parts.values() for key in keys})}
        for side in [SAMPLED, RANDOM] if parts[SAMPLED] else [RANDOM]:
            learnt = self._learnt(number, side)
            shares[side] = learnt.judges.shares(tested.examples.texts)
            row[f"{side}_labels"] = len(learnt.examples.ids)
        return row | compared(tested, shares)

    def student(self, rounds: int, out: str) -> dict[str, Any]:
        """Make the student of all labels of the task; return the report on it."""
        parts = self._parts(rounds)
        known = LabelStore(self.store, self.loaded.fingerprint).rows(columns=("answer",))[CONTENT_ID].to_pylist()
        examples = self._examples({**parts, "before": known})
        tested = examples.take(self._of(examples, parts, (TEST,)))
        taught = self._taught(examples, {**parts, "before": known}, (FIRST, SAMPLED, RANDOM, "before"))
        return distil(taught, out, self.reporter, Options(seed=self.options.seed), tested)

    def _parts(self, rounds: int) -> dict[str, list[bytes]]:
        """Return the content ids that were chosen in all rounds up to one, by part."""
        parts: dict[str, list[bytes]] = {TEST: [], FIRST: [], SAMPLED: [], RANDOM: []}
        for number in range(1, rounds + 1):
            chosen = self.state.choice(number)
            assert chosen is not None
            for key, part in zip(*(chosen[name].to_pylist() for name in (CONTENT_ID, "part")), strict=True):
                parts[part].append(key)
        return parts

    def _foretold(self, rounds: int) -> dict[bytes, list[float]]:
        """Return what students said of texts before they were labelled."""
        tables = [self.state.choice(number) for number in range(1, rounds + 1)]
        pairs = (
            zip(table[CONTENT_ID].to_pylist(), table["foretold"].to_pylist(), strict=True)
            for table in tables
            if table is not None
        )
        return {key: shares for table in pairs for key, shares in table if shares is not None}

    def _at_random(self, earlier: Mapping[str, Sequence[bytes]], n: int) -> list[bytes]:
        """Return the next n texts in the order of the pool, whatever the sampler has chosen of them."""
        drawn = {*earlier[TEST], *earlier[FIRST], *earlier[RANDOM]}
        return [key for key in self.texts.keys if key not in drawn][:n]

    def _sampled(self, number: int, earlier: Mapping[str, Sequence[bytes]], n: int) -> tuple[Looks, Places]:
        """Return what the student of the sampler's side says of the pool, and the places of n texts that are chosen."""
        sampler = self.options.sampler
        learnt = self._learnt(number - 1, SAMPLED)
        looks = self.texts.look(learnt.judges, sampler in TAKE_VECTORS, self.reporter, f"round {number} look")
        targets = np.full(looks.shares.shape, np.nan)
        places = np.array([self.texts.places[key] for key in _keys(learnt.examples)], np.int64)
        targets[places] = learnt.examples.targets
        pool = TextPool(
            self.texts.noise,
            self.texts.masked([*earlier[TEST], *earlier[FIRST], *earlier[SAMPLED]]),
            looks.shares,
            learnt.examples.exclusive,
            looks.sure,
            targets,
            self._rewards(targets, self._wanted(learnt.examples), self._foretold(number - 1)),
            learnt.wrong,
            looks.vectors,
        )
        return looks, SAMPLERS[sampler](pool, n)

    def _rewards(self, targets: Floats, wanted: int | None, foretold: Mapping[bytes, Sequence[float]]) -> Floats:
        """Return what it was worth to label each text (n), NaN where it is not known.

        That is the probability that it has the wanted label, or else that of an answer that the student did not expect.
        """
        if wanted is not None:
            return targets[:, wanted]
        expected = np.full(targets.shape, np.nan)
        for key, shares in foretold.items():
            if key in self.texts.places:
                expected[self.texts.places[key]] = shares
        rewards: Floats = np.abs(targets - expected).max(axis=1)
        return rewards

    def _labelled(self, number: int) -> _Labelled:
        """Return the labels after a round."""
        if number not in self.labelled:
            parts = self._parts(number)
            self.labelled[number] = _Labelled(parts, self._examples(parts))
        return self.labelled[number]

    def _examples(self, parts: Mapping[str, Sequence[bytes]]) -> Examples:
        """Return the examples of content ids."""
        texts = self.texts.read({key for keys in parts.values() for key in keys})
        return examples_of_task(self.loaded, self.store, self.options.method, self.options.gold, texts=texts)

    def _taught(self, examples: Examples, parts: Mapping[str, Sequence[bytes]], names: Sequence[str]) -> Examples:
        """Return the examples of some parts, without those to test with; those that were drawn at random are marked."""
        drawn = {key for name in (FIRST, RANDOM) if name in names for key in parts[name]}
        tested = self._of(examples, parts, (TEST,))
        some = examples.take(np.setdiff1d(self._of(examples, parts, names), tested))
        return replace(some, at_random=np.array([key in drawn for key in _keys(some)], np.bool_))

    def _of(self, examples: Examples, parts: Mapping[str, Sequence[bytes]], names: Sequence[str]) -> NDArray[np.int64]:
        """Return the places of the examples of some parts."""
        wanted = {key for name in names for key in parts[name]}
        return np.array([i for i, key in enumerate(_keys(examples)) if key in wanted], np.int64)

    def _wanted(self, examples: Examples) -> int | None:
        """Return the place of the label that is looked for."""
        return None if self.options.label is None else examples.labels.index(self.options.label)

    def _learnt(self, number: int, side: str) -> _Learnt:
        """Return what one side has learnt from its texts after a round."""
        side = side if number > 1 else RANDOM  # they begin alike
        if (number, side) in self.learnt:
            return self.learnt[number, side]
        parts, examples = self._labelled(number)
        mine = self._taught(examples, parts, _SIDES[side])
        tested = examples.take(self._of(examples, parts, (TEST,)))
        options = Options(seed=self.options.seed)
        lesson, correction = prepared(mine, tested, options, self.reporter)
        with self.reporter.stage(f"round {number} {side}", len(lesson.settings), "fit") as stage:
            _, fitted, calibration = lesson.best(options.method, options.calibrate_by, stage.advance)
        ngrams = Ngrams(options.ngram, options.buckets)
        wrong = 0.0 if correction.report is None else float(correction.report["wrong"])
        judges = Judges(fitted.student, calibration, _judge_of_sureness(mine, ngrams), mine.labels)
        self.learnt[number, side] = _Learnt(mine, judges, wrong)
        return self.learnt[number, side]


def _judge_of_sureness(examples: Examples, ngrams: Ngrams) -> Student | None:
    """Return a student of how sure annotators are of their answers; None where they are of all alike."""
    targets = examples.targets
    sure = targets.max(axis=1) if examples.exclusive else np.maximum(targets, 1 - targets).mean(axis=1)
    if sure.min() == sure.max():
        return None
    counts = ngrams.occurrences(examples.texts)
    rarity = counts.rarity(ngrams.buckets)
    rows = counts.rows(rarity)
    return fit("multi", ["sure"], ngrams, rows, rarity, sure[:, None], _SURE_STRENGTH).student


def _check_label(loaded: LoadedTask, label: str | None) -> None:
    """Raise RecipeError for an answer that has no labels, or a label that it has not."""
    answer = loaded.task.answer
    labels = [*(answer.choice if isinstance(answer, Choice) else answer.multi if isinstance(answer, Multi) else ())]
    if not labels and not isinstance(answer, Scale):
        raise RecipeError(f"{loaded.name}: its answers are no labels; a loop takes choice, scale or multi")
    if label is not None and label not in labels:
        hint = did_you_mean(label, labels) if labels else "; its answers are numbers"
        raise RecipeError(f"{loaded.name} has no label {label}{hint}")


def _keys(examples: Examples) -> list[bytes]:
    """Return the content ids of examples."""
    return content_ids(examples.texts).to_pylist()  # type: ignore[no-any-return]

"""The recipe whose limits can be moved: held in the background from when its page is first opened."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.html.cuts import MeasureCut
from gristmill.pipelines.html.histogram_chart import HistogramBars, bars_of, histogram_chart
from gristmill.pipelines.html.spreads import Spread
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.live_what_if import LiveAnswer, LiveWhatIf, MovableLimit
from gristmill.pipelines.versions.histograms import Histogram, is_number, total

#: Documents that histograms are made of, about.
LOOKED_AT = 2_000_000
#: Share of the progress that holding the documents takes; the rest is for the histograms.
_HOLDING = 0.85


@dataclass(frozen=True)
class LimitSlider:
    """A limit on the page: its slider goes from one end of the histogram to the other."""

    limit: MovableLimit
    low: float
    high: float
    log: bool
    chart: Markup | None  #: None for a quantile, and for a column without values

    def place(self, number: float) -> int:
        """Return the place of a number on the slider, from 0 to 1000."""
        return round(1000 * self._axis(number))

    def _axis(self, number: float) -> float:
        low, high, at = (math.log(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, number))
        return min(1.0, max(0.0, (at - low) / (high - low))) if high > low else 0.0


@dataclass(frozen=True)
class HeldState:
    """State of the recipe: ready with an answer, under way with a share, or failed."""

    share: float = 0.0
    live: LiveWhatIf | None = None  #: where it is ready
    base: LiveAnswer | None = None  #: with no limit moved
    sliders: Sequence[LimitSlider] = ()
    seconds: float = 0.0  #: that the preparation took
    error: str = ""


class HeldRecipe:
    """A recipe that is held once it is asked for. Thread-safe."""

    def __init__(self, recipe: str) -> None:
        self.recipe = recipe
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._state = HeldState()

    def state(self) -> HeldState:
        """Return how far it is; the first call begins the work."""
        with self._lock:
            if self._thread is None:
                self._begin()
            return self._state

    def again(self) -> None:
        """Read the store again, unless that is under way."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                if self._state.live is not None:
                    self._state.live.close()
                self._begin()

    def _begin(self) -> None:
        self._state = HeldState()
        self._thread = threading.Thread(target=self._prepare, name="gristmill-what-if", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        began = time.monotonic()
        try:
            live = LiveWhatIf(load_recipe(self.recipe), LocalEngine())
            base = live.prepare(Reporter(quiet=True), lambda share: self._tell(_HOLDING * share))
            sliders = self._sliders(live)
            self._state = HeldState(1.0, live, base, sliders, time.monotonic() - began)
        except (GristmillError, OSError) as error:
            self._state = HeldState(error=str(error))

    def _tell(self, share: float) -> None:
        self._state = HeldState(share)

    def _sliders(self, live: LiveWhatIf) -> list[LimitSlider]:
        numbers: dict[str, list[float]] = {}
        for each in live.limits:
            if not each.is_quantile:
                numbers.setdefault(each.limit.column, []).append(float(each.number))
        bars: dict[str, HistogramBars | None] = {}
        for i, (column, limits) in enumerate(numbers.items(), 1):
            bars[column] = bars_of(_spread(live, column), limits)
            self._tell(_HOLDING + (1 - _HOLDING) * i / len(numbers))
        return [_slider(each, bars.get(each.limit.column)) for each in live.limits]


def _spread(live: LiveWhatIf, column: str) -> Spread:
    before, after = [], []
    for values, kept in live.sampled(column, LOOKED_AT):
        if not is_number(values.type):
            break
        before.append(Histogram.of(values))
        after.append(Histogram.of(values.filter(kept)))
    return Spread(total(before), total(after))


def _slider(limit: MovableLimit, bars: HistogramBars | None) -> LimitSlider:
    if limit.is_quantile:
        return LimitSlider(limit, 0.0, 1.0, False, None)
    number = float(limit.number)
    if bars is None:
        return LimitSlider(limit, min(0.0, 2 * number), max(1.0, 2 * number), False, None)
    cut = MeasureCut(limit.rule, limit.limit.column, limit.limit.sign, number, limit.number)
    chart = histogram_chart(bars, [cut], f"{limit.limit.column} of documents, kept and dropped, and the limit")
    return LimitSlider(limit, float(bars.edges[0]), float(bars.edges[-1]), bars.log, chart)


def check_recipe(recipe: str, store: str) -> None:
    """Raise RecipeError for a recipe that cannot be read, or writes to another store than the one that is shown."""
    loaded = load_recipe(recipe)
    if loaded.store.rstrip("/") != store.rstrip("/"):
        raise RecipeError(
            f"{recipe} writes to {loaded.store}, and what is shown is {store}; add --store {loaded.store}"
        )

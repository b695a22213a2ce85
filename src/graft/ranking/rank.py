"""Rank pretrained models on the user's own rows, with uncertainty and cost."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.core.errors import BudgetError, DataError, GraftError, UsageError
from graft.core.ragged import cut
from graft.core.registry import SCORES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress, silent
from graft.core.types import Dataset, Features, ModelSpec, Ranking, RankRow
from graft.data.crops import of_crops
from graft.data.sentences import SentenceRows, by_words
from graft.nn.bootstrap import DECIDERS, bootstrap, interval
from graft.ranking.compare import Measured, differences, order, sentences
from graft.ranking.probe import deal_folds, fold_count, held_out

if TYPE_CHECKING:
    from graft.core.store import Store

DEFAULT_SCORES = ("logme", "h_score", "leep", "nce")
SCORED_ROWS = 2000  # rows the transferability scores look at
HALVES = 30  # half-samples for their intervals
CUT_OUT = (
    "sources are ranked by how well they tell objects, cut out, from each other and from the background (macro F1)"
)
WORDS = 12_000  # words of a tagging that are looked at: they are the rows of the probe
COVERAGE_ROWS = 200  # rows shown to the candidate to see whether it can read the data

Extract = Callable[[Any, Dataset], Features]


def rank(
    specs: Sequence[ModelSpec | str],
    dataset: Dataset,
    *,
    by: str = "probe",
    scores: tuple[str, ...] = DEFAULT_SCORES,
    seed: int = 0,
    level: float = 0.9,
    limit_rows: int | None = None,
    clock: Clock | None = None,
    extract: Extract | None = None,
    store: Store | None = None,
    any_script: bool = False,
    progress: Progress = silent,
) -> Ranking:
    """Rank candidate sources by how well they carry over to a labelled data set.

    ``probe`` is the task's metric of a ridge probe on the best layers, ``probe_last`` on the last layer, both
    cross-validated (5 folds, 3 from 1000 rows) with every choice inside the training folds; intervals are bootstrap
    percentiles over rows or groups.  LogME, H-score, LEEP and NCE are computed on at most 2000 rows.  A bootstrap would
    repeat rows, and repeated rows flatter scores that are fitted to them; so their intervals are ± z standard
    deviations over 30 halves drawn without replacement, classes kept in proportion, whose spread equals that of the
    whole sample.  All candidates see the same folds, resamples and halves: comparisons are paired.

    A candidate that cannot be opened, cannot read the data or breaks is a row with its reason.

    Args:
        specs: Candidates, or their URIs.
        dataset: Labelled rows.
        by: The score that orders: ``"probe"``, ``"probe_last"`` or one of ``scores``.
        scores: Names of registered scores to compute beside the probe; those that do not fit the task are left out.
        seed: Seed of folds, resamples and halves.
        level: Coverage of the intervals.
        limit_rows: Look at no more rows than this, drawn with classes in proportion; None: all.
        clock: Candidates that are not reached in time are rows that say so.
        extract: ``extract(backbone, dataset) -> Features``; None: ``graft.features.extract``.
        store: Cache for the features; None: the default one.
        any_script: Rank sources whose vocabulary does not cover the data too.
        progress: Told what happens.

    Raises:
        DataError: The data has no labels, or fewer than four rows.
        UsageError: No candidates, or an unknown score.

    References:
        Shao & Wu (1989), A general theory for jackknife variance estimation, Annals of Statistics 17 (halves).
    """
    boxes = dataset.task.is_detection
    dataset = of_crops(dataset, seed) if boxes and dataset.y is not None else dataset
    scores = _checked(specs, dataset, by, scores)
    clock = clock or Clock()
    sample = dataset.select(_proportional(dataset, limit_rows, seed)) if limit_rows else dataset
    sample = _few_words(sample, seed)
    if dataset.task.is_tagging:
        extract = _word_extractor(sample, store, clock, progress)
    run = _Sample(
        sample, scores, seed=seed, level=level, clock=clock, extract=extract or _extractor(store, clock, progress)
    )
    run.any_script = any_script
    measured = []
    for index, spec in enumerate(specs):
        name = spec if isinstance(spec, str) else spec.name
        progress("rank", index / len(specs), name)
        measured.append(run.measure(spec))
    progress("rank", 1.0, f"{len(specs)} candidates")
    ordered = order(measured, by)
    size = len(sample) if sample.groups is None else len(np.unique(sample.groups))
    gaps = differences(ordered, by, level=level, size=size)
    separated = tuple(gap is not None and gap.better for gap in gaps)
    said = (CUT_OUT,) if boxes else ()
    return Ranking(tuple(one.row for one in ordered), by, separated, (*said, *sentences(ordered, by, gaps, level)))


class _Sample:
    """The rows, folds and halves that every candidate is measured on."""

    any_script = False

    def __init__(
        self, dataset: Dataset, scores: tuple[str, ...], *, seed: int, level: float, clock: Clock, extract: Extract
    ) -> None:
        assert dataset.y is not None
        # the rows of a tagging are its words; what counts, and is drawn, are sentences
        self.sentences = dataset if dataset.task.is_tagging else None
        dataset = dataset if self.sentences is None else by_words(dataset)
        assert dataset.y is not None
        self.dataset, self.y, self.task = dataset, dataset.y, dataset.task
        self.scores, self.seed, self.level, self.clock, self.extract = scores, seed, level, clock, extract
        self.fold = deal_folds(self.y, self.task, folds=fold_count(len(self.y)), seed=seed, groups=dataset.groups)
        self.scored = _proportional(dataset, SCORED_ROWS, seed)
        some = dataset.select(self.scored)
        self.halves = [_proportional(some, len(self.scored) // 2, seed + 1 + turn) for turn in range(HALVES)]

    def measure(self, candidate: ModelSpec | str) -> Measured:
        """Score one candidate; what goes wrong becomes its row's ``failure``."""
        from graft.sources.base import describe_model

        name = candidate if isinstance(candidate, str) else candidate.name
        spec = ModelSpec(name, name, self.task.modality) if isinstance(candidate, str) else candidate
        try:
            if self.clock.expired:
                return Measured(RankRow(spec, failure="not tried: the budget was used up"))
            spec = describe_model(candidate) if isinstance(candidate, str) else candidate
            return self._measure(spec)
        except GraftError as error:
            return Measured(RankRow(spec, failure=str(error)))
        except Exception as error:  # noqa: BLE001  (a candidate is someone else's code: its fault is a row, not ours)
            text = " ".join(str(error).split())[:300]
            return Measured(RankRow(spec, failure=f"{type(error).__name__}: {text}"))

    def _measure(self, spec: ModelSpec) -> Measured:
        from graft.sources.bands import of_channels
        from graft.sources.base import open_model
        from graft.sources.sides import of_sides

        backbone = of_channels(open_model(spec), self.dataset)
        rows = evenly_spaced(len(self.dataset), COVERAGE_ROWS)
        coverage = backbone.coverage(self.dataset.take(rows))
        if not (coverage.ok or self.any_script):
            return Measured(RankRow(spec, failure=coverage.reason or f"it can read {coverage.share:.0%} of the rows"))
        features = self.extract(of_sides(backbone, self.dataset), self.dataset)
        passed = len(
            getattr(features.values, "kept", features.values)
        )  # the pass may have covered more than the sample
        passed = passed if self.sentences is None else len(self.sentences)
        start = time.perf_counter()
        values, draws = self._probes(features)
        for name in self.scores:
            found = self._transferability(name, features)
            if found is not None:
                values[name], draws[name] = found
        return Measured(
            RankRow(
                spec,
                values,
                cost=features.seconds / max(1, passed),
                seconds=features.seconds,
                scoring_seconds=time.perf_counter() - start,
            ),
            draws,
        )

    def _probes(self, features: Features) -> tuple[dict[str, tuple[float, float, float]], dict[str, np.ndarray]]:
        values, draws = {}, {}
        groups = self.dataset.groups
        size = len(self.y) if groups is None else len(np.unique(groups))
        for name, layers in (("probe", "auto"), ("probe_last", "last")):
            outputs = held_out(features, self.y, self.task, self.fold, layers=layers, tick=self._tick)
            y, metric_of = self.y, DECIDERS[self.task.metric]
            if self.sentences is not None:
                assert self.sentences.y is not None
                y, groups, metric_of = self.sentences.y, self.sentences.groups, DECIDERS[self.sentences.task.metric]
                outputs = cut(outputs, self.sentences.X.counts[self.sentences.rows])  # type: ignore[attr-defined]
                size = len(y) if groups is None else len(np.unique(groups))
            metric = metric_of(y, outputs)
            value = float(metric(np.ones((1, len(y))))[0])
            draws[name] = bootstrap([metric], len(y), seed=self.seed, groups=groups)[:, 0]
            values[name] = interval(value, draws[name], level=self.level, size=size)
        return values, draws

    def _transferability(self, name: str, features: Features) -> tuple[tuple[float, float, float], np.ndarray] | None:
        """Interval and half-sample values, or None where the score does not fit the task or the source."""
        score = SCORES[name]
        on_probabilities = next(iter(inspect.signature(score).parameters)) == "probabilities"
        if on_probabilities and (features.probabilities is None or not self.task.is_classification):
            return None
        if on_probabilities and features.probabilities is not None:
            inputs = np.asarray(features.probabilities[features.rows[self.scored]])
        else:
            inputs = features.layer(-1, rows=self.scored)
        y = self.y[self.scored]
        try:
            value = float(score(inputs, y))
            draws = []
            for half in self.halves:
                self._tick()
                draws.append(float(score(inputs[half], y[half])))
        except DataError:
            return None
        return interval(value, np.asarray(draws), level=self.level, size=len(y)), np.asarray(draws)

    def _tick(self) -> None:
        if self.clock.expired:
            raise BudgetError("not finished: the budget was used up")


def _few_words(dataset: Dataset, seed: int) -> Dataset:
    """Of a tagging as many sentences as have ``WORDS`` words; every other data set as it is."""
    if not isinstance(dataset.X, SentenceRows):
        return dataset
    order = np.random.default_rng(seed).permutation(len(dataset))
    within = int((np.cumsum(dataset.X.counts[dataset.rows][order]) <= WORDS).sum())
    return dataset.select(np.sort(order[: max(4, within)]))


def _word_extractor(sentences: Dataset, store: Store | None, clock: Clock, progress: Progress) -> Extract:
    from graft.core.store import Store as Cache
    from graft.sources.aligned import WordStates
    from graft.word_features import word_features

    def extract(backbone: Any, dataset: Dataset) -> Features:
        del dataset  # the words of these sentences
        return word_features(WordStates(backbone), sentences, store=store or Cache(), clock=clock, progress=progress)

    return extract


def _extractor(store: Store | None, clock: Clock, progress: Progress) -> Extract:
    from graft.features import extract

    return lambda backbone, dataset: extract(backbone, dataset, store=store, clock=clock, progress=progress)


def _checked(specs: Sequence[Any], dataset: Dataset, by: str, scores: tuple[str, ...]) -> tuple[str, ...]:
    """The scores to compute, ``by`` among them."""
    if not specs:
        raise UsageError("there are no candidates to rank", hint="name one, or see graft models")
    if dataset.y is None:
        raise DataError(f"{dataset.name} has no labels to rank by")
    if len(dataset) < 4:
        raise DataError(f"{dataset.name} has {len(dataset)} rows", hint="ranking needs at least four")
    wanted = scores if by in ("probe", "probe_last", *scores) else (*scores, by)
    for name in wanted:
        SCORES[name]  # raises, naming the nearest
    return wanted


def _proportional(dataset: Dataset, limit: int, seed: int) -> np.ndarray:
    """At most ``limit`` positions, sorted, each class in proportion and none lost as long as there is room."""
    n = len(dataset)
    if n <= limit:
        return np.arange(n)
    assert dataset.y is not None
    order_ = np.random.default_rng(seed).permutation(n)
    if not dataset.task.is_classification:
        return np.sort(order_[:limit])
    y = dataset.y[order_]
    by_class = np.argsort(y, kind="stable")
    counts = np.bincount(y)[y[by_class]]
    place = np.arange(n) - np.searchsorted(y[by_class], y[by_class])  # 0, 1, 2 … within the class
    chosen = np.argsort((place + 0.5 * (place > 0)) / counts, kind="stable")[:limit]  # the first of each class first
    return np.sort(order_[by_class[chosen]])

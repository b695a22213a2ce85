"""Classical: TF-IDF, looks of words, pixels, log-mel statistics, table columns or weighted counts with a linear model.

The baseline every transfer has to beat.

Reference: Joachims (1998) for text; LIBLINEAR, Fan et al. (2008).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES, TRANSFERS
from graft.core.rows import evenly_spaced
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.splits import folds, holdout
from graft.nn.calibration import fit_temperature
from graft.nn.crf import CRF
from graft.nn.heads import to_outputs
from graft.nn.multilabel import fit_sigmoid
from graft.nn.ridge import fit_ridge
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.hand_features import HandTagger

NAMES = {
    "text": "TF-IDF + linear SVM",
    "image": "pixels + logistic regression",
    "audio": "log-mel statistics + logistic regression",
    "sequence": "k-mers + linear SVM",
    "series": "random kernels + ridge",
    "table": "columns + linear model",
    "counts": "weighted log counts + linear SVM",
}
SPARSE = {"text", "sequence", "counts"}  # modalities with many features, few of them in a row
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # of sequences, among which folds of the training rows choose
CHOOSING = 3_000  # rows of these folds at most
STRENGTH = {"text": 0.5, "sequence": 0.3, "image": 0.01, "audio": 0.1, "table": 1.0, "counts": 0.25}


@TRANSFERS.register("classical")
class Classical(BaseTransfer):
    """A linear model on the classical representation of the modality.

    Text takes a linear SVM on TF-IDF, sequences one on k-mers whose strength cross-validation chooses, sparse counts one on
    theirs, time series ridge regression on random kernels whose strength left-out rows choose, everything else logistic
    regression; regression takes ridge.  Class scores are turned into probabilities by a softmax temperature fitted on
    held-out rows.  Tagging takes a CRF on what words look like and stand beside.

    Args:
        C: Inverse strength of regularisation (scikit-learn's scale).  None: 0.5 for text, 0.01 for images, 0.1 for sounds, 1
            for tables, 0.25 for counts; chosen for sequences and series.
        max_rows: Rows used for training at most, so that memory stays flat; a seeded sample above it.
        seed: Seed of sample and solver.
    """

    label = "classical baseline"
    name = "classical"
    effort = "probe"
    kinds = ("classification", "regression", "tagging", "multilabel")
    simplicity = 1

    def __init__(self, *, C: float | None = None, max_rows: int = 100_000, seed: int = 0) -> None:
        self.C = C
        self.max_rows = max_rows
        self.seed = seed

    @classmethod
    def called(cls, task: Task) -> str:
        """The representation and the model by name."""
        if task.is_tagging:
            return "hand-made features + CRF"
        return NAMES[task.modality] if task.has_columns else f"{NAMES[task.modality].split(' + ')[0]} + ridge"

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if len(data) > self.max_rows:
            rows = np.random.default_rng(self.seed).choice(len(data), self.max_rows, replace=False)
            data = data.select(np.sort(rows))
        if data.task.is_tagging:
            self.tagger_, history = HandTagger.fit(data, setting, seed=self.seed)
            self.curve_ = history.points
            return
        self.vectors_ = MODALITIES[data.task.modality].vectors().fit(data)
        X = self.vectors_.transform(data)
        self.own_temperature_ = 1.0
        self._strength = self._chosen_strength(data, X)
        if data.task.is_classification:
            self.own_temperature_ = self._held_out_temperature(data, X)
        self.coef_, self.intercept_ = self._solve(X, data.y)
        if data.task.is_multilabel:
            slope, bias = self._held_out_sigmoid(data, X)
            self.coef_, self.intercept_ = self.coef_ * slope, self.intercept_ * slope + bias

    def _chosen_strength(self, data: Dataset, X: Any) -> float:
        """The strength that is asked for, or the usual one; of sequences that with the least error in three folds."""
        modality = data.task.modality
        if self.C is not None or modality != "sequence":
            return self.C if self.C is not None else STRENGTH.get(modality, 1.0)
        some = evenly_spaced(len(data), CHOOSING)
        self._strength, part = STRENGTH[modality], data.select(some)
        try:
            pairs = [pair for pair in folds(part, k=3, seed=self.seed) if len(np.unique(part.y[pair[0]])) > 1]
        except DataError:  # too few rows
            return self._strength
        errors = np.zeros(len(STRENGTHS))
        for place, self._strength in enumerate(STRENGTHS):
            for train, test in pairs:
                coef, intercept = self._solve(X[some[train]], part.y[train])
                scores, truth = np.asarray(X[some[test]] @ coef) + intercept, part.y[test]
                if data.task.is_classification:
                    weight = data.task.sample_weights(truth)
                    errors[place] += np.average(scores.argmax(axis=1) != truth, weights=weight) * len(test)
                elif data.task.is_multilabel:
                    errors[place] += ((scores > 0) != (truth > 0)).mean() * len(test)
                else:
                    errors[place] += np.square(scores[:, 0] - truth).sum()
        return STRENGTHS[int(errors.argmin())]

    def _held_out_temperature(self, data: Dataset, X: Any) -> float:
        """Softmax temperature from a model that has not seen the rows it is judged on; 1 where there are too few."""
        try:
            train, test = holdout(data, test=min(0.25, 10_000 / len(data)), seed=self.seed)
        except ValueError:  # too few rows per class to hold any out
            return 1.0
        if len(test) < 2 or len(np.unique(data.y[train])) < data.task.outputs:
            return 1.0
        coef, intercept = self._solve(X[train], data.y[train])
        return fit_temperature(np.asarray(X[test] @ coef) + intercept, data.y[test], prior=1)

    def _held_out_sigmoid(self, data: Dataset, X: Any) -> np.ndarray:
        """Slope and bias (2, C) that turn scores of each label into log-odds, from a model that has not seen the rows."""
        usual = (1.5, 0.0)
        try:
            train, test = holdout(data, test=min(0.25, 10_000 / len(data)), seed=self.seed)
        except ValueError:  # too few rows to hold any out
            return np.repeat(np.array(usual)[:, None], data.task.outputs, axis=1)
        coef, intercept = self._solve(X[train], data.y[train])
        return fit_sigmoid(np.asarray(X[test] @ coef) + intercept, data.y[test], start=usual, pull=1.0)

    def _solve(self, X: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, k) and intercepts (k,)."""
        if self.task_.modality in {"image", "audio", "series"}:  # whose numbers differ in spread
            mean, spread = X.mean(axis=0), X.std(axis=0).clip(1e-6)
            coef, intercept = (self._ridge if self.task_.modality == "series" else self._linear)((X - mean) / spread, y)
            return coef / spread[:, None], intercept - (mean / spread) @ coef
        return self._linear(X, y)

    def _ridge(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ridge regression on classes as 1 and -1, or on values, its strength chosen by predictions of rows left out."""
        targets = 2.0 * np.eye(self.task_.outputs)[y] - 1 if self.task_.is_classification else y
        targets = 2.0 * y - 1 if self.task_.is_multilabel else targets
        options = {} if self.C is None else {"strengths": (1 / self.C,)}
        found = fit_ridge(X, targets, weight=self.task_.sample_weights(y), **options)
        return found.coef, found.intercept

    def _linear(self, X: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim == 2:
            return self._each(X, y)
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.svm import LinearSVC

        C = self._strength
        if not self.task_.has_columns:
            model = Ridge(alpha=1.0 / C, solver="lsqr").fit(X, y)
            return model.coef_.reshape(-1, 1), np.asarray([model.intercept_])
        balanced = "balanced" if self.task_.metric == "macro_f1" else None
        if self.task_.modality in SPARSE:
            model = LinearSVC(C=C, class_weight=balanced, random_state=self.seed)
        else:
            model = LogisticRegression(C=C, class_weight=balanced, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last iterate is a valid baseline
            model.fit(X, y)
        return _all_classes(model, 2 if self.task_.is_multilabel else self.task_.outputs)

    def _each(self, X: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One linear model for each label against the rest; a label that all rows or none have is left at that."""
        coef, intercept = np.zeros((X.shape[1], y.shape[1])), np.where(y.mean(axis=0) > 0.5, 1.0, -1.0)
        for c in np.flatnonzero((y.min(axis=0) == 0) & (y.max(axis=0) == 1)):
            found = self._linear(X, y[:, c].astype(np.int64))
            coef[:, c], intercept[c] = found[0][:, 1], found[1][1]
        return coef, intercept

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        if self.task_.is_tagging:
            return self.tagger_.outputs(data.take())
        scores = np.asarray(self.vectors_.transform(data) @ self.coef_) + self.intercept_
        return to_outputs(scores, self.task_, self.own_temperature_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        if self.task_.is_tagging:
            return {}, {"weight": self.tagger_.weight, **self.tagger_.crf.arrays()}
        state, arrays = self.vectors_.state()
        own = {"coef": self.coef_, "intercept": self.intercept_, "temperature": np.asarray([self.own_temperature_])}
        return {"vectors": state}, {**own, **{f"vectors.{key}": value for key, value in arrays.items()}}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        if self.task_.is_tagging:
            self.tagger_ = HandTagger(arrays["weight"], CRF.from_arrays(arrays))
            return
        vectors = {key.removeprefix("vectors."): value for key, value in arrays.items() if key.startswith("vectors.")}
        self.vectors_ = MODALITIES[self.task_.modality].vectors().from_state(state["vectors"], vectors)
        self.coef_, self.intercept_ = arrays["coef"], arrays["intercept"]
        self.own_temperature_ = float(arrays["temperature"][0])


def _all_classes(model: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all classes: two columns for two classes, and a score far below the rest for a class never seen."""
    coef, intercept = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:
        coef, intercept = np.hstack([-coef, coef]), np.concatenate([-intercept, intercept])
    full = np.zeros((len(coef), count)), np.full(count, intercept.min() - 10.0)
    full[0][:, model.classes_], full[1][model.classes_] = coef, intercept
    return full

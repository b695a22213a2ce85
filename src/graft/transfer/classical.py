"""Classical: TF-IDF, pixels, log-mel statistics, table columns or weighted counts with a linear model.  The baseline every transfer has to beat.

Reference: Joachims (1998) for text; LIBLINEAR, Fan et al. (2008).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graft.core.registry import MODALITIES, TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset, Task
from graft.data.splits import holdout
from graft.nn.calibration import fit_temperature
from graft.nn.heads import to_outputs
from graft.transfer.base import BaseTransfer, Setting

NAMES = {
    "text": "TF-IDF + linear SVM",
    "image": "pixels + logistic regression",
    "audio": "log-mel statistics + logistic regression",
    "table": "columns + linear model",
    "counts": "weighted log counts + linear SVM",
}
SPARSE = {"text", "counts"}  # modalities with many features, few of them in a row
STRENGTH = {"text": 0.5, "image": 0.01, "audio": 0.1, "table": 1.0, "counts": 0.25}


@TRANSFERS.register("classical")
class Classical(BaseTransfer):
    """A linear model on the classical representation of the modality.

    Text takes a linear SVM on TF-IDF, sparse counts one on theirs, everything else logistic regression; regression takes ridge.  Class scores are
    turned into probabilities by a softmax temperature fitted on held-out rows.

    Args:
        C: Inverse strength of regularisation (scikit-learn's scale).  None: 0.5 for text, 0.01 for images, 0.1 for sounds, 1
            for tables, 0.25 for counts.
        max_rows: Rows used for training at most, so that memory stays flat; a seeded sample above it.
        seed: Seed of sample and solver.
    """

    label = "classical baseline"
    name = "classical"
    effort = "probe"
    simplicity = 1

    def __init__(self, *, C: float | None = None, max_rows: int = 100_000, seed: int = 0) -> None:
        self.C = C
        self.max_rows = max_rows
        self.seed = seed

    @classmethod
    def called(cls, task: Task) -> str:
        """The representation and the model by name."""
        return NAMES[task.modality] if task.is_classification else f"{NAMES[task.modality].split(' + ')[0]} + ridge"

    def _fit(self, data: Dataset, setting: Setting) -> None:
        del setting
        if len(data) > self.max_rows:
            rows = np.random.default_rng(self.seed).choice(len(data), self.max_rows, replace=False)
            data = data.select(np.sort(rows))
        self.vectors_ = MODALITIES[data.task.modality].vectors().fit(data)
        X = self.vectors_.transform(data)
        self.own_temperature_ = 1.0
        if data.task.is_classification:
            self.own_temperature_ = self._held_out_temperature(data, X)
        self.coef_, self.intercept_ = self._solve(X, data.y)

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

    def _solve(self, X: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, k) and intercepts (k,)."""
        if self.task_.modality in {"image", "audio"}:  # pixels and colours, means and changes have different spreads
            mean, spread = X.mean(axis=0), X.std(axis=0).clip(1e-6)
            coef, intercept = self._linear((X - mean) / spread, y)
            return coef / spread[:, None], intercept - (mean / spread) @ coef
        return self._linear(X, y)

    def _linear(self, X: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.svm import LinearSVC

        C = self.C if self.C is not None else STRENGTH[self.task_.modality]
        if not self.task_.is_classification:
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
        return _all_classes(model, self.task_.outputs)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        scores = np.asarray(self.vectors_.transform(data) @ self.coef_) + self.intercept_
        return to_outputs(scores, self.task_, self.own_temperature_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = self.vectors_.state()
        own = {"coef": self.coef_, "intercept": self.intercept_, "temperature": np.asarray([self.own_temperature_])}
        return {"vectors": state}, {**own, **{f"vectors.{key}": value for key, value in arrays.items()}}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
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

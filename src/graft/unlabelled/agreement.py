"""Criteria that read whether models agree on target rows: seeds of one method, or all methods that are compared."""

from __future__ import annotations

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import CRITERIA


@CRITERIA.register("agreement")
def agreement(runs: np.ndarray) -> float:
    """Estimate the target accuracy by the mean share of rows on which two of S runs (S, n_t, C) predict the same class.

    For runs that differ in their seeds alone and whose ensemble is calibrated, the expected disagreement is the expected
    error.  Methods without chance agree with themselves: give runs on resampled source rows then.

    Returns:
        Estimated accuracy in [0, 1].

    Raises:
        DataError: There are fewer than two runs.

    References:
        Jiang et al. (2022), Assessing generalization of SGD via disagreement, ICLR.

    Example:
        >>> import numpy as np
        >>> agreement(np.stack([np.eye(2), np.eye(2)[[0, 0]]]))  # they differ on one row of two
        0.5
    """
    runs = np.asarray(runs)
    count, rows, classes = runs.shape
    if count < 2:
        raise DataError("agreement needs two runs or more", hint="fit with another seed")
    votes = np.eye(classes)[runs.argmax(axis=2)].sum(axis=0)  # (n_t, C): for each row, runs by predicted class
    pairs = (votes * (votes - 1)).sum() / (rows * count * (count - 1))
    return float(pairs)


@CRITERIA.register("consensus")
def consensus(target_outputs: np.ndarray, consensus: np.ndarray) -> float:
    """Compute the share of rows where target outputs (n_t, C) predict the class that the mean of all models predicts.

    The mean of many models is mostly better than any of them, which makes it a judge that favours none.

    References:
        Hu, Luo, Liang & Foo (2024), Towards reliable model selection for unsupervised domain adaptation: an empirical study
        and a certified baseline, NeurIPS (there called EnsV).

    Example:
        >>> import numpy as np
        >>> consensus(np.eye(2), np.array([[0.6, 0.4], [0.6, 0.4]]))
        0.5
    """
    return float((np.argmax(target_outputs, axis=1) == np.argmax(consensus, axis=1)).mean())

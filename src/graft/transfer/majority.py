"""Majority: the answer that ignores the input.  What does not beat it has learned nothing.

Of a tagging the input that is ignored is all but the word itself: every word gets its most frequent tag, the baseline of
CoNLL-2003.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.ragged import cut, flat
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset
from graft.transfer.base import BaseTransfer, Setting


@TRANSFERS.register("majority")
class Majority(BaseTransfer):
    """Predict the class frequencies, or the mean, for every row; for every word those of its tags, O if it is unknown."""

    label = "majority class"
    name = "majority"
    effort = "probe"
    kinds = ("classification", "regression", "tagging", "multilabel")

    @classmethod
    def called(cls, task: Task) -> str:
        """The class, the tag of each word, or the mean."""
        if task.is_tagging:
            return "most frequent tag of each word"
        if task.is_multilabel:
            return "frequency of each label"
        return cls.label if task.is_classification else "mean of the labels"

    def _fit(self, data: Dataset, setting: Setting) -> None:
        del setting
        if data.task.is_tagging:
            self.words_, self.constant_ = _by_word(data)
        elif data.task.is_classification:
            self.constant_ = np.bincount(data.y, minlength=data.task.outputs) / len(data)
        else:
            self.constant_ = np.atleast_1d(data.y.mean(axis=0))

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        if self.task_.is_tagging:
            index = {word: number for number, word in enumerate(self.words_, 1)}
            sentences = [sentence.words for sentence in data.take()]
            places = np.array([index.get(word, 0) for words in sentences for word in words], np.int64)
            return cut(self.constant_[places], np.array([len(words) for words in sentences], np.int64))
        rows = np.tile(self.constant_, (len(data), 1))
        return rows if self.task_.has_columns else rows[:, 0]

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"words": self.words_} if self.task_.is_tagging else {}, {"constant": self.constant_}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.words_ = state.get("words", [])
        self.constant_ = arrays["constant"]


def _by_word(data: Dataset) -> tuple[list[str], np.ndarray]:
    """The words that are not always O, and how often each has each tag; the first row is that of all other words."""
    words = [word for sentence in data.take() for word in sentence.words]
    names, number = np.unique(np.array(words, dtype=object).astype(str), return_inverse=True)
    table = np.zeros((len(names), data.task.outputs))
    np.add.at(table, (number, flat(data.y).astype(np.int64)), 1)
    tagged = table[:, 1:].any(axis=1)
    table = table[tagged] / table[tagged].sum(axis=1, keepdims=True)
    return names[tagged].tolist(), np.vstack([np.eye(data.task.outputs)[:1], table])

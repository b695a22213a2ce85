"""Fill-in-the-blank prediction over time series (填充预测): spans of steps are hidden and filled in from the rest.

Idea: to fill a gap, a network must know what the series around it is of.  Helps when: there are many series of the field
and few labels.  Hurts when: series are smooth, so that a straight line fills gaps as well.
Reference: Zerveas et al. (2021), A transformer-based framework for multivariate time series representation learning.
"""

from __future__ import annotations

from typing import ClassVar

from graft.core.registry import OBJECTIVES
from graft.pretrain.masked_audio import MaskedAudio
from graft.pretrain.series import SeriesPretrain


@OBJECTIVES.register("masked-series")
class MaskedSeries(SeriesPretrain, MaskedAudio):
    """Fill in spans of eight steps; the loss is the squared error of what is hidden.

    The keywords are those of ``masked-audio``; ``length`` is not taken, and ``gap`` is ``"time"``.

    Example:
        >>> import numpy as np
        >>> from graft.data.load import load
        >>> from graft.pretrain.masked_series import MaskedSeries
        >>> waves = np.sin(np.arange(40) * np.linspace(0.2, 0.9, 20)[:, None])
        >>> made = MaskedSeries(encoder="cnn", size="tiny", epochs=1).fit(load(waves, modality="series", labelled=False))
        >>> [score["name"] for score in made.record_["scores"]]
        ['squared error of what is hidden']
    """

    name = "masked-series"
    label = "fill-in-the-blank prediction over series"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"series": ("transformer", "cnn", "lstm", "gru")}

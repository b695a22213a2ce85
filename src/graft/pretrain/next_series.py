"""Next-element prediction over time series (次序预测): a step is predicted from those before it.

Idea: to say how a series goes on, a network must know what made it.  Helps when: there are many series of the field and
few labels.  Hurts when: series are noise, or change so little that the last step says all that can be known.
Reference: Chung et al. (2019), An unsupervised autoregressive model for speech representation learning, for sounds.
"""

from __future__ import annotations

from typing import ClassVar

from graft.core.registry import OBJECTIVES
from graft.pretrain.next_audio import NextAudio
from graft.pretrain.series import SeriesPretrain


@OBJECTIVES.register("next-series")
class NextSeries(SeriesPretrain, NextAudio):
    """Predict the values k steps ahead; the loss is the mean of |x_t+k - W h_t| over steps and channels.

    The keywords are those of ``next-audio``; ``length`` is not taken.

    Example:
        >>> import numpy as np
        >>> from graft.data.load import load
        >>> from graft.pretrain.next_series import NextSeries
        >>> waves = np.sin(np.arange(40) * np.linspace(0.2, 0.9, 20)[:, None])
        >>> made = NextSeries(encoder="gru", size="tiny", epochs=1).fit(load(waves, modality="series", labelled=False))
        >>> made.backbone_.spec.modality
        'series'
    """

    name = "next-series"
    label = "next-element prediction over series"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"series": ("lstm", "gru", "cnn", "transformer")}

"""Word vectors (词向量): a word is known by the words around it.  Skip-gram or CBOW with negative sampling, by gensim.

Idea: words that stand in the same company get close vectors, and a row becomes the mean of its words.  Helps when: the
text of the field is large, labels are few, and everything must be cheap.  Hurts when: the order of words decides.
References: Mikolov et al. (2013), Distributed representations of words and phrases; Řehůřek & Sojka (2010) for gensim.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress, require
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.engine.objective import Batch, Loss, Objective
from graft.pretrain.base import BasePretrain, choose_encoder
from graft.pretrain.pairs import Pairs, above, counted
from graft.pretrain.words import Sentences, Words, write_words
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone, word_backbone
from graft.sources.scripts import join, main_script
from graft.sources.words import WordReader

JOB = 10_000  # words that gensim trains on at a time
SLOWEST = 1e-4  # rate at the end
MOST_EPOCHS = 50  # without --epochs: more brings nothing, however much time there is
SAVED = 60.0  # seconds between two checkpoints
NEAR = 5  # neighbours shown
ANALOGIES = (  # a is to b as c is to …
    ("man", "king", "woman"), ("france", "paris", "italy"), ("big", "bigger", "small"), ("go", "went", "come"),
    ("男人", "国王", "女人"), ("中国", "北京", "日本"),
)  # fmt: skip


class _Word2Vec(Objective):
    """-log σ(v_c · u_w) - log σ(-v_c · u_n) of a centre c, a word w near it and noise n; gensim minimises it."""

    def __init__(self, model: Any, backbone: NativeBackbone) -> None:
        super().__init__()
        self.model, self.backbone = model, backbone

    def scores(self, centre: np.ndarray, other: np.ndarray) -> np.ndarray:
        """v_c · u_o (N, K) of numbers of words."""
        product: np.ndarray = np.einsum("nkd,nkd->nk", self.model.wv.vectors[centre], self.model.syn1neg[other])
        return product

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        centre = batch["centre"].numpy()
        near, noise = (torch.from_numpy(self.scores(centre, batch[name].numpy())) for name in ("near", "noise"))
        return Loss((F.softplus(-near) + F.softplus(noise)).mean(dim=1))


@dataclass
class _State:
    """Where a training stands, after a whole pass over the rows; a killed one goes on from there."""

    path: Path
    signature: str
    rows: int = 0
    seconds: float = 0.0
    points: list[dict[str, float]] = field(default_factory=list)

    def save(self, model: Any) -> None:
        """Write vectors and random state beside the corpus."""
        _, keys, position, *_ = model.random.get_state()
        tensors = {"inner": model.wv.vectors, "outer": model.syn1neg, "keys": keys, "position": np.array([position])}
        facts = {"signature": self.signature, "rows": self.rows, "seconds": self.seconds, "points": self.points}
        waiting = self.path.with_suffix(".new")
        save_file(tensors, waiting, {"state": json.dumps(facts)})
        waiting.replace(self.path)

    def restore(self, model: Any) -> None:
        """Go back to what was saved; a file that does not fit is worth nothing."""
        if not self.path.exists():
            return
        try:
            with safe_open(self.path, framework="np") as file:
                facts = json.loads(file.metadata()["state"])
                if facts["signature"] != self.signature:
                    return
                inner, outer, keys, position = (file.get_tensor(k) for k in ("inner", "outer", "keys", "position"))
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            return
        model.wv.vectors[:], model.syn1neg[:] = inner, outer
        model.random.set_state(("MT19937", keys, int(position[0]), 0, 0.0))
        self.rows, self.seconds, self.points = facts["rows"], facts["seconds"], facts["points"]


@OBJECTIVES.register("vectors")
class Vectors(BasePretrain):
    """Word2Vec on the words of the rows; it writes a source and, beside it, ``vectors.txt`` in word2vec's form.

    The corpus is cut into words once and streamed from disk; one thread trains, so with ``epochs`` equal seeds give equal
    bytes.  A killed training goes on from the last pass that was saved and ends with the same bytes.  The score is the
    share of word pairs of held-out rows that the vectors rank above a pair with a random word of the same frequency.

    Args:
        encoder: ``"skipgram"`` or ``"cbow"``.
        unit: ``"word"`` (Chinese by jieba), ``"character"`` (Han characters one by one), or ``"auto"``: characters if
            the rows are mostly Chinese.
        dimension: Width of the vectors.
        window: Words on either side that count as near; for each word a number up to it is drawn.
        min_count: Words that occur less often are left out.
        vocabulary: Words at most, the most frequent ones.
        negative: Noise words per pair.
        epochs: Passes over the rows; None: as many as the time allows, at most 50, or 3 without a budget.
        lr: Rate at the beginning; it falls to 0.0001.
        seed: Seed of vectors, noise and of what is held out.

    Example:
        >>> from graft.pretrain.vectors import Vectors
        >>> rows = ["the red parcel is lost", "the blue parcel is lost", "my card is stolen"] * 20
        >>> made = Vectors(dimension=16, epochs=2).fit(rows)
        >>> [score["name"] for score in made.record_["scores"]]
        ['neighbours above random words']
    """

    name = "vectors"
    label = "word vectors"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"text": ("skipgram", "cbow")}
    words_: Words
    pairs_: Pairs

    def __init__(
        self,
        *,
        encoder: str | None = None,
        unit: str = "auto",
        dimension: int = 100,
        window: int = 5,
        min_count: int = 2,
        vocabulary: int = 200_000,
        negative: int = 5,
        epochs: float | None = None,
        lr: float = 0.025,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.unit = unit
        self.dimension = dimension
        self.window = window
        self.min_count = min_count
        self.vocabulary = vocabulary
        self.negative = negative
        self.epochs = epochs
        self.lr = lr
        self.seed = seed

    @property
    def _per_epoch(self) -> int:
        return max(1, math.ceil(self.words_.facts["train_words"] / JOB))

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        kind = choose_encoder(self.encoder, self.encoders["text"], self.label)
        cut = WordReader([], unit=self._unit(data), lower=True)
        models = require("gensim.models", extra="vectors")
        self.words_ = write_words(
            cut, data, folder, seed=self.seed, min_count=self.min_count, vocabulary=self.vocabulary, progress=progress
        )
        model = models.Word2Vec(
            vector_size=self.dimension,
            window=self.window,
            min_count=1,  # the rare ones are gone already
            sg=int(kind == "skipgram"),
            negative=self.negative,
            seed=self.seed,
            workers=1,
            batch_words=JOB,
            hashfxn=lambda text: zlib.crc32(text.encode()),  # Python's own differs from process to process
        )
        model.build_vocab_from_freq(dict(self.words_.counts), corpus_count=self.words_.facts["train_rows"])
        self.reader_ = WordReader(list(model.wv.index_to_key), unit=cut.unit, lower=True)
        self.often_ = np.array([self.words_.counts[word] for word in self.reader_.words], np.float64)
        self.often_ /= self.often_.sum()
        self.pairs_ = Pairs.draw(
            Sentences(self.words_.held_out),
            model.wv.key_to_index,
            self.often_,
            self.window,
            np.random.default_rng((self.seed, 4)),
        )
        if not len(self.pairs_):
            hint = "give more rows, or lower --min-count"
            raise DataError(f"no held-out row of {data.name} holds two known words: nothing can be measured", hint=hint)
        matrix = np.zeros((self.reader_.vocabulary, self.dimension), np.float32)
        backbone = word_backbone(self.reader_, matrix, ModelSpec("new:vectors", "vectors", "text"))
        # gensim reads the file itself: there are no batches to hand over
        return backbone, _Word2Vec(model, backbone), lambda epoch: [], self._per_epoch  # noqa: ARG005

    def _unit(self, data: Dataset) -> str:
        if self.unit not in ("auto", "word", "character"):
            raise UsageError(f"{self.label} have no unit {self.unit!r}", hint="use auto, word or character")
        some = data.take(evenly_spaced(len(data), 500))
        if main_script(" ".join(map(join, some))[:100_000]) != "Han":
            return "word"
        return "segmented" if self.unit == "word" else "character"

    def _train(
        self,
        objective: Objective,
        batches: Callable[[int], Iterable[Batch]],
        steps: int | None,
        clock: Clock,
        progress: Progress,
        folder: Path,
    ) -> History:
        del batches
        assert isinstance(objective, _Word2Vec)
        model, rows = objective.model, self.words_.facts["train_rows"]
        total = rows * MOST_EPOCHS if steps is None else max(1, round(rows * steps / self._per_epoch))
        state = _State(folder / "vectors.safetensors", json.dumps([self.get_params(deep=False), self.words_.facts]))
        state.restore(model)
        begun, saved = time.monotonic() - state.seconds, time.monotonic()

        def told(given: int) -> None:
            """Lower the rate by the share done; with a number of epochs the time that is left plays no part."""
            done = (state.rows + given) / total
            share = max(done, clock.share) if steps is None else done
            model.alpha = model.min_alpha = max(SLOWEST, self.lr * (1.0 - share))
            progress(self.label, max(done, clock.share), f"{state.rows + given:,} of {total:,} rows")

        while state.rows < total and not clock.expired:
            part = min(rows, total - state.rows)
            told(0)
            rate = model.min_alpha_yet_reached = model.alpha
            sentences = Sentences(self.words_.train, part, clock, told)
            model.train(sentences, total_examples=part, epochs=1, start_alpha=rate, end_alpha=rate)
            if sentences.failed is not None:
                raise sentences.failed
            state.rows += sentences.given
            state.seconds = time.monotonic() - begun
            state.points.append(self._point(objective, state, rows))
            if time.monotonic() - saved >= SAVED and not clock.expired:
                state.save(model)
                saved = time.monotonic()
        state.path.unlink(missing_ok=True)
        objective.backbone.body.get_parameter("embedding.weight").data[1:] = torch.from_numpy(model.wv.vectors)
        cut = steps is not None and state.rows < total
        return History(
            points=state.points,
            steps=round(self._per_epoch * state.rows / rows),
            planned=steps or 0,
            seconds=state.seconds,
            stopped="the time for this training was used up" if cut else "",
        )

    def _point(self, objective: _Word2Vec, state: _State, rows: int) -> dict[str, float]:
        """A point of the learning curve: the loss on held-out pairs."""
        pairs = {name: torch.from_numpy(getattr(self.pairs_, name)) for name in ("centre", "near", "noise")}
        return {
            "step": round(self._per_epoch * state.rows / rows),
            "epoch": state.rows // rows,
            "lr": objective.model.alpha,
            "seconds": round(state.seconds, 3),
            "loss": float(objective.loss(pairs, "model").total()),
        }

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, _Word2Vec)
        pairs, index = self.pairs_, objective.model.wv.key_to_index
        own = above(objective.scores(pairs.centre, pairs.near), objective.scores(pairs.centre, pairs.noise))
        simple = counted(Sentences(self.words_.train), index, self.often_, self.window, pairs)
        baselines = {
            "frequency": above(self.often_[pairs.near], self.often_[pairs.noise]),
            "counted pairs": above(*simple),
        }
        return [self._score("neighbours above random words", own, baselines, float, "share")]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, _Word2Vec)
        vectors = objective.model.wv
        words = [word for word in self.reader_.words if len(word) > 3 or main_script(word) == "Han"]
        ranks = np.unique(np.geomspace(min(10, len(words)), len(words), 16).astype(int) - 1)[:8] if words else []
        lines = [(words[rank], vectors.similar_by_word(words[rank], topn=NEAR)) for rank in ranks]
        for a, b, c in ANALOGIES:
            if all(word in vectors.key_to_index for word in (a, b, c)):
                lines.append((f"{b} − {a} + {c}", vectors.most_similar(positive=[b, c], negative=[a], topn=3)))
        return [
            {"kind": "neighbours", "text": f"{what}: {', '.join(f'{word} {value:.2f}' for word, value in close)}"}
            for what, close in lines
        ]

    def _facts(self) -> dict[str, Any]:
        facts = self.words_.facts
        tokens = {"train_tokens": facts["train_words"], "held_out_tokens": facts["held_out_words"]}
        return {**tokens, "vocabulary": len(self.words_.counts), "unit": self.reader_.unit}

    def _throughput(self, history: History) -> dict[str, float]:
        words = self.words_.facts["train_words"] * history.steps / self._per_epoch
        return {"words_per_second": round(words / history.seconds) if history.seconds else 0.0}

    def save(self, folder: str | Path) -> Path:
        """Write the source, ``pretrain.json`` and ``vectors.txt``."""
        folder = super().save(folder)
        assert isinstance(self.backbone_, NativeBackbone)
        matrix = self.backbone_.body.get_parameter("embedding.weight").detach().cpu().numpy()[1:]
        form = "%s" + " %.6g" * matrix.shape[1] + "\n"
        with (folder / "vectors.txt").open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.write(f"{len(matrix)} {matrix.shape[1]}\n")
            for word, row in zip(self.reader_.words, matrix, strict=True):
                file.write(form % (word, *row.tolist()))
        return folder

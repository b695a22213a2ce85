"""Finished runs with made-up scores, for tests of what is remembered of them."""

from graft.core.types import Run

NAMES = {"classical": None, "probe": "hf:a", "finetune": "hf:a", "scratch": None}


def past_trial(transfer, score, *, source="", seconds=1.0, state="done", **settings):
    """A row of ``Run.trials``; a source that is not given is the usual one of the transfer."""
    return {
        "transfer": transfer,
        "name": transfer,
        "source": (NAMES.get(transfer) if source == "" else source),
        "settings": settings,
        "state": state,
        "score": None if score is None else [score, score - 0.0164485, score + 0.0164485],  # a standard error of 0.01
        "seconds": seconds,
        "folds": 5,
    }


def past_run(fingerprint="f", scores=(), *, name=None, trials=(), **config):
    """A run with one trial per (transfer, score)."""
    rows = [past_trial("majority", 0.5), *(past_trial(*pair) for pair in dict(scores).items()), *trials]
    best = max((row for row in rows if row["score"]), key=lambda row: row["score"][0])
    return Run(
        config={"budget": "2m", "seed": 0, "version": "0.1.0"} | config,
        data={"fingerprint": fingerprint, "name": name or fingerprint, "rows": 100},
        answer={
            "metric": "accuracy", "trial": best["name"], "transfer": best["transfer"], "score": best["score"],
            "level": 0.9, "seconds": 75.0,
        },
        trials=rows,
    )  # fmt: skip


def task(modality="text", **numbers):
    """Statistics of a task; zero where nothing is said."""
    return {"kind": "classification", "modality": modality, "rows": 0.0, "classes": 0.0, "size": 0.0} | numbers

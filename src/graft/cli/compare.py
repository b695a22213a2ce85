"""``graft compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from graft.cli.app import Flag, Level, Natural, app

if TYPE_CHECKING:
    from graft.screen import Screen


@app.command
def compare(
    source: str,
    target: str,
    *,
    label: str | None = None,
    target_label: str | None = None,
    model: str | None = None,
    labels: Natural | None = None,
    level: Level = 0.9,
    seed: Natural = 0,
    encoding: str = "utf-8",
    language: Literal["en", "zh"] = "en",
    cache: bool = True,
    json: Flag = False,
) -> None:
    """Say how related two tasks or domains are, as numbers and in a sentence, before anything is trained.

    Distances of the inputs, alignment of columns and classes, words or columns
    in common, and the gain of learning for TARGET from SOURCE, measured where
    both have labels, and estimated from confidence where TARGET has none.

        graft compare books.csv kitchen.csv
        graft compare books.csv kitchen.csv --labels 50     what would 50 labels of kitchen gain?

    Parameters
    ----------
    source
        File or folder to learn from, with labels or without.
    target
        File or folder to learn for, of the same kind; its labels may be others.
    label
        Label column of SOURCE; found if not given.
    target_label
        Label column of TARGET; found if not given.
    model
        Pretrained source whose features are compared; plain for the rows themselves; the best within reach if not given.
    labels
        Labelled rows of TARGET to measure the gain with; all that there are if not given.
    level
        Confidence level of the intervals.
    seed
        Seed of everything random.
    encoding
        Encoding of text files.
    language
        Language of the table and the sentence: en or zh.
    cache
        Keep features on disk for the next run.
    json
        Print JSON.
    """
    from tempfile import TemporaryDirectory

    from graft.core.store import Store
    from graft.relatedness.compare import compare as compare_sets
    from graft.screen import Screen, print_json

    with Screen(quiet=json) as screen, TemporaryDirectory() as folder:
        found = compare_sets(
            source, target, model=model, label=label, other_label=target_label, labels=labels, encoding=encoding,
            level=level, seed=seed, store=Store(None if cache else folder), workdir=folder, progress=screen.progress,
        )  # fmt: skip
        facts = found.to_json() | {"sentence": found.sentence(language)}
        if json:
            print_json(facts)
        else:
            _show(screen, facts, language)


def _show(screen: Screen, found: dict[str, Any], language: str) -> None:
    """The two sides, a table of numbers, what differs most, and the answer."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    from graft.relatedness.wording import phrases

    words = phrases(language)
    screen.heading(escape(f"{found['one']['name']} → {found['two']['name']}"))
    for letter, side in zip("AB", (found["one"], found["two"]), strict=True):
        said = words["compare_of_rows"].format(
            name=side["name"], n=f"{side['rows']:,}", labelled=f"{side['labelled']:,}"
        )
        screen.line(escape(f"{letter}  {said}"))
    for note in found["notes"]:
        screen.line(f"[dim]· {escape(note)}[/dim]")
    screen.facts(words["compare_features"], escape(found["source"] or words["compare_plain"]))
    screen.line()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(words["compare_what"], no_wrap=True)
    table.add_column(words["compare_value"], no_wrap=True, justify="right")
    table.add_column(words["compare_reads"], style="dim")
    for name, value, reads in [*_inputs(found, words), *_labels(found, words)]:
        table.add_row(escape(name), escape(value), escape(reads))
    screen.out.print(Padding(table, (0, 0, 0, 2), expand=False))
    if found["differ"]:
        screen.line()
    for sign, side in ((-1, found["one"]), (1, found["two"])):
        few = [one["name"] for one in found["differ"] if one["difference"][0] * sign > 0][:8]
        if few:
            said = words["compare_more_in"].format(name=side["name"]) + words["colon"]
            screen.line(f"[dim]{escape(said)}[/dim]{escape(', '.join(few))}")
    screen.line()
    screen.facts(words["compare_answer"], f"[bold]{escape(found['sentence'])}[/bold]", always=True)


def _inputs(found: dict[str, Any], words: dict[str, str]) -> list[tuple[str, str, str]]:
    """What is known without labels."""
    from graft.screen import interval

    common, rows = found["common"], []
    rows.append((words["compare_a_distance"], interval(found["a_distance"]), words["compare_a_distance_reads"]))
    p = f"{found['mmd_p']:.3f}"
    rows.append((words["compare_mmd"], f"{found['mmd']:.4f}", words["compare_mmd_reads"].format(p=p)))
    rows.append((words["compare_overlap"], f"{found['overlap']:.0%}", words["compare_overlap_reads"]))
    if found["columns"] and found["columns"][0] is not None:
        reads = words["compare_columns_reads"]
        if found["depth"]:
            layers = " ".join("–" if one is None else f"{one:.2f}" for one in found["depth"])
            reads += words["comma"] + words["compare_depth_reads"].format(layers=layers)
        rows.append((words["compare_columns"], interval(found["columns"]), reads))
    if common["share"] is not None:
        reads = words["compare_common_reads"].format(both=f"{common['both']:,}", either=f"{common['either']:,}")
        if "covered" in common:
            reads += words["comma"] + words["compare_covered_reads"].format(
                covered=f"{common['covered']:.0%}", own=f"{common['own']:.0%}"
            )
        rows.append((words[f"compare_common_{common['unit']}"], f"{common['share']:.0%}", reads))
    return rows


def _labels(found: dict[str, Any], words: dict[str, str]) -> list[tuple[str, str, str]]:
    """What labels say."""
    from graft.screen import interval

    rows, gain, seen = [], found["gain"], found["foreseen"]
    if found["classes"]:
        one = found["classes"]
        facts = {"n": one["classes"], "chance": f"{one['chance']:.2f}", "p": f"{one['p']:.3f}"}
        rows.append((words["compare_classes"], interval(one["value"]), words["compare_classes_reads"].format(**facts)))
    if found["labels"]:
        rows.append((words["compare_labels"], interval(found["labels"]), words["compare_labels_reads"]))
    if seen:
        reads = words["compare_foreseen_reads"].format(
            by=words[f"by_{seen['by'].replace(' ', '_')}"], error=f"{seen['error']:.3f}", shifts=seen["shifts"]
        )
        rows.append((words["compare_foreseen"], interval(seen["accuracy"]), reads))
    if gain:
        rows.append((words["compare_guess"], interval(gain["guess"]), words["compare_guess_reads"]))
        control = {"shuffled": f"{gain['shuffled']:.3f}", "p": f"{gain['head_p']:.3f}"}
        keys = {"head": "compare_direct_reads", "means": "compare_means_reads", "mapped": "compare_mapped_reads"}
        for name, value in gain["direct"].items():
            rows.append((words[f"compare_{name}"], interval(value), words[keys[name]].format(**control)))
        alone = words["compare_alone_reads"].format(n=f"{gain['labels']:,}")
        rows.append((words["compare_alone"], interval(gain["alone"]), alone))
        used = {name: f"{share:.0%}" for name, share in gain["used"].items()}
        rows.append(
            (words["compare_together"], interval(gain["together"]), words["compare_together_reads"].format(**used))
        )
        rows.append((words["compare_gain"], _points(gain["gain"]), words["compare_gain_reads"]))
        if gain["pooled"]:
            rows.append((words["compare_pooled"], _points(gain["pooled"]), words["compare_pooled_reads"]))
    return rows


def _points(difference: dict[str, float]) -> str:
    value, low, high = (f"{100 * difference[key]:+.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"

"""The veto: what is recommended, what is refused, and why."""

import dataclasses

import numpy as np
import pytest
from unlabelled.seen import model, outputs

from graft.core.errors import UsageError
from graft.unlabelled.learning import Trial, learn
from graft.unlabelled.veto import veto

RNG = np.random.default_rng(5)
RULE = learn(
    [
        Trial(f"shift {i}", f"way {j}", {"infomax": gain + RNG.normal(0, 0.01), "silhouette": 2 * gain}, gain)
        for i in range(10)
        for j, gain in enumerate(RNG.normal(0, 0.1, 6))
    ]
)


def pair(right=0.9, base=0.6):
    """Source-only and an adaptation on the same rows, which is surer where it is better."""
    plain, y = model(base)
    fine = outputs(y, right, rng=np.random.default_rng(9), sure=0.8 + (right - base) / 2)
    return plain, dataclasses.replace(plain, target_outputs=fine, runs=np.stack([fine, fine]))


def test_a_better_adaptation_is_kept_and_a_worse_one_is_not():
    base, better = pair()
    verdict = veto(base, {"better": better}, RULE)
    assert (verdict.decision, verdict.returned) == ("adapt", "better")
    assert verdict.evidence[0].gain[1] > 0
    assert verdict.sentence.startswith("better is predicted to gain ")
    assert verdict.sentence.endswith("; kept")
    base, worse = pair(0.4, 0.8)
    verdict = veto(base, {"worse": worse}, RULE)
    assert (verdict.decision, verdict.returned) == ("source only", "source only")
    assert verdict.sentence == "no adaptation is predicted to be better than source only, which is returned"


def test_an_adaptation_that_changes_nothing_is_not_recommended():
    base, _ = pair()
    verdict = veto(base, {"the same": base}, RULE)
    assert verdict.decision == "source only"
    assert verdict.evidence[0].gain == (0.0, 0.0, 0.0)
    assert verdict.evidence[0].differ == 0


def test_the_best_of_several_is_returned_and_the_order_does_not_matter():
    base, better = pair()
    _, good = pair(0.75)
    names = [veto(base, several, RULE).returned for several in ({"b": better, "g": good}, {"g": good, "b": better})]
    assert names == ["b", "b"]


def test_a_collapsed_adaptation_is_refused_however_sure_it_is():
    base, better = pair()
    collapsed = dataclasses.replace(better, target_outputs=np.tile([0.98, 0.01, 0.01], (300, 1)), runs=None)
    verdict = veto(base, {"collapsed": collapsed}, RULE)
    assert verdict.decision == "source only"
    assert "class shares on the target lie" in verdict.evidence[0].disqualified[0]
    assert verdict.sentence.startswith("collapsed is refused: ")
    assert verdict.evidence[0].shares == (1.0, 0.0, 0.0)
    assert veto(base, {"collapsed": collapsed, "better": better}, RULE).returned == "better"


def test_one_that_lost_the_source_is_refused():
    base, better = pair()
    lost = dataclasses.replace(better, source_outputs=np.random.default_rng(0).permutation(better.source_outputs))
    reasons = veto(base, {"lost": lost}, RULE).evidence[0].disqualified
    assert any("held-out source rows fell from" in reason for reason in reasons)


def test_one_whose_seeds_differ_more_than_it_changes_is_refused():
    base, better = pair(0.65)
    rng = np.random.default_rng(0)
    runs = np.stack([better.target_outputs, *(rng.permutation(better.target_outputs) for _ in range(3))])
    slight = dataclasses.replace(better, target_outputs=base.target_outputs, runs=runs)
    reasons = veto(base, {"by chance": slight}, RULE).evidence[0].disqualified
    assert any("its seeds differ on" in reason for reason in reasons)


def test_a_rule_that_was_never_safe_recommends_nothing():
    base, better = pair()
    verdict = veto(base, {"better": better}, dataclasses.replace(RULE, threshold=float("inf")))
    assert verdict.decision == "source only"
    assert "no such prediction was safe" in verdict.sentence
    verdict = veto(base, {"better": better}, dataclasses.replace(RULE, threshold=0.9))
    assert "gains were real from 90.0 on" in verdict.sentence


def test_the_same_arguments_give_the_same_verdict():
    base, better = pair()
    one, two = (veto(base, {"better": better}, RULE) for _ in range(2))
    assert one.sentence == two.sentence
    assert one.evidence == two.evidence


def test_other_rows_or_no_adaptation_are_refused():
    base, better = pair()
    with pytest.raises(UsageError, match="no adaptation"):
        veto(base, {}, RULE)
    fewer = better.drawn(None, np.arange(100))
    with pytest.raises(UsageError, match="better was seen on other rows"):
        veto(base, {"better": fewer}, RULE)

"""Judging models on a domain without labels: criteria, distances of domains, and a veto that is checked on the source.

No function here takes a label of the target.  The order of things:

1. ``observed.Observed`` holds what can be seen of one fitted model: its outputs on target rows and on held-out source rows.
   ``observed.measure`` computes every criterion on it; criteria are plain functions of arrays, one file per family, found
   through ``core.registry.CRITERIA``; larger is better.
2. ``simulate`` divides the labelled source into pseudo-source and pseudo-target, shifted in known ways, or leaves one source
   domain out in turn.  Every adaptation is fitted there too; ``learning.trials_on`` compares it with source-only.
3. ``learning.learn`` turns these trials into a ``Rule``: what evidence is worth, and from where on it is safe.
4. ``veto.veto`` applies the rule to the real target, and returns source-only unless an adaptation is better beyond noise.

``distance`` says how far the domains are apart and which columns tell them apart, ``shares`` how classes are distributed on the
target.
"""

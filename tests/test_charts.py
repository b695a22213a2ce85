"""Charts whose numbers are known."""

import re

from graft.charts import dendrogram

TREE = {"x": [[5.0, 5.0, 15.0, 15.0], [10.0, 10.0, 25.0, 25.0]], "y": [[0.0, 1.0, 1.0, 0.0], [1.0, 4.0, 4.0, 0.0]],
        "leaves": [7, 2, 30]}  # fmt: skip


def test_a_tree_has_a_line_per_merge_and_a_size_per_leaf():
    drawn = str(dendrogram(TREE, "merges <of> groups"))
    assert drawn.count("<polyline") == 2
    assert re.findall(r">(\d+)</text>", drawn) == ["7", "2", "30"]
    assert "merges &lt;of&gt; groups" in drawn
    heights = [float(y) for y in re.findall(r",([\d.]+)", re.findall(r'points="([^"]+)"', drawn)[1])]
    assert heights == [115.0, 10.0, 10.0, 150.0]  # the top merge reaches the top


def test_a_tree_without_anything_is_an_empty_picture():
    assert "<polyline" not in str(dendrogram({}, "none"))

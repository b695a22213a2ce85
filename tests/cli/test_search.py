"""``graft search`` as a person types it."""

import json

TEXTS = ("my card is lost", "cancel the order", "where is my parcel")


def test_search_prints_writes_and_refuses(graft, put, here, tiny_bert):
    put("corpus.txt", "\n".join(TEXTS) + "\n")
    put("queries.txt", "order\nmy card is lost\n")
    model = f"hf:{tiny_bert}"
    done = graft("search", model, "my card is lost", "--in", "corpus.txt", "--top", "2").works()
    assert done.out.splitlines()[-2].split() == ["1", "1.000", "1", *TEXTS[0].split()]
    found = json.loads(graft("search", model, "--queries", "queries.txt", "--in", "corpus.txt", "--json").works().out)
    assert [row["rank"] for row in found] == [1, 2, 3] * 2
    graft("search", model, "order", "--in", "corpus.txt", "--out", "hits.csv").works()
    assert (here / "hits.csv").read_text().startswith("query,rank,score,row,line,input\norder,1,")
    graft("search", model, "order", "--in", "corpus.txt", "--out", "hits.csv").fails(6, "exists")
    graft("search", model, "--in", "corpus.txt").fails(2, "give one query")
    graft("search", model, "order", "--in", "nothing.txt").fails(3, "no such file")
    graft("search", "hf:nothing", "order", "--in", "corpus.txt").fails(4, "nothing")

"""Architecture reuse: another network from the parts of a source, and what became of every tensor."""

"""Domain adaptation: labels in one domain, none in the other.  One file per method; ``base.py`` says what a method is.

``domains.py`` holds the rows of both sides, ``shallow.py`` methods on numbers (counts, columns, cached features),
``deep.py`` methods that train a network.  No method can see a label of the target that it was not given on purpose.
"""

"""Zero-shot classification: no row of a class has a label; its name, a description or a row of attributes stands for it.

One file per method; ``wording.py`` turns classes into sentences, ``comparison.py`` compares rows with them, and
``generalised.py`` scores classes with and without labelled rows together.
"""

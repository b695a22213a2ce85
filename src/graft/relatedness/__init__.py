"""How related two tasks or domains are, before anything is trained: distances, alignment, and a gain that is measured.

``pairing`` reads two data sets so that they can be compared, ``representation`` turns both into numbers, ``alignment`` and
``vocabulary`` compare what the rows and the columns are, ``gain`` measures what the labels of one bring to the other,
``foreseen`` estimates it where the other has none, and ``compare`` puts it together and says it in a sentence.
"""

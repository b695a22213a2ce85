"""Active learning: which rows a person should label next, what that may bring, and labels that come back.

``pool`` reads the rows into one space, ``coverage`` and ``uncertainty`` hold the strategies, ``strategies`` names them and
chooses one, ``outlook`` draws the learning curve on, ``labeller`` does all of it; ``sheet`` writes proposals and ``answers``
brings labels back into the data, ``asking`` asks for them one by one.
"""

"""Claims: which interpretations of a model give a number that was published.

In: a printed number and a model. Out: the conventions, inputs, model variants or tools that give
the number, ranked, and the share of random numbers that would have been explained equally well.
"""

"""Claims: which interpretation of a model gives a number that was published.

In: a printed number and a model. Out: conventions, inputs and variants that give it, ranked, and
how many random numbers would have been explained as well.
"""

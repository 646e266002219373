"""The reference counter: exact counts of everything that one pass of a model executes.

In: a model and its inputs. Out: a ledger, one row for each executed operator, and readings of it by
convention. Knows nothing of the tools.
"""

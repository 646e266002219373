"""The reference counter: exact counts of everything that one pass of a model executes.

In: a model and its inputs. Out: a ledger with one row for each executed operator, from which a
convention reads totals. It does not depend on the tools.
"""

"""Probes of operations on tensors: arithmetic, products, reductions, data movement.

In: nothing, the tables are constants. Out: a table `PROBES` in each module, made without importing
torch; `flopaudit.probes` merges them.
"""

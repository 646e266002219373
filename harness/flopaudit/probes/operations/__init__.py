"""Probes of operations on tensors: arithmetic, products, reductions, data movement.

In: nothing. Out: a table `PROBES` in each module.
"""

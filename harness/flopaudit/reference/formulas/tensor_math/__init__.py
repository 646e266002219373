"""Formulas of tensor arithmetic: elementwise, products, reductions, transforms, solvers.

In: a `Call` with shapes and flags. Out: its `Work`, exact numbers of each type of scalar operation,
in one table for each module.
"""

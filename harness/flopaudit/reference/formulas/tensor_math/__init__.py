"""Formulas of tensor arithmetic: elementwise, products, reductions, transforms, solvers.

In: a `Call`, shapes and flags. Out: `Work`, exact integers for each kind of scalar operation.
"""

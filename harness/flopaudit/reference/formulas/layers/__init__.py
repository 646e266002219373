"""Formulas of the operators that make up layers of a network.

In: a `Call`, shapes and flags. Out: `Work`, exact integers for each kind of scalar operation.
"""

"""Formulas of the operators that make up the layers of a network.

In: a `Call` with shapes and flags. Out: its `Work`, exact numbers of each type of scalar operation,
in one table for each module.
"""

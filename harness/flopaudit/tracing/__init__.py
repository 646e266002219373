"""Traces: one run of a model, noted at every place at which a tool could count.

In: a model and its inputs. Out: sites with additive quantities, and the reference's products there.
"""

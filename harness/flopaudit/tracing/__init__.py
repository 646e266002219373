"""Traces: one run of a model, recorded at every site at which a tool could count.

In: a model and its inputs. Out: sites with additive quantities, and the reference's products there.
"""

"""Profiles: what one version of a tool counts, inferred from what it reported for the probes.

In: a tool's numbers and the traces of the probes. Out: rules with exact formulas, and predictions.
"""

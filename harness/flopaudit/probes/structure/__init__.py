"""Probes of structure: nesting, sharing, subclassing, parameters, batches.

In: nothing. Out: a table `PROBES` in each module.
"""

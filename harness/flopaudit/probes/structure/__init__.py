"""Probes of structure: nesting, sharing, subclassing, parameters, batches.

In: nothing, the tables are constants. Out: a table `PROBES` in each module, made without importing
torch; `flopaudit.probes` merges them.
"""

"""Probes of layers: each kind of layer as a module, and its functions.

In: nothing, the tables are constants. Out: a table `PROBES` in each module, made without importing
torch; `flopaudit.probes` merges them.
"""

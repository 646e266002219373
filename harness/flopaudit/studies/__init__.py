"""Studies: the project measured against others, as commands whose tables are committed.

In: sets of models. Out: tables of speed, of agreement between the two reference counters, of
coverage.
"""

"""Studies: measurements of the project itself, for its developers, with committed tables.

In: sets of models. Out: tables of speed, of the agreement between the two ways of counting the
reference, and of coverage, and the comparison of an isolated run with a plain script.
"""

"""Stored records: their schema, files that survive a kill, and the environment of a run.

In: finished records. Out: lines of JSON on the disk, and validated records read back.
"""

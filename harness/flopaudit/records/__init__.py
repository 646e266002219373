"""Stored records: their schema, the files that survive a kill, and the environment they are from.

In: finished records. Out: lines of JSON on the disk, and validated records read back.
"""

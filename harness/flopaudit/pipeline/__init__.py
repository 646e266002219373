"""The way from a request to a published directory of results.

In: models and tools that a user named. Out: records, findings, settlements, profiles and tables.
"""

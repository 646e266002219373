"""Live models: model objects of a user's process, which hosts load from a private folder.

In: a model and its inputs. Out: a copy of both in another process.
"""

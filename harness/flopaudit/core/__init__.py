"""Common definitions: errors, model and input specs, causes, clean text.

In: what a user or a tool wrote. Out: plain data, or an error with a remedy. Imports no torch.
"""

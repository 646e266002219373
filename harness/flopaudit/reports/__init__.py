"""Reports: results as text, tables and progress, for the terminal and for files.

In: records, findings, settlements, profiles. Out: text, Markdown and CSV. Imports no torch.
"""

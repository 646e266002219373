"""The command line: one module for each subcommand.

In: arguments. Out: text or JSON on standard output, messages on standard error, an exit code.
"""

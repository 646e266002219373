"""Adapters of tools outside the package, written as a user would write one."""

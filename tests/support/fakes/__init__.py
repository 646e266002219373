"""Fake tools, each of which does one thing that no tool should."""

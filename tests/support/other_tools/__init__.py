"""Adapters of tools outside the package, written as users would write them."""

"""Brute force: each operator on numbers that count what is done with them."""

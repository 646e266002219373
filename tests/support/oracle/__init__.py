"""Brute-force oracle: every operator on numbers that count the operations done with them."""

"""The tests; a package so that proofs can be imported by those that run them."""

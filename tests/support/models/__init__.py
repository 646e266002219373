"""Small models, and models that threads about the tools dispute."""

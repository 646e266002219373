"""Support shared by tests: the command as users run it, fakes, oracles, small models."""

"""What tests share: the command as users run it, fakes, oracles, small models."""

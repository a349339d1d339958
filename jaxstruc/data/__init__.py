"""Files to measurements."""

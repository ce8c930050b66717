"""What scripts and tests have in common."""

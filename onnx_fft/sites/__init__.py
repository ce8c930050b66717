"""What can be replaced: where it stands in a model, and its spec."""

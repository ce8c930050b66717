"""Results as text: sentences and tables for a terminal, one row a line if they are piped."""

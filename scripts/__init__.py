"""What developers run: one folder for each purpose, and `shared`, what the scripts and the tests have in common."""

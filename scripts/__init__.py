"""What developers run: each folder is one purpose, `shared` what they and the tests have in common."""

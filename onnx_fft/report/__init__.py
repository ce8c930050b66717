"""Results as people see them: text, pages and charts."""

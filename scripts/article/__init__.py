"""The article that started the project, reproduced."""

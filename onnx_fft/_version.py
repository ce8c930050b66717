"""The version, for a checkout that is not installed as well; pyproject.toml reads it here."""

__version__ = "0.1.0"

"""Models that are made here, and real ones that are fetched."""

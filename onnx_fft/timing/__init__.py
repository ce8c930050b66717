"""How long models take: a process of its own to time them in, and what its samples say."""

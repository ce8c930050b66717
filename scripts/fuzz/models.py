"""Mutated models through inspect, rewrite and validate, in processes of their own.

    python -m scripts.fuzz.models --seconds 3600 --seed 1000000
    python -m scripts.fuzz.models --seed 1000017 --one

Every input is drawn from a seed of its own: the first is `--seed`, the others follow. The exit code is 1 if anything
was found.
"""

from __future__ import annotations

import sys

from scripts.fuzz.driver import run

if __name__ == "__main__":
    sys.exit(run(__doc__, "models"))

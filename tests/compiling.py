"""The C++ compiler of tests that build a program."""

from __future__ import annotations

import os
import shutil

import pytest


def find_compiler() -> str:
    """The path of a C++ compiler; a test without one is skipped, and fails in CI."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if compiler is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no C++ compiler")
    return compiler

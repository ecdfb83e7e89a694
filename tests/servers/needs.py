"""A server that cannot be had: a skip that says why, and in CI an error, so that a green run cannot hide it."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str, why: str) -> NoReturn:
    """Skip the test, or fail it where CI is set."""
    text = f"{what} is missing: {why}"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def program(name: str, package: str) -> str:
    """Path of an installed program, searched also where Debian keeps its servers."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        missing(name, f"install the package {package} (scripts/test-servers does it as root)")
    return found

"""`app.py norm`: simulated NORMs that speak the real protocols."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.centres import stop_on_signal
from host.log import configure
from model.errors import SettingsError
from norm.speak import NormOptions, run


def run_norm(arguments: argparse.Namespace) -> int:
    """Speak until stopped."""
    configure("norm", arguments.site)
    run(options_of(arguments), stop_on_signal())
    return 0

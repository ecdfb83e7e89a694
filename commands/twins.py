"""`app.py norm`: simulated NORMs that speak the real protocols."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.centres import stop_on_signal
from host.log import configure
from norm.speak import NormOptions, run


def run_norm(arguments: argparse.Namespace) -> int:
    """Speak until stopped."""
    configure("norm", arguments.site)
    options = NormOptions(
        site=arguments.site,
        units=arguments.units,
        seed=arguments.seed,
        scenario=arguments.scenario,
        pmu_port=arguments.pmu_port,
        frames_per_s=arguments.rate,
        mqtt=arguments.mqtt,
        mqtt_user=arguments.mqtt_user,
        mqtt_password_file=Path(arguments.mqtt_password_file) if arguments.mqtt_password_file else None,
        meter_period_s=arguments.period,
        inventory_file=Path(arguments.inventory) if arguments.inventory else None,
        truth_file=Path(arguments.truth) if arguments.truth else None,
    )
    run(options, stop_on_signal())
    return 0

"""`app.py decode`, `replay` and `score`: recorded traffic and scenarios through the real decoders and detectors."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from commands.centres import smc_context, stop_on_signal
from model.errors import SetupError


def decode(files: Sequence[str], out: TextIO) -> int:
    """Print every frame and message of the captures; 1 if anything was rejected."""
    from smc.gateway.decode import decode_file

    return max(decode_file(path, out) for path in _existing(files))


def replay(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Feed captures into the centre of SMC_SITE; prints the counts as JSON."""
    from smc.gateway.replay import replay_files

    paths = _existing(arguments.files)
    counts = replay_files(
        paths,
        smc_context("replay", environment),
        speed=arguments.speed,
        shift_to_now=arguments.now or arguments.loop,
        loop=arguments.loop,
        stop=stop_on_signal(),
    )
    print(json.dumps(counts))
    return 0


def score() -> int:
    """Write the detection score card."""
    from bench.detection import main

    return main()


def _existing(files: Sequence[str]) -> list[Path]:
    for file in files:
        if not Path(file).is_file():
            raise SetupError("capture", file, "a readable pcap file", "check the path")
    return [Path(file) for file in files]

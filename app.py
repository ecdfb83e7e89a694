"""The one door of Grid SMC: `python app.py --help`.

Reads the environment once, turns it into settings, engine, bus and log, and hands them to the rooms. Imports are
late on purpose: a stage process loads only what it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from model.errors import GridSmcError, OperatorError

EXIT_OK, EXIT_OPERATOR, EXIT_FINDINGS = 0, 2, 1
SMC_STAGES = ("intake", "store", "detect", "triage", "decide", "act", "federate", "keep", "stages", "desk")
ESMC_STAGES = ("taxii", "correlate", "desk")
SMC_HELP = "one stage (`stages` = triage to keep together); `enrol FILE` takes devices in; `keys` makes own keys"


def _demo(_: argparse.Namespace) -> int:
    from commands.demo import demo

    return demo(os.environ)


def _migrate(arguments: argparse.Namespace) -> int:
    from commands.centres import migrate_centre

    return migrate_centre(arguments.centre, os.environ, arguments.back_to)


def _smc(arguments: argparse.Namespace) -> int:
    if arguments.stage in ("enrol", "keys"):
        from commands.enrolment import enrol, smc_keys

        return enrol(arguments.file, os.environ) if arguments.stage == "enrol" else smc_keys(os.environ)
    from commands.centres import run_smc

    return run_smc(arguments.stage, os.environ)


def _esmc(arguments: argparse.Namespace) -> int:
    if arguments.stage in ("member", "keys"):
        from commands.enrolment import esmc_keys, member

        return member(arguments, os.environ) if arguments.stage == "member" else esmc_keys(os.environ)
    from commands.centres import run_esmc

    return run_esmc(arguments.stage, os.environ)


def _norm(arguments: argparse.Namespace) -> int:
    from commands.twins import run_norm

    return run_norm(arguments)


def _replay(arguments: argparse.Namespace) -> int:
    from commands.captures import replay

    return replay(arguments, os.environ)


def _decode(arguments: argparse.Namespace) -> int:
    from commands.captures import decode

    return decode(arguments.files, sys.stdout)


def _score(_: argparse.Namespace) -> int:
    from commands.captures import score

    return score()


def _user(arguments: argparse.Namespace) -> int:
    from commands.people import user

    return user(arguments, os.environ)


def _audit(arguments: argparse.Namespace) -> int:
    from commands.people import audit

    return audit(arguments, os.environ)


def _hold(arguments: argparse.Namespace) -> int:
    from commands.holds import hold

    return hold(arguments, os.environ)


def _backup(arguments: argparse.Namespace) -> int:
    from commands.operate import backup

    return backup(arguments.centre, arguments.file, os.environ)


def _restore(arguments: argparse.Namespace) -> int:
    from commands.operate import restore

    return restore(arguments.file, arguments.into, os.environ)


def _export(arguments: argparse.Namespace) -> int:
    from commands.cases import export

    return export(arguments, os.environ)


def _evidence(arguments: argparse.Namespace) -> int:
    from commands.cases import evidence

    return evidence(arguments, os.environ)


def _doctor(arguments: argparse.Namespace) -> int:
    from commands.doctor import doctor

    return doctor(arguments.centre, os.environ)


def parser() -> argparse.ArgumentParser:
    """All commands with their help; the docs and a test are made from it."""
    root = argparse.ArgumentParser(
        prog="app.py", description="Grid SMC: security monitoring centre for electricity distribution."
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def centre(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--centre", choices=("smc", "esmc"), default="smc", help="which centre (default smc)")

    add("demo", _demo, "two simulated operators, a replayed real capture and the pan-European centre on this machine")
    sub = add("migrate", _migrate, "bring the database of a centre to the present schema")
    sub.add_argument("centre", choices=("smc", "esmc"), help="whose schema")
    sub.add_argument("--back-to", default="", help="revision of an older program; loses what newer tables hold")
    sub = add("smc", _smc, "run a stage of one operator's centre (settings SMC_*, see docs/settings.md)")
    sub.add_argument("stage", choices=(*SMC_STAGES, "enrol", "keys"), help=SMC_HELP)
    sub.add_argument("file", nargs="?", default="", help="enrol: inventory file, a JSON list of devices")
    sub = add("esmc", _esmc, "run a part of the pan-European centre (settings ESMC_*, see docs/settings.md)")
    _add_member(sub)
    _add_norm(add("norm", _norm, "run simulated NORMs that speak C37.118.2 and MQTT/SenML"))
    _add_captures(add)
    add("score", _score, "detection score card over the scenario pack and the real data sets")
    _add_people(add, centre)
    _add_hold(add("hold", _hold, "open, list or release legal holds: data that retention must not touch"))
    sub = add("backup", _backup, "write the database of a centre into one file with a manifest of hashes")
    centre(sub)
    sub.add_argument("file", help="file to write; must not exist")
    sub = add("restore", _restore, "load a backup into an empty database and verify its audit chain")
    sub.add_argument("file", help="file written by `backup`")
    sub.add_argument("--into", required=True, help="URL of an empty database")
    sub = add("export", _export, "write an incident as Markdown, JSON or signed-form STIX 2.1")
    sub.add_argument("case", help="case number, e.g. 42")
    sub.add_argument("--form", choices=("markdown", "json", "stix"), default="markdown", help="form (default markdown)")
    sub = add("evidence", _evidence, "freeze the raw rows behind an incident into a zip with hashes, or verify one")
    sub.add_argument("case", help="case number, or with --verify the zip file")
    sub.add_argument("--out", default="", help="zip file to write")
    sub.add_argument("--verify", action="store_true", help="check a zip written before")
    sub = add("doctor", _doctor, "say what is wrong with this installation and how to mend it")
    centre(sub)
    return root


def _add_norm(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--site", required=True, help="code of the operator, e.g. DSO-0001")
    sub.add_argument("--units", type=int, default=24, help="number of NORMs (default 24)")
    sub.add_argument("--seed", type=int, default=1, help="seed of the simulated world (default 1)")
    sub.add_argument(
        "--pmu-port", type=int, default=0, help="loopback port of the concentrator; 0: any, told in the log"
    )
    sub.add_argument("--rate", type=int, default=10, help="PMU frames per second (default 10)")
    sub.add_argument("--mqtt", default="", help="broker, host:port; empty: no meters")
    sub.add_argument("--mqtt-user", default="", help="user name at the broker")
    sub.add_argument("--mqtt-password-file", default="", help="file with the password, mode 0600")
    sub.add_argument("--period", type=float, default=2.0, help="seconds between readings of a meter (default 2)")
    sub.add_argument(
        "--scenario", default="", help="NAME[:UNIT+UNIT][@START_S][*STRENGTH],... e.g. s01:5@40*0.6,s08:9@30"
    )
    sub.add_argument("--inventory", default="", help="file for the inventory of devices (JSON)")
    sub.add_argument("--truth", default="", help="file for the ground truth (JSON)")


def _add_member(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("stage", choices=(*ESMC_STAGES, "member", "keys"), help="one part; `member` takes an operator in")
    sub.add_argument("--code", default="", help="member: its code in the federation, e.g. DSO-0001")
    sub.add_argument("--name", default="", help="member: its name")
    sub.add_argument("--country", default="", help="member: ISO 3166 alpha-2")
    sub.add_argument("--area", default="", help="member: ISO 3166-2 first-level area")
    sub.add_argument("--key", default="", help="member: file with its public signing key, PEM")
    sub.add_argument("--simulated", action="store_true", help="member: its grid is simulated")


def _add_hold(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("action", choices=("add", "list", "release"))
    sub.add_argument("number", nargs="?", type=int, default=0, help="release: number of the hold, see `list`")
    sub.add_argument("--from", dest="start", default="", help="add: first time of the data, ISO 8601, UTC if not said")
    sub.add_argument("--to", dest="end", default="", help="add: end of the data's time")
    sub.add_argument("--reason", default="", help="add, release: why; kept in the audit")
    sub.add_argument("--data", default="", help="add: classes of data, comma-separated; left out: all")
    sub.add_argument("--devices", default="", help="add: names of devices, comma-separated; left out: all")


def _add_captures(add: Callable[..., argparse.ArgumentParser]) -> None:
    sub = add("replay", _replay, "feed captures through the decoders into the store, marked replayed")
    sub.add_argument("files", nargs="+", metavar="FILE", help="pcap file")
    sub.add_argument("--speed", type=float, default=0.0, help="times real speed; 0 = as fast as possible (default)")
    sub.add_argument("--now", action="store_true", help="shift recorded times so that the capture starts now")
    sub.add_argument("--loop", action="store_true", help="start again at the end until stopped; implies --now")
    sub = add("decode", _decode, "print one JSON line per frame or message of captures, counts last")
    sub.add_argument("files", nargs="+", metavar="FILE", help="pcap file")


def _add_people(add: Callable[..., argparse.ArgumentParser], centre: Callable[[argparse.ArgumentParser], None]) -> None:
    sub = add("user", _user, "add, list, disable accounts or set a new password (read from standard input)")
    centre(sub)
    sub.add_argument("action", choices=("add", "list", "disable", "password"))
    sub.add_argument("name", nargs="?", default="", help="account name")
    sub.add_argument("--role", default="", help="analyst, operator, admin, auditor or european")
    sub = add("audit", _audit, "verify the hash chain of the audit, or print its entries")
    centre(sub)
    sub.add_argument("action", choices=("verify", "show"))
    sub.add_argument("--last", type=int, default=50, help="entries to print (default 50)")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. The operator's faults are one line and exit code 2."""
    arguments = parser().parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except OperatorError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return EXIT_OPERATOR
    except GridSmcError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return EXIT_FINDINGS
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        sys.stderr.close()
        return EXIT_OK
    return code


if __name__ == "__main__":
    sys.exit(main())

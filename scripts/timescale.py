"""A real TimescaleDB on an older Debian, its own libc beside the host's: no root, no container, no change to the host.

    scripts/timescale get              fetch into the cache (SMC_CACHE, else var), print the folder of its programs
    scripts/timescale start FOLDER     run a server on FOLDER, print its URL (database postgres)
    scripts/timescale stop FOLDER      stop that server

SUITE names the Debian suite (trixie; sid as an early warning), MIRROR the mirror; else the one of this machine's apt is
used. Signatures are checked with Debian's keyring. The packages are the Apache edition.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from host.postgres import ADMINISTRATOR, Postgres  # noqa: E402
from model.errors import OperatorError, SetupError  # noqa: E402

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OPTIONS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    # Its scheduler holds template databases open, so that copying them fails now and then.
    "timescaledb.max_background_workers": "0",
}
_STAMP = "complete.json"
_KEEP = re.compile(r"lib.*|zlib1g.*|postgresql-\d+|postgresql-client-\d+|postgresql-\d+-timescaledb")
_DROP = re.compile(r"libllvm.*|libz3.*|libperl.*|.*-perl|.*-l10n|libc-bin|libsystemd-shared.*")
_ELF = b"\x7fELF"
_WRAPPER = """#!/bin/sh
exec {loader} --argv0 "$0" --library-path {libraries} {program} "$@"
"""


def cache() -> Path:
    """Where fetched servers are kept between runs."""
    return Path(os.environ.get("SMC_CACHE") or ROOT / "var").resolve() / "timescale" / suite()


def suite() -> str:
    """The Debian suite to take."""
    return os.environ.get("SUITE") or "trixie"


def binaries() -> Path | None:
    """Folder of the fetched PostgreSQL programs, or None before a complete `get`."""
    stamp = cache() / _STAMP
    if not stamp.is_file():
        return None
    folder = Path(json.loads(stamp.read_text())["binaries"])
    return folder if (folder / "postgres").is_file() else None  # a moved tree is fetched again: its paths are absolute


def get() -> Path:
    """Fetch, unpack, wrap and check; does nothing when complete. SetupError names what is missing."""
    target = cache()
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = binaries()
        if found is None:
            found = _fetch(target)
    return found


def _fetch(target: Path) -> Path:
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise SetupError("program", program, "installed (Debian or Ubuntu)", "use another machine or a URL")
    if not KEYRING.is_file():
        raise SetupError("keyring", str(KEYRING), "present", "apt-get install debian-archive-keyring")
    tree, state = target / "tree", target / "apt"
    for folder in (tree, state):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    apt = _apt_options(state)
    _run(["apt-get", *apt, "update"])
    names = _run(["apt-cache", *apt, "pkgnames", "postgresql-"]).split()
    major = max(int(found[1]) for name in names if (found := re.fullmatch(r"postgresql-(\d+)-timescaledb", name)))
    wanted = [f"postgresql-{major}", f"postgresql-{major}-timescaledb"]
    plan = re.findall(r"^Inst (\S+) \((\S+)", _run(["apt-get", *apt, "-s", "install", *wanted]), re.MULTILINE)
    packages = {name: version for name, version in plan if _KEEP.fullmatch(name) and not _DROP.fullmatch(name)}
    _run(["apt-get", *apt, "download", *packages], cwd=state)
    for archive in sorted(state.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(tree)])
    shutil.rmtree(state)
    _slim(tree)
    folder = tree / "usr" / "lib" / "postgresql" / str(major) / "bin"
    _wrap(tree, folder)
    _run(["chmod", "-R", "go+rX", str(tree)])
    versions = {name: packages[name] for name in wanted}
    (target / _STAMP).write_text(json.dumps({"suite": suite(), "binaries": str(folder), "versions": versions}))
    return folder


def _mirror() -> str:
    """MIRROR, else this machine's Debian archive as its apt configuration names it."""
    if named := os.environ.get("MIRROR"):
        return named
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    # Without downloaded lists apt knows no labels: then every archive that is not the security one.
    for line in ([*asked, "Label: Debian"], asked):
        found = [uri for uri in _run(line).split() if "security" not in uri]
        if found:
            return found[0]
    raise SetupError("Debian mirror", "none", "named by apt's sources or MIRROR", "set MIRROR")


def _apt_options(state: Path) -> list[str]:
    """Options that keep apt's whole state in `state` and leave the host's alone; proxies of the host stay in force."""
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    status, sources = state / "status", state / "sources.list"
    status.touch()  # nothing installed: apt then names the whole closure
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite()} main\n")
    options = {
        "Dir::State": state,
        "Dir::State::status": status,
        "Dir::Cache": state / "cache",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "APT::Update::Post-Invoke": "",
        "APT::Update::Post-Invoke-Success": "",
    }
    return ["-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]


def _slim(tree: Path) -> None:
    for part in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"):
        shutil.rmtree(tree / part, ignore_errors=True)
    for bitcode in tree.glob("usr/lib/postgresql/*/lib/bitcode"):
        shutil.rmtree(bitcode)


def _wrap(tree: Path, folder: Path) -> None:
    """Make every program run with the tree's own loader and libraries: the host's libc is too old for them."""
    loader = next(iter([*tree.glob("usr/lib*/ld-linux-*.so.*"), *tree.glob("lib*/ld-linux-*.so.*")]), None)
    libraries = next(iter(tree.glob("usr/lib/*-linux-gnu*")), None)
    if loader is None or libraries is None:
        raise SetupError("fetched tree", str(tree), "a loader and libraries", "remove the folder and fetch again")
    for program in sorted(folder.iterdir()):
        if program.is_symlink() or program.read_bytes()[:4] != _ELF:
            continue
        real = program.with_name(f"{program.name}.elf")
        program.rename(real)
        listed = _run([str(loader), "--library-path", str(libraries), "--list", str(real)])
        if "not found" in listed:
            raise SetupError(
                "library", listed.strip(), "in the fetched tree", f"fetch again with another SUITE ({real})"
            )
        program.write_text(_WRAPPER.format(loader=loader, libraries=libraries, program=real))
        program.chmod(0o755)


def _run(line: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=600, env=os.environ | {"LC_ALL": "C"})
    if done.returncode != 0:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise SetupError(Path(line[0]).name, tail, "success", "see apt's configuration, or set MIRROR")
    return done.stdout


def serve(folder: Path) -> None:
    """Run a server on `folder` until SIGTERM or SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with Postgres(folder, binaries=get(), options=OPTIONS):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


def start(folder: Path) -> str:
    """A server in the background; returns its URL when it answers."""
    server = Postgres(folder, binaries=get(), options=OPTIONS)
    line = [sys.executable, __file__, "serve", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not server.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SetupError("TimescaleDB", (folder / "serve.log").read_text().strip(), "answering", "see the log")
        time.sleep(0.05)
    return server.url("postgres", ADMINISTRATOR)


def stop(folder: Path) -> None:
    """Stop the server that `start` left on `folder`, and wait for its end."""
    with (folder / "lock").open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.kill(int(lock.read()), signal.SIGTERM)
            fcntl.flock(lock, fcntl.LOCK_EX)


def main(arguments: list[str]) -> int:
    """The command line above; exit code 2 and one line for what the operator can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("get", "start", "serve", "stop"))
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args(arguments)
    if options.command != "get" and options.folder is None:
        parser.error(f"{options.command} needs the folder of the server")
    actions = {"get": lambda _: get(), "start": start, "serve": serve, "stop": stop}
    try:
        result = actions[options.command](options.folder)
    except OperatorError as error:
        print(f"timescale: {error}", file=sys.stderr)
        return 2
    if result is not None:
        print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`app.py user` and `audit`: accounts of a centre, and the proof of what was done. Passwords come by standard input."""

from __future__ import annotations

import argparse
import getpass
import itertools
import json
import sys
from collections.abc import Mapping

from sqlalchemy import Connection

from commands.operate import database_url
from host.database import engine
from model.errors import OperatorError
from model.time import iso_utc
from trust import accounts, store
from trust.roles import Role

LOCAL = "local-console"  # the actor of what is done on the machine itself


def user(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Add, list or disable an account, or set a new password that its owner must change at the next sign-in."""
    made = engine(database_url(environment), "user", pool_size=1)
    with made.begin() as conn:
        if arguments.action == "list":
            _list(conn)
        elif arguments.action == "add":
            role = _role(arguments.role)
            accounts.create(conn, arguments.name, _password(arguments.name), role, LOCAL, must_change=True)
            print(f"user: {arguments.name} added as {role}; the password must be changed at the first sign-in")
        else:
            _change(conn, arguments.action, arguments.name)
    made.dispose()
    return 0


def audit(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Verify the whole chain, or print the newest records as JSON lines."""
    made = engine(database_url(environment), "audit", pool_size=1)
    with made.connect() as conn:
        if arguments.action == "verify":
            head = store.verify_audit(conn)
            print(f"audit: {head.number} records, chain intact, head {head.hash.hex()}")
        else:
            for record in reversed(store.recent_audit(conn, arguments.last)):
                fields = {"number": record.number, "at": iso_utc(record.at), "actor": record.actor}
                fields |= {"action": record.action, "object": record.object, "detail": record.detail}
                print(json.dumps(fields))
    made.dispose()
    return 0


def _list(conn: Connection) -> None:
    for account in store.accounts(conn):
        state = "disabled" if account.disabled else "enabled"
        seen = iso_utc(account.last_sign_in) if account.last_sign_in else "never"
        print(f"{account.name}\t{account.role}\t{state}\tlast sign-in {seen}")


def _change(conn: Connection, action: str, name: str) -> None:
    found = store.account(conn, name)
    if found is None:
        raise OperatorError("account", name, "an existing account", "see `app.py user list`")
    account_id = found[0].account_id
    if action == "disable":
        store.set_disabled(conn, account_id, disabled=True)
        store.append_audit(conn, LOCAL, "account-disabled", f"account:{name}", {})
    else:
        store.set_password(conn, account_id, accounts.hash_password(_password(name)), must_change=True)
        store.append_audit(conn, LOCAL, "password-set", f"account:{name}", {})
    print(f"user: {name}: {'disabled' if action == 'disable' else 'new password set'}")


def _role(text: str) -> Role:
    if text not in set(Role):
        raise OperatorError("--role", text, f"one of {', '.join(Role)}", "name a role")
    return Role(text)


def _password(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"password for {name}: ")
    return "".join(itertools.islice(sys.stdin.readline(), accounts.MAX_PASSWORD + 1)).rstrip("\n")

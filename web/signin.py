"""Sign-in, sign-out and the own password: plain HTML forms that need no script."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import flask
from werkzeug.wrappers import Response

from model.errors import NotPermitted, OperatorError
from trust import accounts
from web import gate as gates
from web.gate import Gate
from web.theme import scheme

FORM_LIFE_S = 3600


class SignIn:
    """The three forms of one centre."""

    def __init__(self, gate: Gate, title: str, mark: str) -> None:
        self.gate, self.title, self.mark = gate, title, mark
        self._form_key = secrets.token_bytes(32)  # of this process: after a restart an open form is asked for again

    def register(self, server: flask.Flask) -> None:
        """Add the routes; their rules are in web.gate.FIXED."""
        server.add_url_rule(gates.SIGN_IN, "sign_in", self.sign_in, methods=["GET", "POST"])
        server.add_url_rule(gates.SIGN_OUT, "sign_out", self.sign_out, methods=["POST"])
        server.add_url_rule(gates.PASSWORD, "password", self.password, methods=["GET", "POST"])

    def sign_in(self) -> Response:
        """The form; a right answer gets a fresh session and leads on to where the person wanted to go."""
        wanted = gates.local_path(flask.request.values.get("next", "/"), self.gate.rules)
        if flask.request.method == "GET":
            return flask.redirect(wanted, 303) if flask.g.session else self._form(wanted)
        if not self._own_form():
            return self._form(wanted, "The form had expired. Please try again.", 403)
        name, password = flask.request.form.get("name", ""), flask.request.form.get("password", "")
        address = flask.request.remote_addr or "unknown"
        try:
            signed = accounts.sign_in(self.gate.engine, name, password, address, self.gate.lifetime)
        except accounts.TooManyAttempts as error:
            response = self._form(wanted, f"Too many attempts. Try again in {error.retry_after_s:.0f} seconds.", 429)
            response.headers["Retry-After"] = f"{error.retry_after_s:.0f}"
            return response
        if signed is None:
            return self._form(wanted, "Name or password is wrong.", 401, name)
        if flask.g.session is not None:  # rotated: the session of before ends with the new one
            accounts.sign_out(self.gate.engine, flask.g.session)
        response = flask.redirect(gates.PASSWORD if signed.session.must_change else wanted, 303)
        return self._set_session(response, signed)

    def sign_out(self) -> Response:
        """End the session."""
        accounts.sign_out(self.gate.engine, flask.g.session)
        response = flask.redirect(gates.SIGN_IN, 303)
        for name in (self.gate.cookie, self.gate.csrf_cookie):
            response.delete_cookie(name, secure=self.gate.secure, samesite="Strict")
        response.headers["Clear-Site-Data"] = '"storage"'
        return response

    def password(self) -> Response:
        """Change the own password."""
        if flask.request.method == "GET":
            return self._password_form()
        old, new = flask.request.form.get("old", ""), flask.request.form.get("new", "")
        if new != flask.request.form.get("again", ""):
            return self._password_form("The two new passwords differ.", 400)
        try:
            signed = accounts.change_password(self.gate.engine, flask.g.session, old, new, self.gate.lifetime)
        except accounts.TooManyAttempts as error:
            return self._password_form(str(error), 429)
        except (OperatorError, NotPermitted) as error:
            return self._password_form(str(error), 400)
        return self._set_session(flask.redirect("/", 303), signed)

    def _set_session(self, response: Response, signed: accounts.SignedIn) -> Response:
        def put(name: str, value: str, httponly: bool) -> None:
            response.set_cookie(name, value, httponly=httponly, secure=self.gate.secure, samesite="Strict", path="/")

        put(self.gate.cookie, signed.token, True)
        put(self.gate.csrf_cookie, signed.session.csrf, False)  # Dash sends it back
        response.delete_cookie(self.gate.form_cookie, secure=self.gate.secure, samesite="Strict")
        return response

    def _form(self, wanted: str, problem: str = "", code: int = 200, name: str = "") -> Response:
        nonce = secrets.token_urlsafe(32)
        page = flask.render_template(
            "sign_in.html",
            title=self.title,
            mark=self.mark,
            problem=problem,
            wanted=wanted,
            name=name[: accounts.MAX_NAME],
            csrf=self._sign(nonce),
            scheme=scheme(),
        )
        response = flask.make_response(page, code)
        response.set_cookie(
            self.gate.form_cookie,
            nonce,
            max_age=FORM_LIFE_S,
            httponly=True,
            secure=self.gate.secure,
            samesite="Strict",
        )
        return response

    def _password_form(self, problem: str = "", code: int = 200) -> Response:
        session = flask.g.session
        page = flask.render_template(
            "password.html",
            title=self.title,
            mark=self.mark,
            problem=problem,
            name=session.name,
            must=session.must_change,
            csrf=session.csrf,
            scheme=scheme(),
        )
        return flask.make_response(page, code)

    def _own_form(self) -> bool:
        nonce = flask.request.cookies.get(self.gate.form_cookie, "")
        sent = flask.request.form.get("csrf", "")
        site = flask.request.headers.get("Sec-Fetch-Site", "same-origin")
        ours = site in {"same-origin", "none"}
        return ours and bool(nonce) and hmac.compare_digest(sent.encode(), self._sign(nonce).encode())

    def _sign(self, nonce: str) -> str:
        return hmac.new(self._form_key, nonce.encode(), hashlib.sha256).hexdigest()

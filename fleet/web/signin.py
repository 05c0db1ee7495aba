"""Signing in and out: by a code that is approved elsewhere, or at the provider's own page."""

from __future__ import annotations

import io
import secrets
import time
from urllib.parse import quote

import segno
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fleet.contract.config import VIEWER_ROLE, WebPage
from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.contract.printable import one_line
from fleet.web import logins, sessions
from fleet.web.destination import HOME, own_path
from fleet.web.logins import Login, Logins
from fleet.web.networks import network_of
from fleet.web.pace import Pace, TooOften
from fleet.web.pages import Pages
from fleet.web.provider import Provider
from fleet.web.sessions import Sessions
from fleet.web.source import PROVIDER, Sources
from fleet.web.viewer import Viewers

log = structlog.get_logger()

_RETURN = "/sign-in/return"
_EARLY = "early"
"""In the query of a sign-in's page: somebody said that the code is approved, and that is not known."""
_WAITS = f"/sign-in?{_EARLY}=1"


class SignIn:
    """The routes that anybody may ask for."""

    def __init__(
        self, page: WebPage, pages: Pages, own: Sessions, viewers: Viewers, provider: Provider, sources: Sources
    ) -> None:
        """People sign in at the provider, `viewers` judge what it says of them, and `own` remembers."""
        self._config = page
        self._pages = pages
        self._sessions = own
        self._viewers = viewers
        self._provider = provider
        self._sources = sources
        self.logins = Logins(provider, cookie=sessions.cookie_of(logins.COOKIE, page.certificate))
        self.pace = Pace()

    def routes(self) -> list[Route]:
        """Those of signing in and out."""
        found = [
            Route("/sign-in", self._page),
            Route("/sign-in/qr.svg", self._picture),
            Route("/sign-in/device", self._begin_device, methods=["POST"]),
            Route("/sign-in/check", self._check, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]
        if self._config.client_id:
            found += [Route("/sign-in/provider", self._to_provider), Route(_RETURN, self._back)]
        return found

    async def _page(self, request: Request) -> Response:
        cookie = request.cookies.get(self.logins.cookie)
        if "again" in request.query_params:
            self.logins.forget(cookie)
        login, to = self.logins.find(cookie), _to(request)
        if login is not None:
            to = login.to = login.to if to == HOME else to
        if login is not None and login.error is not None:
            self.logins.forget(cookie)
            return self._shown(request, None, login.error, to)
        early = _not_known(login) if login is not None and _EARLY in request.query_params else None
        return self._shown(request, login, early, to)

    async def _picture(self, request: Request) -> Response:
        login = self.logins.find(request.cookies.get(self.logins.cookie))
        if login is None or login.asked is None:
            return Response(status_code=404)
        picture = io.BytesIO()
        code = segno.make(_address(login), error="m", micro=False)
        code.save(picture, kind="svg", scale=4, border=3, xmldecl=False)
        return Response(picture.getvalue(), media_type="image/svg+xml")

    async def _begin_device(self, request: Request) -> Response:
        to = _to(request)
        try:
            self.pace.take(_network(request))
            self.logins.forget(request.cookies.get(self.logins.cookie))
            cookie, _ = await self.logins.begin_device(to, _network(request))
        except TooOften as error:
            return self._shown(request, None, error, to, status=429)
        except FleetError as error:
            self._provider_said(error)
            return self._shown(request, None, error, to, status=503)
        self._provider_said(None)
        response = RedirectResponse("/sign-in", status_code=303)
        _set(response, self.logins.cookie, cookie, "strict")
        return response

    async def _check(self, request: Request) -> Response:
        """Whether the code was approved; who has it then, has a session."""
        cookie = request.cookies.get(self.logins.cookie)
        login = self.logins.find(cookie)
        by_script = "text/html" not in request.headers.get("accept", "")
        if login is None or login.error is not None or not _shows(request, login):
            return _state({"state": "failed"}, "/sign-in", by_script=by_script)
        if not login.token:
            return _state(_waiting(login), _WAITS, by_script=by_script)
        try:
            async with login.opening:
                login.opened = login.opened or await self._open(login.token)
        except Unreachable as error:
            # The approval counts once the provider's keys can be had.
            self._provider_said(error)
            login.unanswered = error.what
            return _state(_waiting(login), _WAITS, by_script=by_script)
        except FleetError as error:
            login.error = error
            return _state({"state": "failed"}, "/sign-in", by_script=by_script)
        self.logins.remove_later(cookie)
        response = _state({"state": "done", "to": login.to}, login.to, by_script=by_script)
        self._signed_in(request, response, login.opened)
        return response

    async def _to_provider(self, request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            # It begins a sign-in, and ends the one under way: an image in another site's page must not.
            raise NotPermitted("a sign-in is begun at this page, not at another site", next_step="open /sign-in")
        try:
            self.pace.take(_network(request))
        except TooOften as error:
            return self._shown(request, None, error, _to(request), status=429)
        self.logins.forget(request.cookies.get(self.logins.cookie))
        cookie, login = self.logins.begin_code(_to(request), _network(request))
        try:
            url = await self._provider.authorize_url(_return_address(request), login.state, login.nonce, login.verifier)
        except FleetError as error:
            self.logins.forget(cookie)
            self._provider_said(error)
            return self._shown(request, None, error, login.to, status=503)
        response = RedirectResponse(url, status_code=303)
        # The provider's page sends the browser back from another site, where a strict cookie would stay behind.
        _set(response, self.logins.cookie, cookie, "lax")
        return response

    async def _back(self, request: Request) -> Response:
        cookie = request.cookies.get(self.logins.cookie)
        login = self.logins.find(cookie)
        self.logins.forget(cookie)
        asked = request.query_params
        try:
            if login is None or not login.state or not _same(login.state, asked.get("state", "")):
                raise NotPermitted("this sign-in was not begun in this browser", next_step="sign in again")
            if error := asked.get("error"):
                said = one_line(f"{error} {asked.get('error_description', '')}".strip())[:200]
                raise NotPermitted(f"the identity provider refused: {said}", next_step="sign in again")
            token, identity = await self._provider.exchange(
                asked.get("code", ""), _return_address(request), login.verifier
            )
            await self._viewers.check_identity(identity, login.nonce)
            opened = await self._open(token)
        except FleetError as error:
            return self._shown(request, None, error, login.to if login is not None else HOME, status=403)
        # A page in between: a redirect that another site began would not carry the strict cookie.
        response = HTMLResponse(self._pages.page("signed_in", to=login.to))
        self._signed_in(request, response, opened)
        return response

    async def _sign_out(self, request: Request) -> Response:
        self._sessions.end(request.cookies.get(self._sessions.cookie))
        response = RedirectResponse("/sign-in", status_code=303)
        for name in (self._sessions.cookie, self.logins.cookie):
            response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")
        # What a browser may have kept of the screens goes, too.
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    async def _open(self, token: str) -> tuple[str, float]:
        claims = await self._viewers.admit(token)
        cookie, session = self._sessions.begin(claims.subject, claims.subject, claims.expires)
        log.info("signed in", subject=session.subject, session=session.id)
        return cookie, session.expires

    def _signed_in(self, request: Request, response: Response, opened: tuple[str, float]) -> None:
        """Have the browser keep its session. One that it had before ends, or no sign-out would reach it."""
        cookie, expires = opened
        before = request.cookies.get(self._sessions.cookie)
        if before != cookie:
            self._sessions.end(before)
        _set(response, self._sessions.cookie, cookie, "strict", max(1, int(expires - time.time())))
        response.delete_cookie(self.logins.cookie, path="/", secure=True, httponly=True, samesite="strict")

    def _provider_said(self, error: FleetError | None) -> None:
        if isinstance(error, Unreachable):
            self._sources.mark_unavailable(PROVIDER, error.what)
        elif error is None:
            self._sources.mark_available(PROVIDER)

    def _shown(
        self, request: Request, login: Login | None, error: FleetError | None, to: str, status: int = 200
    ) -> Response:
        asked = login.asked if login is not None else None
        text = self._pages.page(
            "sign_in",
            title="Sign in",
            error=error,
            code=one_line(asked.user_code) if asked else "",
            address=one_line(asked.verification_uri) if asked else "",
            where=_address(login) if login is not None and asked else "",
            until=time.time() + (login.began + login.lasts - time.monotonic()) if login is not None else 0,
            host=request.headers.get("host", ""),
            client=self._config.cli_client_id,
            issuer=self._config.issuer,
            role=VIEWER_ROLE,
            by_page=bool(self._config.client_id),
            to="" if to == HOME else f"to={quote(to, safe='')}",
        )
        return HTMLResponse(text, status_code=status)


def _state(state: dict[str, str], to: str, *, by_script: bool) -> Response:
    """Where a sign-in stands: a browser without scripts goes on to a screen, which says so."""
    return JSONResponse(state) if by_script else RedirectResponse(to, status_code=303)


def _waiting(login: Login) -> dict[str, str]:
    """That it waits, and `why` an approval does not count yet where it waits for more than a person."""
    return {"state": "waiting", **({"why": one_line(login.unanswered)} if login.unanswered else {})}


def _shows(request: Request, login: Login) -> bool:
    """Whether who asks shows the code of this sign-in, and not of one that the same browser began before it."""
    code = request.query_params.get("code")
    return code is None or login.asked is None or code == one_line(login.asked.user_code)


def _not_known(login: Login) -> FleetError:
    """What to tell who says that the code is approved, while nothing says so."""
    if login.unanswered:
        return Unreachable(login.unanswered, next_step="wait, and try again: an approval counts once this is over")
    return FleetError(
        "the identity provider does not know your approval yet",
        next_step="open the address below, and approve the code; if you just did, try again in a few seconds",
    )


def _same(text: str, other: str) -> bool:
    """Compare secrets in a time that tells nothing; any text may come from a browser."""
    return secrets.compare_digest(text.encode(), other.encode(errors="replace"))


def _to(request: Request) -> str:
    """The screen that was asked for before the sign-in."""
    return own_path(request.query_params.get("to", ""))


def _network(request: Request) -> str:
    """Whose sign-ins count as one, as of connections."""
    return network_of(request.client.host) if request.client is not None else ""


def _address(login: Login) -> str:
    """Where the code is approved; only an address of the web is made a link."""
    if login.asked is None:
        return ""
    address = login.asked.verification_uri_complete or login.asked.verification_uri
    return address if address.startswith(("https://", "http://")) else ""


def _return_address(request: Request) -> str:
    return f"https://{request.headers.get('host', '')}{_RETURN}"


def _set(response: Response, name: str, value: str, same_site: str, lasts: int | None = None) -> None:
    same = "strict" if same_site == "strict" else "lax"
    response.set_cookie(name, value, max_age=lasts, path="/", secure=True, httponly=True, samesite=same)

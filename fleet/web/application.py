"""The page as an application: what it knows, who is signed in, and the routes; it contacts nobody by itself."""

from __future__ import annotations

from starlette.types import ASGIApp

from fleet.callout.keys import Keys
from fleet.callout.tokens import Tokens
from fleet.contract.config import WebPage
from fleet.web.guard import Guard
from fleet.web.pages import Pages
from fleet.web.provider import Provider
from fleet.web.routes import Routes
from fleet.web.sessions import COOKIE, Sessions, cookie_of
from fleet.web.signin import SignIn
from fleet.web.store import Store
from fleet.web.streams import Streams
from fleet.web.viewer import Viewers


class Application:
    """One page's parts; `asgi` answers requests."""

    def __init__(self, page: WebPage, namespace: str, keys: Keys) -> None:
        """`namespace` is the server's, `keys` the identity provider's.

        Raises:
            InvalidInput: the provider's CA is none.
        """
        self.store = Store()
        self.sessions = Sessions(cookie_of(COOKIE, page.certificate))
        self.streams = Streams(self.store, self.sessions, page.most_streams)
        pages = Pages(self.store, namespace)
        viewers = Viewers(Tokens(keys, page.project_id), page)
        self.provider = Provider(page)
        self.sign_in = SignIn(page, pages, self.sessions, viewers, self.provider, self.store.sources)
        self.routes = Routes(self.store, pages, self.sessions, self.streams).application(self.sign_in)
        # Outside of all: an answer to an error that nobody foresaw has the headers, too.
        self.asgi: ASGIApp = Guard(self.routes)

    async def close(self) -> None:
        """End every stream and every sign-in under way."""
        self.streams.ending.set()
        await self.store.heartbeats.close()
        await self.sign_in.logins.close()

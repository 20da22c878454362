"""Who is asking: links with a token, and the sessions that browsers open with them.

A link carries its token behind the `#`, which browsers send to nobody: it reaches no log and no referrer. The page
hands it in once and gets a cookie instead, which no script can read and no other site can make a browser send.
"""

import dataclasses
import hmac
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from datasets.errors import ArmchairError
from pipeline.annotate.errors import ApiError

if TYPE_CHECKING:
    from pipeline.annotate.state import AppState

_TOKEN_BYTES = 32  # of randomness: nobody guesses 256 bits


@dataclasses.dataclass(frozen=True)
class Session:
    """A signed-in browser."""

    user: str
    expires: float  # Unix seconds


class Sessions:
    """The tokens of a server's annotators, and who is signed in. Lost with the process: links are made anew."""

    def __init__(self, annotators: Sequence[str], seconds: float, clock: Callable[[], float]):
        """Makes one token for each annotator.

        Args:
          annotators: distinct names.
          seconds: how long a token is good for, and a session from its opening.
          clock: Unix seconds.

        Raises:
          ArmchairError: if there is no annotator, or one twice or without a name.
        """
        names = [name.strip() for name in annotators]
        if not names or not all(names) or len(set(names)) < len(names):
            raise ArmchairError(f"annotators {list(annotators)} cannot be told apart: give each a name of their own")
        self.tokens = {name: secrets.token_urlsafe(_TOKEN_BYTES) for name in names}
        self._seconds = seconds
        self._clock = clock
        self._expires = clock() + seconds
        self._once: dict[str, str] = {}  # token -> name
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def one_time_token(self, name: str) -> str:
        """A token that opens one session: for a command line, which other users of this machine can read."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._once[token] = name
        return token

    def open(self, token: str) -> tuple[str, Session]:
        """Signs in; returns the session's id, for the cookie, and the session. Raises ApiError 401."""
        given, user, now = token.encode(errors="replace"), None, self._clock()
        with self._lock:
            known = {right: name for name, right in self.tokens.items()} | self._once
            for right, name in known.items():  # each is compared, and in constant time: the clock tells nothing
                if hmac.compare_digest(given, right.encode()):
                    user = name
            self._once.pop(token, None)
        if user is None:
            raise ApiError(401, "bad_token", "this link is not valid here: open the one that the server printed last")
        if now >= self._expires:
            raise ApiError(401, "token_expired", "this link has expired: start the server again for a new one")
        session_id, session = secrets.token_urlsafe(_TOKEN_BYTES), Session(user, now + self._seconds)
        with self._lock:
            self._sessions = {key: other for key, other in self._sessions.items() if other.expires > now}
            self._sessions[session_id] = session
        return session_id, session

    def find(self, session_id: str | None) -> Session:
        """The session of a cookie. Raises ApiError 401 without one, or if it has expired."""
        session = self._sessions.get(session_id or "")
        if session is None or session.expires <= self._clock():
            raise ApiError(401, "not_signed_in", "you are not signed in: open the link that the server printed")
        return session

    def close(self, session_id: str | None) -> None:
        """Signs out; no matter if there is no such session."""
        with self._lock:
            self._sessions.pop(session_id or "", None)


async def current_user(connection: HTTPConnection) -> str:
    """The annotator's name, from the session and never from the request; for routes and WebSockets.

    Raises:
      ApiError: 401 if nobody is signed in.
    """
    state: AppState = connection.app.state.armchair
    return state.sessions.find(connection.cookies.get(state.cookie)).user


CurrentUser = Annotated[str, Depends(current_user)]
"""Type of a route's parameter that is the annotator's name."""

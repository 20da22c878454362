"""Routes about the session: sign in by a link's token, ask who one is, sign out."""

from fastapi import APIRouter, Request, Response

from pipeline.annotate import wire
from pipeline.annotate.errors import refusals
from pipeline.annotate.sessions import CurrentUser
from pipeline.annotate.state import AppState
from pipeline.annotate.version import VERSION

SUCCESS, FAILURE = 0.85, 0.15
"""Where a sketch says that the task is solved, or not begun (Cabi et al., arXiv 1909.12200, as recalled)."""

UNUSABLE_REASONS = ("wrong task", "task not visible", "pictures damaged or missing", "nothing happens", "robot fault")
"""Why an episode is usually unusable; people may write others."""


def router(state: AppState) -> APIRouter:
    """The routes under /api/session."""
    routes = APIRouter(prefix="/session", tags=["session"])

    def answer(user: str) -> wire.SessionAnswer:
        return wire.SessionAnswer(
            user=user,
            task_id=state.config.task,
            thresholds=wire.Thresholds(success=SUCCESS, failure=FAILURE),
            lease_seconds=state.config.lease_seconds,
            unusable_reasons=list(UNUSABLE_REASONS),
            version=VERSION,
        )

    @routes.post("", summary="Sign in with the token of a link", responses=refusals(401, 403, 413))
    def sign_in(body: wire.SignIn, response: Response) -> wire.SessionAnswer:
        session_id, session = state.sessions.open(body.token)
        seconds = int(state.config.session_hours * 3600)
        response.set_cookie(state.cookie, session_id, seconds, httponly=True, samesite="strict", path="/")
        return answer(session.user)

    @routes.get("", summary="Who is signed in", responses=refusals(401, 403))
    def who(user: CurrentUser) -> wire.SessionAnswer:
        return answer(user)

    @routes.delete("", status_code=204, summary="Sign out", responses=refusals(403))
    def sign_out(request: Request, response: Response) -> None:
        state.sessions.close(request.cookies.get(state.cookie))
        response.delete_cookie(state.cookie, httponly=True, samesite="strict", path="/")

    return routes

"""What the server answers when it cannot do what was asked: a code for the page, and one sentence for its reader."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from datasets.errors import ArmchairError, BadEpisodeError

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}  # of what the framework itself refuses


class ApiError(HTTPException):
    """A refusal. `details` go beside code and message, for example the holder of an episode that is taken."""

    def __init__(self, status: int, code: str, message: str, **details: str):
        """The status is one of HTTP's; the code is for programs, the message one sentence for people."""
        super().__init__(status, message)
        self.content = error_content(code, message, **details)


class ErrorFacts(BaseModel):
    """Why something was refused."""

    model_config = ConfigDict(extra="allow")  # details, such as `holder`
    code: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every refusal."""

    error: ErrorFacts


def error_content(code: str, message: str, **details: str) -> dict[str, Any]:
    """The body of a refusal, as JSON values."""
    return {"error": {"code": code, "message": message, **details}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may refuse with these statuses, for its OpenAPI description."""
    return {status: {"model": ErrorAnswer} for status in statuses}


def install(app: FastAPI) -> None:
    """Makes every error of the app's routes an `ErrorAnswer`."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error, ApiError):
            content = error.content
        elif error.status_code == 400:  # bytes that are no text, or a number of more digits than Python reads
            return JSONResponse(error_content("invalid", "the body cannot be read as JSON: send it in UTF-8"), 422)
        else:
            content = error_content(_CODES.get(error.status_code, "refused"), str(error.detail))
        return JSONResponse(content, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(error_content("invalid", _sentence(error.errors())), 422)

    @app.exception_handler(BadEpisodeError)
    async def unreadable(request: Request, error: BadEpisodeError) -> JSONResponse:
        return JSONResponse(error_content("unreadable_episode", str(error)), 409)

    @app.exception_handler(ArmchairError)
    async def mistaken(request: Request, error: ArmchairError) -> JSONResponse:
        return JSONResponse(error_content("refused", str(error)), 409)


def _sentence(problems: Sequence[Any]) -> str:
    """The first problem, by field and, in a list, by frame; what was sent is not repeated, it may be long or secret."""
    where, what = problems[0]["loc"], problems[0]["msg"]
    place, *rest = where
    names = [f"frame {part}" if isinstance(part, int) else part for part in rest]
    if problems[0]["type"] == "json_invalid":
        return f"the body is no JSON: {what}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{', '.join(names) or place}: {what}{more}"

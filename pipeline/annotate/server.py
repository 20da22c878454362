"""The sketching page's server: everything that it answers, put together."""

import time
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from datasets.store import Store
from pipeline.annotate import browsing, errors, insight, labelling, signing_in, teleop
from pipeline.annotate.security import Gate
from pipeline.annotate.state import AppState, ServerConfig
from pipeline.annotate.version import VERSION

STATIC = Path(__file__).parent / "static"
"""The page itself."""


def create_app(store: Store, config: ServerConfig, clock: Callable[[], float] = time.time) -> FastAPI:
    """The server as an ASGI app; `app.state.armchair` is its `AppState`, which has the tokens of the links.

    Args:
      store: whose episodes are sketched.
      config: see `ServerConfig`.
      clock: Unix seconds.

    Raises:
      ArmchairError: if the query cannot be read, or the annotators' names are not distinct.
    """
    state = AppState(store, config, clock)
    app = FastAPI(
        title="Armchair's sketching page",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )  # docs_url: Swagger's page would come from a CDN
    app.state.armchair = state
    errors.install(app)
    app.add_middleware(Gate, host=config.host)
    for module in (signing_in, browsing, labelling, insight, teleop):
        app.include_router(module.router(state), prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    return app

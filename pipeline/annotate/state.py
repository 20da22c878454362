"""What the server's routes share."""

import dataclasses
import time
from collections.abc import Callable

from datasets.store import Store
from pipeline.annotate.frames import PictureCache
from pipeline.annotate.queue import SketchQueue
from pipeline.annotate.sessions import Sessions


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Who sketches what, and where the page is served."""

    task: str
    """The task to rate."""
    query: str = ""
    """Which episodes wait to be sketched, as in `armchair store query`; by default those recorded for the task."""
    annotators: tuple[str, ...] = ("annotator",)
    """Who sketches: one link each. A sketch carries the name that its link was made for."""
    host: str = "127.0.0.1"
    """Address to listen at. Any other than a loopback one sends everything unencrypted over the network."""
    port: int = 8765
    """Port to listen at; the next free one, if it is taken."""
    lease_seconds: float = 300.0
    """How long an episode stays reserved after the last sign of life from the page that shows it."""
    session_hours: float = 12.0
    """How long a link, and a browser that is signed in, stays valid: a working day."""
    second_opinions: float = 0.05
    """Share of the episodes that a second person sketches too: how far people agree is told from these."""
    seed: int = 0
    """Decides the random order of the queue."""


class AppState:
    """One store, one task, and the people at work on it. Used by many threads at once."""

    def __init__(self, store: Store, config: ServerConfig, clock: Callable[[], float] = time.time):
        """`clock` gives Unix seconds."""
        self.store = store
        self.config = config
        self.clock = clock
        self.sessions = Sessions(config.annotators, config.session_hours * 3600, clock)
        self.pictures = PictureCache(store)
        self.queue = SketchQueue(store, config.task, config.query, config.second_opinions, config.seed)
        self.teleop = False  # whether demonstrations can be made here; the routes for them say so

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; a browser sends cookies to every port of a host, so it tells the port."""
        return f"armchair-{self.config.port}"

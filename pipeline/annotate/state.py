"""What the server's routes share."""

import time
from collections.abc import Callable

from datasets.store import Store
from pipeline.annotate.config import ServerConfig
from pipeline.annotate.frames import PictureCache
from pipeline.annotate.labels import LabelReader
from pipeline.annotate.queue import SketchQueue
from pipeline.annotate.sessions import Sessions


class AppState:
    """One store, one task, and the people at work on it. Used by many threads at once."""

    def __init__(self, store: Store, config: ServerConfig, clock: Callable[[], float] = time.time):
        """`clock` gives Unix seconds."""
        self.store = store
        self.config = config
        self.clock = clock
        self.sessions = Sessions(config.annotators, config.session_hours * 3600, clock)
        self.pictures = PictureCache(store)
        self.labels = LabelReader(store, config.task)
        self.queue = SketchQueue(store, config.task, config.query, config.second_opinions, config.seed)

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; a browser sends cookies to every port of a host, so it tells the port."""
        return f"armchair-{self.config.port}"

"""The options of the sketching page's server."""

import dataclasses
import getpass
from pathlib import Path

from datasets.errors import ArmchairError


def login_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        return "annotator"


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Who sketches what, and where the page is served."""

    task: str
    """The task to rate."""
    query: str = ""
    """Which episodes wait to be sketched, as in `armchair store query`; by default those recorded for the task."""
    annotators: tuple[str, ...] = dataclasses.field(default_factory=lambda: (login_name(),))
    """Who sketches: one link each, and each sketch carries the name that its link was made for. By default you."""
    host: str = "127.0.0.1"
    """Address to listen at. By default nobody but this machine reaches it; http over a network is not encrypted."""
    port: int = 8765
    """Port to listen at; the next free one, if it is taken. 0: any."""
    lease_seconds: float = 300.0
    """How long an episode stays reserved after the last sign of life of the page that shows it: a pause for coffee."""
    session_hours: float = 12.0
    """How long a link, and a browser that is signed in, stays valid: a long working day."""
    second_opinions: float = 0.05
    """Share of the episodes that a second person sketches too: from these is told how far people agree."""
    seed: int = 0
    """Decides the random order of the queue."""
    robot: str = ""
    """What is driven in the Demonstrate view, instead of the tasks of the simulated cell: a name as for `armchair
    collect --robot`, such as module:factory. A real arm has its safety filter on."""
    arm: Path | None = None
    """With franka:HOST: the file that says where the arm may move, and which cameras there are."""
    spacemouse: bool = False
    """Whether a SpaceMouse that is plugged into this machine drives, too."""
    policies: tuple[str, ...] = ()
    """Who may drive in the Demonstrate view, for a person to take over from: folders of trained policies, or others as
    in `armchair collect --policies`."""

    def __post_init__(self) -> None:
        """Raises ArmchairError for a number that makes no sense."""
        for name, sound, allowed in (
            ("port", 0 <= self.port < 2**16, "from 0 to 65,535"),
            ("lease_seconds", 1 <= self.lease_seconds <= 86_400, "from 1 to 86,400"),
            ("session_hours", 0 < self.session_hours <= 8_760, "above 0, at most 8,760 (a year)"),
            ("second_opinions", 0 <= self.second_opinions <= 1, "from 0 to 1"),
        ):
            if not sound:  # NaN too
                raise ArmchairError(f"{name} is {getattr(self, name)}: give a number {allowed}")

"""What a loop needs that drives an arm in real time: a pace, and an episode that may be stopped at any step."""

import time
from typing import Protocol

import dm_env
import numpy as np

from datasets import schema
from robot.wrapper import Wrapper


class Clock(Protocol):
    """What time it is: the module `time`, or a simulated one (`robot.drivers.fake.FakeClock`)."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Returns after that time."""


class Pace:
    """Moments one control period apart, and how well they are kept.

    A step that is not done by the next moment is an overrun. It moves all later moments: nothing is caught up, since an
    arm must not rush.
    """

    def __init__(self, period: float, clock: Clock = time):
        """`period` in seconds; the first moment is now."""
        self._period, self._clock = period, clock
        self.start()

    def start(self) -> None:
        """Makes now the first moment."""
        self._late = list[float]()
        self._start = self.due = self._clock.monotonic()
        self.overruns = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the first moment."""
        return self._clock.monotonic() - self._start

    def begin(self) -> None:
        """A step begins: at `due`, or a little later."""
        self._late.append(self._clock.monotonic() - self.due)
        self.due += self._period

    def end(self) -> None:
        """The step is done."""
        if (now := self._clock.monotonic()) > self.due:
            self.overruns += 1
            self.due = now

    def wait(self) -> None:
        """Instead of `end`: sleeps until the next moment; after an overrun, for a whole period.

        For an arm that is to be seen a period after it was told what to do.
        """
        if (now := self._clock.monotonic()) > self.due:
            self.overruns += 1
            self.due = now + self._period
        self._clock.sleep(self.due - now)

    def jitter_ms(self) -> float:
        """95th percentile of how late steps began."""
        return 1000 * float(np.percentile(self._late, 95))


class Stoppable(Wrapper):
    """An environment whose next step can be made the episode's last. What else it has shows through.

    That last step is a truncation: the world goes on, so the discount stays what it is.
    """

    def __init__(self, env: dm_env.Environment):
        """`env` serves one episode."""
        super().__init__(env)
        self._stopping = False
        self.acted_by: schema.ActedBy | None = None  # whose wish the next action is, for the record; None: not to tell

    def stop(self) -> None:
        """Makes the next step the last."""
        self._stopping = True

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes a step."""
        timestep = self._env.step(action)
        return timestep._replace(step_type=dm_env.StepType.LAST) if self._stopping else timestep

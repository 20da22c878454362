"""What is to be played, and an environment made ready for it with everybody who acts there."""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dm_env
import numpy as np

from datasets import schema
from robot.actors import make_actor
from robot.env import CellConfig, Safety, make_env
from robot.loop import EpisodeSummary, run_episode, summarize
from robot.safety import EmergencyStopError
from robot.types import Actor


class Job(NamedTuple):
    """One episode to be played."""

    env: str  # a name for `robot.env.make_env`
    actor: str  # a name for `robot.actors.make_actor`
    seed: int  # of the environment and of the actor


@dataclasses.dataclass(frozen=True)
class PlanLine:
    """Episodes of one actor in one environment."""

    env: str  # a name for `robot.env.make_env`
    actor: str  # a name for `robot.actors.make_actor`
    episodes: int
    seed: int = 0  # episode i has seed + i: of the environment and of the actor

    def jobs(self) -> list[Job]:
        """The line's episodes, in the order of their seeds."""
        return [Job(self.env, self.actor, self.seed + i) for i in range(self.episodes)]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the episodes of a plan have in common."""

    out: Path | None  # they are recorded to out/dataset/1.0.0; None: not at all
    dataset: str = "recorded"
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)  # cameras and looks of the simulated cell
    workers: int = 1  # processes; 1: this one
    safety: Safety = Safety.AUTO  # whether there is a safety filter between actor and arm
    interleave: bool = False  # whether the lines of a plan take turns
    initial: Path | None = None  # pictures of how episodes on an arm begin, by seed; None: out/campaign/initial
    arm: Path | None = None  # the file of a franka:HOST (`robot.drivers.arm_file`)

    def make_env(self, name: str, seed: int) -> dm_env.Environment:
        """The environment of that name. Raises ArmchairError as `robot.env.make_env`."""
        return make_env(name, seed, self.cell, self.safety, self.arm)

    def recorded(self) -> Iterator[EpisodeSummary]:
        """Summaries of the episodes that are on disk, but for parts of some: those are repeated."""
        if self.out is not None:
            from robot import record  # imports TensorFlow: seconds

            for episode in record.recorded(self.out, self.dataset):
                if not schema.PARTS & set(episode.metadata.tags.split(",")):
                    yield summarize(episode)


def pictures(observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of an observation: name -> uint8[H, W, C]."""
    return {name: value for name, value in observation.items() if value.dtype == np.uint8 and value.ndim == 3}


def in_order(plan: Sequence[PlanLine], interleave: bool) -> list[Job]:
    """All episodes of a plan in the order in which they are played.

    Args:
      plan: the lines.
      interleave: whether lines take turns: each line's first episode, then each line's second, and so on, every time
        in another order, which the first line's seed decides. If not, the lines come one after the other.
    """
    lines = [line.jobs() for line in plan]
    if not interleave:
        return [job for jobs in lines for job in jobs]
    rng = random.Random(plan[0].seed)
    order = list[Job]()
    for i in range(max(map(len, lines))):
        block = [jobs[i] for jobs in lines if i < len(jobs)]
        order += rng.sample(block, len(block))
    return order


class Stage:
    """One environment, its recorder, and its actors, which are made when they first act. A context manager.

    An environment with a method `seed(int)` is kept from episode to episode; any other is made anew for each, so that
    an episode depends on its seed alone.
    """

    def __init__(self, env: str, seed: int, setting: Setting):
        """Makes the environment and moves nothing. Raises ArmchairError as `robot.plan.play`."""
        self.name, self._seed, self._setting = env, seed, setting
        self._env: dm_env.Environment = setting.make_env(env, seed)
        self._actors: dict[str, Actor] = {}
        self._backend = None
        if setting.out is not None:
            from robot import record

            self._backend = record.EpisodeBackend(setting.out, setting.dataset, hold=True)
            self._backend.check(self._env)
        self.task_id: str = getattr(self._env, "task_id", env)
        self.is_hardware: bool = getattr(self._env, "is_hardware", False)

    @property
    def latched(self) -> str:
        """Why the arm was stopped; empty if it was not."""
        return getattr(self._env, "latched", "")

    def actor(self, name: str) -> Actor:
        """Whoever has this name. Raises ArmchairError as `robot.actors.make_actor`."""
        if name not in self._actors:
            self._actors[name] = make_actor(name, self._seed, self._env)
        return self._actors[name]

    def key(self, job: Job) -> tuple[str, str, int]:
        """`EpisodeSummary.key` of the episode to be."""
        return self.task_id, self.actor(job.actor).policy_id, job.seed

    def play(self, job: Job) -> EpisodeSummary:
        """Plays, and records, an episode.

        Raises:
          EmergencyStopError: the arm was stopped; the episode is recorded.
        """
        summary = self.perform(job)
        if self._backend is not None:
            summary = dataclasses.replace(summary, episode_id=self.keep().episode_id)
        self.check()
        return summary

    def perform(self, job: Job, **metadata: Any) -> EpisodeSummary:
        """Plays an episode, which is then in hand where episodes are recorded: `keep` or `drop` it.

        Args:
          job: its environment is this one.
          **metadata: further fields of the episode's `EpisodeMetadata`.

        Raises:
          DriverError: the arm failed. What it did until then is recorded with the tag `arm_failed`, and does not count.
        """
        actor = self.actor(job.actor)
        if callable(getattr(self._env, "seed", None)):
            self._env.seed(job.seed)
        else:
            self._env.close()
            self._env = self._setting.make_env(self.name, job.seed)
        env = self._env
        if self._backend is not None:
            from robot import record

            known = {"policy_id": actor.policy_id, "task_id": self.task_id, "seed": job.seed}
            env = record.RecordedEnvironment(self._env, self._backend, known | metadata)
        try:
            return dataclasses.replace(run_episode(env, actor, job.seed), task_id=self.task_id)
        except Exception:
            if self._backend is not None and self._backend.has_finished:  # up to where the arm failed
                self.keep(tags=",".join(filter(None, (self._backend.finished.metadata.tags, schema.ARM_FAILED))))
            raise

    def keep(self, **changes: Any) -> EpisodeSummary:
        """Records the episode in hand, with these fields of its metadata changed.

        Raises:
          ArmchairError: it could not be written.
        """
        assert self._backend is not None, "nothing is recorded"
        return summarize(self._backend.keep(**changes))

    def drop(self) -> None:
        """Forgets the episode in hand."""
        assert self._backend is not None, "nothing is recorded"
        self._backend.drop()

    def check(self) -> None:
        """Raises EmergencyStopError if the arm is stopped: another stage would not know."""
        if self.latched:
            raise EmergencyStopError(f"the arm was stopped ({self.latched}): look after it, and start again")

    @property
    def looks_at_rest(self) -> bool:
        """Whether one can look through the cameras while nothing moves."""
        return callable(getattr(self._env, "look", None))

    def look(self, at_rest: bool) -> dict[str, np.ndarray]:
        """What the cameras see: name -> uint8[H, W, C].

        Args:
          at_rest: nothing moves, where it `looks_at_rest`; if not, the arm goes to where episodes begin.
        """
        return pictures(self._env.look() if at_rest else self._env.reset().observation)

    def opening(self) -> dict[str, bytes]:
        """The first pictures of the episode in hand, as they are recorded: name -> JPEG."""
        assert self._backend is not None, "nothing is recorded"
        episode = self._backend.finished
        return {name: episode.observation[name][0] for name in episode.image_keys}

    def close(self) -> None:
        """Closes the environment, which stops an arm, and the recorder."""
        self._env.close()
        if self._backend is not None:
            self._backend.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

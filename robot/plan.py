"""Playing planned episodes, by one process or several, recorded or not.

An episode is planned by its environment, actor and seed, and depends on nothing else. One that is on disk already is
not played again, so whatever was interrupted goes on where it stopped when it is started again.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import dm_env

from datasets.console import progress_bar
from datasets.errors import ArmchairError
from robot.actors import make_actor
from robot.env import CellConfig, Safety, make_env
from robot.loop import EpisodeSummary, run_episode, summarize
from robot.safety import EmergencyStopError


@dataclasses.dataclass(frozen=True)
class PlanLine:
    """Episodes of one actor in one environment."""

    env: str  # a name for `robot.env.make_env`
    actor: str  # a name for `robot.actors.make_actor`
    episodes: int
    seed: int = 0  # episode i has seed + i: of the environment and of the actor


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the episodes of a plan have in common."""

    out: Path | None  # they are recorded to out/dataset/1.0.0; None: not at all
    dataset: str = "recorded"
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)  # cameras and looks of the simulated cell
    workers: int = 1  # processes; 1: this one
    safety: Safety = Safety.AUTO  # whether there is a safety filter between actor and arm


def play(plan: Sequence[PlanLine], setting: Setting, description: str) -> list[EpisodeSummary]:
    """Plays every planned episode that is not on disk yet, under a progress bar.

    Returns:
      Summaries of all planned episodes, in the order of the plan.

    Raises:
      ArmchairError: a name in the plan means nothing, the disk is full, or a worker died.
      EmergencyStopError: the arm was stopped; what was recorded until then, that episode included, is kept.
      SpecMismatchError: the dataset, or a policy, is for other observations or actions.
    """
    known = _recorded(setting)
    summaries: dict[tuple[str, str, int], EpisodeSummary] = {}
    keys, jobs = [], []
    for line in plan:
        with Stage(line, setting) as stage:  # in this process, so that mistakes show before workers start
            planned = [(stage.task_id, stage.policy_id, line.seed + i) for i in range(line.episodes)]
        summaries |= {key: known[key] for key in planned if key in known}
        jobs += [(line, seed) for *_, seed in (key for key in planned if key not in known)]
        keys += planned
    with progress_bar() as bar:
        task = bar.add_task(description, total=len(keys), completed=len(summaries))
        for summary in _play_here(jobs, setting) if setting.workers == 1 else _play_in_workers(jobs, setting):
            summaries[summary.key] = summary
            bar.advance(task)
    return [summaries[key] for key in keys]


class Stage:
    """One line of a plan made ready: its environment, actor and recorder. A context manager.

    An environment with a method `seed(int)` is kept from episode to episode; any other is made anew for each, so that
    an episode depends on its seed alone.
    """

    def __init__(self, line: PlanLine, setting: Setting):
        """Makes everything. Raises ArmchairError as `play`."""
        self.line = line
        self._setting = setting
        self._env: dm_env.Environment = make_env(line.env, line.seed, setting.cell, setting.safety)
        self._actor = make_actor(line.actor, line.seed, self._env)
        self._backend = None
        if setting.out is not None:
            from robot import record  # imports TensorFlow: seconds

            self._backend = record.EpisodeBackend(setting.out, setting.dataset)
            self._backend.check(self._env)
        self.task_id: str = getattr(self._env, "task_id", line.env)
        self.policy_id = self._actor.policy_id

    def play(self, seed: int) -> EpisodeSummary:
        """Plays, and records, the episode of this seed.

        Raises:
          EmergencyStopError: the arm was stopped; the episode is recorded.
        """
        if callable(getattr(self._env, "seed", None)):
            self._env.seed(seed)
        else:
            self._env.close()
            self._env = make_env(self.line.env, seed, self._setting.cell, self._setting.safety)
        if self._backend is None:
            summary = run_episode(self._env, self._actor, seed)
        else:
            from robot import record

            metadata = {"policy_id": self.policy_id, "task_id": self.task_id, "seed": seed}
            env = record.RecordedEnvironment(self._env, self._backend, metadata)
            summary = dataclasses.replace(run_episode(env, self._actor, seed), episode_id=env.episode_ids[-1])
        if why := getattr(self._env, "latched", ""):  # another stage would not know
            raise EmergencyStopError(f"the arm was stopped ({why}): look after it, and start again")
        return dataclasses.replace(summary, task_id=self.task_id)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _recorded(setting: Setting) -> dict[tuple[str, str, int], EpisodeSummary]:
    if setting.out is None:
        return {}
    from robot import record

    return {s.key: s for s in map(summarize, record.recorded(setting.out, setting.dataset))}


def _play_here(jobs: Sequence[tuple[PlanLine, int]], setting: Setting) -> Iterator[EpisodeSummary]:
    stage: Stage | None = None
    try:
        for line, seed in jobs:
            stage = _ready(stage, line, setting)
            yield stage.play(seed)
    finally:
        if stage is not None:
            stage.close()


def _play_in_workers(jobs: Sequence[tuple[PlanLine, int]], setting: Setting) -> Iterator[EpisodeSummary]:
    pool = concurrent.futures.ProcessPoolExecutor(
        min(setting.workers, len(jobs)) or 1, multiprocessing.get_context("spawn"), _start_worker
    )
    try:
        futures = [pool.submit(_play_in_worker, line, setting, seed) for line, seed in jobs]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise ArmchairError(
            "a worker process died (out of memory?): start the same command again with fewer workers; "
            "finished recordings are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, after the episodes that are being played


_stage: Stage | None = None  # of a worker process, kept from episode to episode


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent lets workers finish their episodes
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # workers share the cores by being several


def _play_in_worker(line: PlanLine, setting: Setting, seed: int) -> EpisodeSummary:
    global _stage  # noqa: PLW0603 - one a process
    _stage = _ready(_stage, line, setting)
    return _stage.play(seed)


def _ready(stage: Stage | None, line: PlanLine, setting: Setting) -> Stage:
    """The stage itself if it is of this line, else a new one in its place."""
    if stage is not None and stage.line == line:
        return stage
    if stage is not None:
        stage.close()  # first: two open renderers in one process give garbage
    return Stage(line, setting)

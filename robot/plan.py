"""Playing planned episodes, by one process or several, recorded or not.

An episode is planned by its environment, actor and seed, and depends on nothing else. One that is on disk already is
not played again, so whatever was interrupted goes on where it stopped when it is started again. On a real arm, a person
is asked about each (`robot.campaign`).
"""

import concurrent.futures
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from datasets.console import progress_bar
from datasets.errors import ArmchairError
from robot.campaign.operators import Operator
from robot.loop import EpisodeSummary
from robot.stage import Job, PlanLine, Setting, Stage, in_order

__all__ = ["PlanLine", "Setting", "play"]


def play(
    plan: Sequence[PlanLine], setting: Setting, description: str, operator: Operator | None = None
) -> list[EpisodeSummary]:
    """Plays every planned episode that is not on disk yet, under a progress bar; on an arm, with a person beside it.

    Returns:
      Summaries of all planned episodes, in the order of the plan's lines.

    Raises:
      ArmchairError: a name in the plan means nothing, the disk is full, or a worker died; or as a campaign's `run`.
      EmergencyStopError: the arm was stopped; what was recorded until then, that episode included, is kept.
      SpecMismatchError: the dataset, or a policy, is for other observations or actions.
    """
    known = {summary.key: summary for summary in setting.recorded()}
    keys: dict[Job, tuple[str, str, int]] = {}
    stage: Stage | None = None
    try:
        for line in plan:  # in this process, so that mistakes show before workers start
            stage = _ready(stage, line.env, line.seed, setting)
            if stage.is_hardware and any(other.env != line.env for other in plan):
                raise ArmchairError(f"{line.env} is a real arm: plan episodes on it alone")
            keys |= {job: stage.key(job) for job in line.jobs()}
        if len(set(keys.values())) < sum(line.episodes for line in plan):
            raise ArmchairError("the same episodes are planned twice: give each policy once, or other seeds")
        todo = [job for job in in_order(plan, setting.interleave) if keys[job] not in known]
        if todo and stage is not None and stage.is_hardware:
            from robot.campaign import campaign

            known = campaign.run(stage, plan, setting, known, operator)
            return [known[key] for key in keys.values()]
    finally:
        if stage is not None:
            stage.close()
    with progress_bar() as bar:
        task = bar.add_task(description, total=len(keys), completed=len(keys) - len(todo))
        for summary in _play_here(todo, setting) if setting.workers == 1 else _play_in_workers(todo, setting):
            known[summary.key] = summary
            bar.advance(task)
    return [known[key] for key in keys.values()]


def _play_here(jobs: Sequence[Job], setting: Setting) -> Iterator[EpisodeSummary]:
    stage: Stage | None = None
    try:
        for job in jobs:
            stage = _ready(stage, job.env, job.seed, setting)
            yield stage.play(job)
    finally:
        if stage is not None:
            stage.close()


def _play_in_workers(jobs: Sequence[Job], setting: Setting) -> Iterator[EpisodeSummary]:
    pool = concurrent.futures.ProcessPoolExecutor(
        min(setting.workers, len(jobs)) or 1, multiprocessing.get_context("spawn"), _start_worker
    )
    try:
        futures = [pool.submit(_play_in_worker, job, setting) for job in jobs]
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


def _play_in_worker(job: Job, setting: Setting) -> EpisodeSummary:
    global _stage  # noqa: PLW0603 - one a process
    _stage = _ready(_stage, job.env, job.seed, setting)
    return _stage.play(job)


def _ready(stage: Stage | None, env: str, seed: int, setting: Setting) -> Stage:
    """The stage itself if it is of this environment, else a new one in its place."""
    if stage is not None and stage.name == env:
        return stage
    if stage is not None:
        stage.close()  # first: two open renderers in one process give garbage
    return Stage(env, seed, setting)

"""The episode loop."""

import dataclasses

import dm_env

from datasets.episode import Episode
from datasets.schema import Verdict
from robot.types import Actor


@dataclasses.dataclass(frozen=True)
class EpisodeSummary:
    """One episode in numbers."""

    task_id: str
    policy_id: str
    seed: int
    return_: float  # sum of the environment's rewards
    length: int  # transitions, that is, actions
    success: bool | None  # None: the environment gives no verdict
    episode_id: str = ""  # of the recorded episode; empty if it was not recorded

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes an episode the same one when it is planned again."""
        return self.task_id, self.policy_id, self.seed


def run_episode(env: dm_env.Environment, actor: Actor, seed: int) -> EpisodeSummary:
    """Plays one episode.

    Args:
      env: its next `reset` starts the episode; `task_id` and `is_success()` are used where it has them.
      actor: chooses the actions.
      seed: of the actor's random numbers (the environment has its own, see `robot.env.make_env`).
    """
    actor.reset(seed)
    timestep, return_, length = env.reset(), 0.0, 0
    while not timestep.last():
        timestep = env.step(actor.act(timestep.observation))
        return_, length = return_ + float(timestep.reward), length + 1
    success = env.is_success() if hasattr(env, "is_success") else None
    return EpisodeSummary(getattr(env, "task_id", ""), actor.policy_id, seed, return_, length, success)


def summarize(episode: Episode) -> EpisodeSummary:
    """What `run_episode` said when this episode was recorded."""
    meta = episode.metadata
    success = None if meta.verdict == Verdict.UNKNOWN else meta.verdict == Verdict.SUCCESS
    return_ = float(episode.reward.sum(dtype=float))
    return EpisodeSummary(
        meta.task_id, meta.policy_id, meta.seed, return_, episode.num_steps - 1, success, meta.episode_id
    )

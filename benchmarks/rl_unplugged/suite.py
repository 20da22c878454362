"""Tasks of the DeepMind control suite, and episodes of them."""

import uuid
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from datasets.episode import Episode, EpisodeMetadata
from robot.adapters import DmEnvironment

Act = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Observations {name: [E, ...]} to actions float32[E, A]."""


def make(task: str, seed: int) -> DmEnvironment:
    """A task by the name that RL Unplugged gives it, e.g. walker_walk; the seed decides its initial states."""
    from dm_control import suite  # imports a renderer

    domain, _, name = task.partition("_")
    return DmEnvironment(suite.load(domain, name, task_kwargs={"random": seed}), task)


def play(envs: Sequence[DmEnvironment], act: Act, policy_id: str) -> list[Episode]:
    """An episode of each environment, side by side: all last as long, as nothing in these tasks ends early."""
    steps = [[env.reset() for env in envs]]
    actions = []
    while not steps[-1][0].last():
        observation = {
            k: np.stack([step.observation[k] for step in steps[-1]]).astype(np.float32)
            for k in steps[-1][0].observation
        }
        actions.append(act(observation))
        steps.append([env.step(action) for env, action in zip(envs, actions[-1], strict=True)])
    return [
        _episode(env, [row[e] for row in steps], np.stack([row[e] for row in actions]), policy_id)
        for e, env in enumerate(envs)
    ]


def _episode(env: DmEnvironment, steps: Sequence, actions: np.ndarray, policy_id: str) -> Episode:
    """Of T time steps, and the T - 1 actions between them."""
    metadata = EpisodeMetadata(
        uuid.uuid4().hex, env.task_id, policy_id=policy_id, robot=env.task_id.partition("_")[0],
        control_rate_hz=1 / env.control_timestep(),
    )  # fmt: skip
    times = np.arange(len(steps))
    return Episode(
        metadata,
        {k: np.stack([step.observation[k] for step in steps]).astype(np.float32) for k in steps[0].observation},
        action=np.append(actions, np.zeros_like(actions[:1]), 0),
        reward=np.float32([*(step.reward for step in steps[1:]), 0]),
        discount=np.float32([*(step.discount for step in steps[1:]), steps[-1].discount]),
        is_first=times == 0,
        is_last=times == len(steps) - 1,
        is_terminal=(times == len(steps) - 1) & (steps[-1].discount == 0),
    )

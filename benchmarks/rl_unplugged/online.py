"""An online D4PG: it acts, its replay is what it learns from, and everything it saw is the data of the study.

One process does all in turn, so that the ratio of learning to acting, and not the machine, decides what is seen.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from benchmarks.rl_unplugged import suite
from datasets import replay
from datasets.console import console
from datasets.episode import Episode
from datasets.feeds import Batch, Transitions
from datasets.replay_items import StepItems
from pipeline.batch_rl.config import CriticConfig, D4pgConfig
from pipeline.batch_rl.d4pg import D4pgLearner

_LAYERS = (128, 128)  # as of the offline learners
_METHOD = D4pgConfig(
    layer_sizes=_LAYERS, critic=CriticConfig(layer_sizes=_LAYERS), policy_learning_rate=3e-4, critic_learning_rate=3e-4
)
_BATCH = 256  # transitions; Acme
_NOISE = 0.3  # deviation of a Gaussian on the actions, in units of half their range; Acme


@dataclasses.dataclass(frozen=True)
class OnlineConfig:
    """How long, and how much is learned of what is seen."""

    episodes: int = 300  # at most
    side_by_side: int = 4  # episodes in a turn
    solved: float = 1_000.0  # mean return of the last 20 episodes at which it ends: RL Unplugged's "until solved"
    samples_per_insert: float = 64.0  # twice Acme's: acting costs more than learning here
    seed: int = 0


def learn(task: str, config: OnlineConfig) -> list[Episode]:
    """Every episode of a run, oldest first; the policy gets better on the way, or not."""
    tf.random.set_seed(config.seed)  # of the initial weights
    rng = np.random.default_rng(config.seed)
    envs = [suite.make(task, 1_000 * config.seed + number) for number in range(config.side_by_side)]
    bounds = envs[0].action_spec()
    half = (bounds.maximum - bounds.minimum) / 2
    observation_size = sum(int(np.prod(spec.shape)) for spec in envs[0].observation_spec().values())
    action_size = len(half)
    a_turn = config.side_by_side * 1_000  # transitions
    items = StepItems(_METHOD.n_step, _METHOD.gamma)
    served = replay.ReplayConfig(items=items, samples_per_insert=config.samples_per_insert, tolerance=2 * a_turn)
    seen: list[Episode] = []
    with replay.serve(served, observation_size, action_size) as address:
        writer = replay.Writer(address, items)
        with replay.Sampler(address, Batch, _BATCH) as sampler:
            learner = D4pgLearner(_METHOD, sampler, observation_size, action_size, config.seed)
            policy = tf.function(lambda seen: learner.policy.best(learner.policy(seen)[0]))

            def act(observation: Mapping[str, np.ndarray]) -> np.ndarray:
                action = policy(tf.constant(_vector(observation))).numpy()
                noisy = np.clip(action + rng.normal(0, _NOISE, action.shape), -1, 1)
                return ((noisy + 1) * half + bounds.minimum).astype(np.float32)

            while len(seen) < config.episodes and _recent_return(seen) < config.solved:
                for episode in suite.play(envs, act, f"online_d4pg:{config.seed}"):
                    writer.write(_vector(episode.observation), _transitions(episode, bounds.minimum, half))
                    seen.append(episode)
                learner.run(int(a_turn * config.samples_per_insert / _BATCH))
                console.print(f"{task} {len(seen)} episodes, {learner.step} updates: {_recent_return(seen):.0f}")
    return seen


def _recent_return(episodes: list[Episode]) -> float:
    return float(np.mean([episode.reward.sum() for episode in episodes[-20:]])) if episodes else 0.0


def _vector(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """{name: [T, ...]} to float32[T, D]."""
    return np.concatenate([observation[k].reshape(len(observation[k]), -1) for k in sorted(observation)], 1)


def _transitions(episode: Episode, minimum: np.ndarray, half: np.ndarray) -> Transitions:
    """Of one step each, with actions in [-1, 1]."""
    frame = np.arange(episode.num_steps - 1, dtype=np.int32)
    return Transitions(
        {}, frame, frame + 1, ((episode.action[:-1] - minimum) / half - 1).astype(np.float32), episode.reward[:-1],
        episode.discount[:-1], np.zeros_like(frame), (episode.metadata.episode_id,), {},
    )  # fmt: skip

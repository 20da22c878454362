"""What offline learners are given: logged episodes, in the learner's units, and batches of them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from datasets import feeds, presets
from datasets.errors import SpecMismatchError
from datasets.feeds import Group, RewardSource, TransitionFeed, Transitions
from datasets.query import Query
from datasets.sequences import SequenceFeed
from datasets.store import EpisodeRow, Store
from pipeline import export
from pipeline.batch_rl.config import ActorCriticConfig, FqeConfig, Method, Training
from pipeline.batch_rl.policy import ActionRange
from pipeline.networks import Normaliser


class Data:
    """What is trained on: transitions in the learner's units, and the feed of their batches."""

    def __init__(self, config: Training):
        """Loads the episodes. Raises ArmchairError as `datasets.feeds.load_transitions`."""
        store = Store.open(config.store)
        rows = store.query(Query.parse(config.query), require=True)
        self.rewards = reward_source(config.rewards)
        keys = _observation_keys(store, rows, config)
        logged = feeds.load_transitions(store, rows, keys, self.rewards, config.task)
        self.actions = ActionRange.of(logged.action)
        self.transitions = dataclasses.replace(logged, action=self.actions.to_unit(logged.action))
        self.normaliser = Normaliser.fit(logged.observation)
        task_of = {row.episode_id: row.task_id for row in rows}
        own = [task_of[episode_id] == config.task for episode_id in logged.episode_ids]
        groups = feeds.mixture(logged, own, config.task_share, config.batch_size)
        frames = self.normaliser({k: tf.constant(v) for k, v in logged.observation.items()})  # [F, D]
        self.feed = make_feed(config.method, frames, self.transitions, groups, config.seed)

    @property
    def summary(self) -> dict[str, int | str]:
        """What a card and a run folder say of the data."""
        transitions = self.transitions
        return {
            "episodes": len(transitions.episode_ids), "transitions": len(transitions),
            "fingerprint": transitions.fingerprint,
        }  # fmt: skip


def make_feed(
    method: Method | FqeConfig, frames: tf.Tensor, transitions: Transitions, groups: Sequence[Group], seed: int
) -> TransitionFeed | SequenceFeed:
    """What a learner's batches come from.

    Args:
      method: the learner's config.
      frames: float32[F, D], a vector for each frame.
      transitions: of one step each.
      groups: how each batch is made up.
      seed: decides all batches.
    """
    n_step, gamma = (method.n_step, method.gamma) if isinstance(method, ActorCriticConfig) else (1, 1.0)
    if method.memory.size:
        return SequenceFeed(frames, transitions, groups, method.memory.sequence, seed, n_step, gamma)
    return TransitionFeed(frames, feeds.n_step(transitions, n_step, gamma), groups, seed)


def reward_source(text: str) -> RewardSource:
    """Also from `model:<folder of a reward model>`."""
    kind, _, name = text.partition(":")
    if kind == "model" and Path(name).is_dir():
        text = f"model:{export.load_card(Path(name), 'reward_model')['model_id']}"
    return RewardSource.parse(text)


def _observation_keys(store: Store, rows: list[EpisodeRow], config: Training) -> tuple[str, ...]:
    """The preset's observations that all datasets have, less those that are to be left out."""
    specs = [store.spec(name).observation for name in sorted({row.dataset for row in rows})]
    common = {k: v for k, v in specs[0].items() if all(k in other for other in specs)}
    keys = presets.select(common, config.observations, config.without)
    if not keys:
        raise SpecMismatchError(
            f"the selected datasets have no {config.observations} observation in common that is not left out: "
            "choose others"
        )
    return keys

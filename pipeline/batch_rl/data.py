"""What offline learners are given: logged episodes, in the learner's units, and batches of them."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from datasets import feeds, presets, saved_queries
from datasets.console import console
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.feeds import Group, TransitionFeed, Transitions
from datasets.reward_source import RewardSource
from datasets.sequences import SequenceFeed
from datasets.store import EpisodeRow, Store
from pipeline import export
from pipeline.batch_rl.config import ActorCriticConfig, BcConfig, FqeConfig, Method, Training
from pipeline.batch_rl.saved_policy import ActionRange
from pipeline.networks import Normaliser

_END = 10  # transitions, a second: one frame's prediction may dip, and a moment before the end is as good


class Data:
    """What is trained on: transitions in the learner's units, and the feed of their batches."""

    def __init__(self, config: Training):
        """Loads the episodes.

        Raises:
          ArmchairError: as `datasets.feeds.load_transitions`, `datasets.feeds.mixture` and `good_episodes`.
        """
        store = Store.open(config.store)
        self._queries: dict[str, dict[str, int | str]] = {}

        def find(name: str, asked: str) -> list[EpisodeRow]:
            query = store.parse(asked)
            found = store.query(query, require=True)
            self._queries[name] = saved_queries.describe(asked, query, [row.episode_id for row in found])
            return found

        selected = find("query", config.query)
        shown = find("demonstrations", config.demonstrations) if config.demonstrations else []
        rows = list({row.episode_id: row for row in [*selected, *shown]}.values())
        self.rewards = reward_source(config.rewards)
        if isinstance(config.method, BcConfig) and config.method.is_filtered:
            rows = _filter(store, rows, config.method, self.rewards, config.task)
        keys = _observation_keys(store, rows, config)
        logged = feeds.load_transitions(store, rows, keys, self.rewards, config.task)
        self.actions = ActionRange.of(logged.action)
        self.transitions = dataclasses.replace(logged, action=self.actions.to_unit(logged.action))
        self.normaliser = Normaliser.fit(logged.observation)

        def among(some: Sequence[EpisodeRow]) -> list[bool]:
            ids = {row.episode_id for row in some}
            return [episode_id in ids for episode_id in logged.episode_ids]

        shares = {
            "task": (config.task_share, among([row for row in selected if row.task_id == config.task])),
            "demonstration": (config.demonstration_share, among(shown)),
        }
        groups = feeds.mixture(logged, among(selected), shares, config.batch_size)
        frames = self.normaliser({k: tf.constant(v) for k, v in logged.observation.items()})  # [F, D]
        self.feed = make_feed(config.method, frames, self.transitions, groups, config.seed)

    @property
    def summary(self) -> dict[str, Any]:
        """What a card and a run folder say of the data: what is trained on, and which queries found it."""
        ids = self.transitions.episode_ids
        return {
            "episodes": len(ids), "transitions": len(self.transitions),
            "fingerprint": saved_queries.fingerprint(ids), "queries": self._queries,
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


def _filter(
    store: Store, rows: Sequence[EpisodeRow], method: BcConfig, rewards: RewardSource, task_id: str
) -> list[EpisodeRow]:
    """The rows of the episodes that are good enough to be cloned."""
    transitions = feeds.load_transitions(store, rows, (), rewards, task_id)
    good = set(itertools.compress(transitions.episode_ids, good_episodes(transitions, method)))
    console.print(f"cloning {len(good)} of {len(rows)} episodes")
    return [row for row in rows if row.episode_id in good]


def good_episodes(transitions: Transitions, config: BcConfig) -> np.ndarray:
    """bool[E]: which episodes filtered behaviour cloning keeps, as `BcConfig` says.

    Raises:
      ArmchairError: if none ended well, or all those that did are equally good.
    """
    rewards = np.split(transitions.reward, transitions.first[1:])  # of each episode
    kept = np.arange(len(rewards))
    if config.success_above is not None:
        highest = np.array([r[-_END:].max() for r in rewards])  # [E]
        kept = np.flatnonzero(highest > config.success_above)
        if not len(kept):
            raise ArmchairError(
                f"no episode ends with a reward above success_above={config.success_above:g}, the highest is "
                f"{highest.max():.3g}: lower it, or select other episodes"
            )
    if config.best < 1:
        returns = np.array([r.sum(dtype=np.float64) for r in rewards])[kept]
        if len(kept) > 1 and np.ptp(returns) == 0:
            raise ArmchairError(
                f"all {len(kept)} episodes have the return {returns[0]:.3g}, so none is the best: leave out "
                "--method.best, or take other rewards"
            )
        kept = kept[np.argsort(-returns, kind="stable")[: max(1, round(config.best * len(kept)))]]
    return np.isin(np.arange(len(rewards)), kept)


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

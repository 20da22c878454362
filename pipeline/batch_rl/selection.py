"""Which policy to try on the robot, told from logged data alone."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats

from datasets import console, feeds
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.feeds import Group, TransitionFeed, Transitions
from datasets.query import Query
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl.config import SelectConfig
from pipeline.batch_rl.data import reward_source
from pipeline.batch_rl.fqe import FqeLearner
from pipeline.batch_rl.policy import ActionRange
from pipeline.networks import Normaliser

_FUSED = 100  # updates a call


@dataclasses.dataclass(frozen=True)
class Score:
    """What the data say of a policy."""

    policy: Path
    policy_id: str
    step: int  # of its training
    value: float  # discounted return from the first state of an episode, by fitted Q evaluation
    low: float  # 95 % bootstrap interval of the value over the episodes
    high: float
    td_error: float  # mean size of r + gamma d Q(s', pi(s')) - Q(s, a): large, and the value is not to be trusted
    action_gap: float  # mean Q(s, pi(s)) less that of an action logged in another state: 0, and no action matters


def find_policies(runs: Sequence[Path]) -> list[Path]:
    """Policy folders: of each run its snapshots and its last policy; a folder that is a policy stands for itself.

    Raises:
      ArmchairError: if a folder is neither, or none is given.
    """
    found: list[Path] = []
    for run in runs:
        snapshots = [run] if (run / "card.json").exists() else sorted((run / "snapshots").glob("[0-9]*"))
        if (run / "last").is_dir():
            snapshots.append(run / "last")
        if not snapshots:
            raise ArmchairError(f"there is no policy in {run}: give a folder that `armchair train` wrote")
        found += snapshots
    if not found:
        raise ArmchairError("no policy to rank: give folders that `armchair train` wrote")
    return found


def rank(config: SelectConfig) -> list[Score]:
    """Judges policies; the one with the highest value comes first.

    Raises:
      ArmchairError: if there is no policy or nothing to judge by, or an estimate diverges.
      SpecMismatchError: if the episodes lack what a policy needs.
    """
    cards = {path: export.load_card(path, "policy") for path in find_policies(config.runs)}
    store = Store.open(config.store)
    rows = store.query(Query.parse(config.query), require=True)
    keys = sorted(set().union(*(card["inputs"] for card in cards.values())))
    logged = feeds.load_transitions(store, rows, keys, reward_source(config.rewards), config.task)
    actions = ActionRange.of(logged.action)
    data = dataclasses.replace(logged, action=actions.to_unit(logged.action))
    frames = Normaliser.fit(data.observation)(_tensors(data.observation)).numpy()  # [F, D]
    scores, seen = [], set()
    with console.progress_bar() as bar:
        task = bar.add_task("ranking", total=len(cards) * config.steps)
        for path, card in cards.items():
            if card["model_hash"] not in seen:  # the last policy is often the last snapshot, too
                chosen = actions.to_unit(_act(path, card, logged))  # [F, A]
                learner = _fit(config, data, np.concatenate([frames, chosen], 1), lambda: bar.advance(task, _FUSED))
                scores.append(_score(path, card, learner, data, frames, chosen, config))
            seen.add(card["model_hash"])
        bar.update(task, completed=len(cards) * config.steps)
    return sorted(scores, key=lambda score: -score.value)


def rank_correlation(values: Sequence[float], successes: Sequence[float]) -> float:
    """Spearman's, in [-1, 1]; 0 where all of either are equal, which foretells nothing."""
    if min(len(set(values)), len(set(successes))) < 2:
        return 0.0
    return float(stats.spearmanr(values, successes).statistic)


def _act(path: Path, card: Mapping[str, Any], logged: Transitions) -> np.ndarray:
    """The policy's action in every logged frame, float32[F, A]."""
    policy, _ = export.load_model(path, "policy")
    inputs = export.card_inputs(dict(card))
    for name, spec in inputs.items():
        if logged.inputs[name] != spec:
            raise SpecMismatchError(
                f"policy {path} takes {name!r} as {spec.dtype}{list(spec.shape)}, but the episodes have "
                f"{logged.inputs[name].dtype}{list(logged.inputs[name].shape)}: select others"
            )
    count = len(next(iter(logged.observation.values())))
    _, first = np.unique(logged.episode, return_index=True)
    ends = [*logged.frame[first[1:]], count]  # of the episodes, in frames
    episodes = [slice(start, end) for start, end in zip(logged.frame[first], ends, strict=True)]
    return np.concatenate(
        [policy.follow({k: logged.observation[k][e].astype(s.dtype) for k, s in inputs.items()}) for e in episodes]
    )


def _fit(config: SelectConfig, data: Transitions, frames: np.ndarray, advance: Any) -> FqeLearner:
    """The value of the policy whose actions stand behind the observations in `frames`, float32[F, D + A]."""
    action_size = data.action.shape[1]
    feed = TransitionFeed(
        tf.constant(frames), data, [Group(np.arange(len(data), dtype=np.int32), config.batch_size)], config.seed
    )
    tf.random.set_seed(config.seed)  # all policies are judged from the same weights and the same batches
    learner = FqeLearner(config.method, feed, frames.shape[1] - action_size, action_size, config.seed)
    learner.check_rewards(data.reward)
    while learner.step < config.steps:
        metrics = learner.run(min(_FUSED, config.steps - learner.step))
        if bad := [name for name, value in metrics.items() if not np.isfinite(value)]:
            raise ArmchairError(f"the estimate diverged: {bad[0]} is not finite; lower --method.critic-learning-rate")
        advance()
    return learner


def _score(
    path: Path, card: Mapping[str, Any], learner: FqeLearner, data: Transitions, frames: np.ndarray,
    chosen: np.ndarray, config: SelectConfig,
) -> Score:  # fmt: skip
    own = learner.value(frames, chosen).numpy()  # [F]: Q(s, pi(s))
    of_logged = learner.value(frames[data.frame], data.action).numpy()  # [N]
    shuffled = np.random.default_rng(config.seed).permutation(data.action)
    of_others = learner.value(frames[data.frame], shuffled).numpy()
    _, first = np.unique(data.episode, return_index=True)
    starts = own[data.frame[first]]  # [E]
    low, high = _interval(starts, config.seed)
    target = data.reward + config.method.gamma * data.discount * own[data.next_frame]
    return Score(
        path, card["policy_id"], card["step"], float(starts.mean()), low, high,
        td_error=float(np.abs(target - of_logged).mean()),
        action_gap=float((own[data.frame] - of_others).mean()),
    )  # fmt: skip


def _interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of a mean; of one value, which tells no spread, the value itself."""
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    interval = stats.bootstrap(
        (values,), np.mean, n_resamples=1_000, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _tensors(observation: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {k: tf.constant(v) for k, v in observation.items()}

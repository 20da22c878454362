"""Which policy to try on the robot, told from logged data alone."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats

from datasets import console, feeds, files, schema
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.feeds import Group, Transitions
from datasets.query import Query
from datasets.reward_source import RewardKind, RewardSource
from datasets.sight import Observation
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl.config import Criterion, SelectConfig
from pipeline.batch_rl.data import make_feed, reward_source
from pipeline.batch_rl.fqe import FqeLearner
from pipeline.batch_rl.saved_policy import ActionRange
from pipeline.batch_rl.sentinel import Sentinel
from pipeline.networks import Normaliser

_FUSED = 100  # updates a call


METRICS: Mapping[str, str] = {
    "value": "discounted return from the first state of an episode, by fitted Q evaluation; within what rewards can "
    "give, and comparable within one ranking only",
    "low": "lower end of its 95 % bootstrap interval over the episodes; where two overlap, the order may be chance",
    "high": "upper end of that",
    "td_error": "mean size of r + gamma d Q(s', pi(s')) - Q(s, a); some per cent of `value`. Near it, the value means "
    "nothing; small, it proves nothing",
    "action_gap": "mean Q(s, pi(s)) less that of an action logged in another state; above 0. At 0 no action matters, "
    "below it the policy's are worse than others",
    "predicted": "mean return of the policy's own episodes in the store, the undiscounted sum of the reward model's "
    "rewards; between 0 and their length. None: the rewards are no model's, or none of these episodes is annotated",
    "predicted_low": "lower end of its 95 % bootstrap interval over these episodes",
    "predicted_high": "upper end of that",
}
"""What the data say of a policy, and where that should be."""


@dataclasses.dataclass(frozen=True)
class Score:
    """The `METRICS` of a policy."""

    policy: Path
    policy_id: str
    step: int  # of its training
    value: float
    low: float
    high: float
    td_error: float
    action_gap: float
    predicted: float | None
    predicted_low: float | None
    predicted_high: float | None


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


def see_pictures(runs: Sequence[Path]) -> bool:
    """Whether any of the policies does, so that estimates of them do, too. Raises ArmchairError as `find_policies`."""
    cards = [export.load_card(path, "policy") for path in find_policies(runs)]
    return any(spec.is_image for card in cards for spec in export.card_inputs(card).values())


def rank(config: SelectConfig) -> list[Score]:
    """Judges policies; the best one comes first, and those of which nothing is known come last.

    Raises:
      ArmchairError: if there is no policy or nothing to judge by, or an estimate diverges.
      SpecMismatchError: if the episodes lack what a policy needs.
    """
    cards = {path: export.load_card(path, "policy") for path in find_policies(config.runs)}
    store = Store.open(config.store)
    rows = store.query(store.parse(config.query), require=True)
    keys = sorted(set().union(*(card["inputs"] for card in cards.values())))
    rewards = reward_source(config.rewards)
    returns = {path: _predicted_returns(store, card["policy_id"], rewards, config.task) for path, card in cards.items()}
    if config.by == Criterion.PREDICTED and not any(map(len, returns.values())):
        raise ArmchairError(
            f"no episode of these policies in {config.store} has rewards of a model ({config.rewards}): run them with "
            "`armchair evaluate --out`, ingest and annotate what they did, or rank --by value"
        )
    logged = feeds.load_transitions(store, rows, keys, rewards, config.task)
    actions = ActionRange.of(logged.action)
    data = dataclasses.replace(logged, action=actions.to_unit(logged.action))
    frames = Normaliser.fit(data.observation)(_tensors(data.observation)).numpy()  # [F, D]
    scores, seen = [], set()
    with console.progress_bar() as bar:
        task = bar.add_task("ranking", total=len(cards) * config.steps)
        for path, card in cards.items():
            if card["model_hash"] not in seen:  # the last policy is often the last snapshot, too
                chosen = actions.to_unit(_act(path, card, logged))  # [F, A]
                name = f"the estimate of {path}"
                learner = _fit(config, data, np.concatenate([frames, chosen], 1), name, partial(bar.advance, task))
                scores.append(_score(path, card, learner, data, frames, chosen, returns[path], config))
            seen.add(card["model_hash"])
        bar.update(task, completed=len(cards) * config.steps)
    known = {score: getattr(score, config.by) for score in scores}
    return sorted(scores, key=lambda score: np.inf if known[score] is None else -known[score])


def keep_best(config: SelectConfig, scores: Sequence[Score]) -> list[Path]:
    """Copies the best policy of each run folder to `RUN/best`, whole or not at all, in place of what stood there.

    The card of the copy says how it was chosen, in `selection`. No link, so that a run may be moved and thinned out. A
    run of which nothing is known, by what is ranked by, keeps what it has.

    Args:
      config: what was ranked, and how.
      scores: what `rank` returned.

    Returns:
      The folders of the copies.
    """
    kept = []
    for run in config.runs:
        if (run / "card.json").exists():  # a policy, not a run
            continue
        own = {export.load_card(path, "policy")["policy_id"] for path in find_policies([run])}
        best = next(score for score in scores if score.policy_id in own)
        if getattr(best, config.by) is None:
            continue
        reason = {k: v for k, v in dataclasses.asdict(best).items() if k not in ("policy", "policy_id", "step")}
        reason |= {"by": config.by, "task_id": config.task, "query": config.query}
        reason["rewards"] = str(reward_source(config.rewards))
        with files.staged_directory(run / "best") as staged:
            shutil.copytree(best.policy, staged, dirs_exist_ok=True)
            card = export.load_card(best.policy, "policy") | {"selection": reason}
            (staged / "card.json").write_text(json.dumps(card, indent=2, sort_keys=True))
        kept.append(run / "best")
    return kept


def rank_correlation(values: Sequence[float], successes: Sequence[float]) -> float:
    """Spearman's, in [-1, 1]; 0 where all of either are equal, which foretells nothing."""
    if min(len(set(values)), len(set(successes))) < 2:
        return 0.0
    return float(stats.spearmanr(values, successes).statistic)


def _predicted_returns(store: Store, policy_id: str, rewards: RewardSource, task_id: str) -> np.ndarray:
    """float[E]: of the episodes that the policy was recorded in at the task and the model has annotated."""
    if rewards.kind != RewardKind.MODEL:
        return np.zeros(0)
    ids = [row.episode_id for row in store.query(Query(policy_id=policy_id, task_id=task_id))]
    predicted = store.predictions(rewards.name, ids)
    return np.array([schema.transition_rewards(predicted[i]).sum(dtype=float) for i in ids if i in predicted])


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
    arrays = {**logged.observation, **logged.pictures}
    return np.concatenate(
        [policy.follow({k: arrays[k][e].astype(s.dtype) for k, s in inputs.items()}) for e in _episodes(logged)]
    )


def _episodes(logged: Transitions) -> list[np.ndarray]:
    """Frames int[T] of each episode."""
    frames = len(logged) + len(logged.episode_ids)  # an episode of T frames has T - 1 transitions
    return np.split(np.arange(frames), logged.frame[logged.first[1:]])


def _fit(
    config: SelectConfig, data: Transitions, frames: np.ndarray, what: str, advance: Callable[[int], None]
) -> FqeLearner:
    """The value of the policy whose actions stand behind the observations in `frames`, float32[F, D + A]."""
    action_size = data.action.shape[1]
    group = Group(np.arange(len(data), dtype=np.int32), config.batch_size)
    feed = make_feed(config.method, tf.constant(frames), data, [group], config.seed)
    tf.random.set_seed(config.seed)  # all policies are judged from the same weights and the same batches
    learner = FqeLearner(
        config.method, feed, frames.shape[1] - action_size, action_size, config.seed, data.picture_shapes
    )
    sentinel = Sentinel(learner.check_rewards(data.reward), what=what)
    while learner.step < config.steps:
        count = min(_FUSED, config.steps - learner.step)
        sentinel.look(learner.run(count), learner.step)
        advance(count)
    return learner


def _score(
    path: Path, card: Mapping[str, Any], learner: FqeLearner, data: Transitions, frames: np.ndarray,
    chosen: np.ndarray, returns: np.ndarray, config: SelectConfig,
) -> Score:  # fmt: skip
    seen, state = _along(learner, data, frames)
    own = learner.value(seen, chosen, state).numpy()  # [F]: Q(s, pi(s))
    of_logged = learner.value(seen[data.frame], data.action, state[data.frame]).numpy()  # [N]
    shuffled = np.random.default_rng(config.seed).permutation(data.action)
    of_others = learner.value(seen[data.frame], shuffled, state[data.frame]).numpy()
    starts = own[data.frame[data.first]]  # [E]
    low, high = _interval(starts, config.seed)
    target = data.reward + config.method.gamma * data.discount * own[data.next_frame]
    td_error = float(np.abs(target - of_logged).mean())
    action_gap = float((own[data.frame] - of_others).mean())
    predicted: tuple[float | None, ...] = (None, None, None)
    if len(returns):
        predicted = (float(returns.mean()), *_interval(returns, config.seed))
    return Score(
        path, card["policy_id"], card["step"], float(starts.mean()), low, high, td_error, action_gap, *predicted
    )


def _along(learner: FqeLearner, data: Transitions, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the learner sees in every frame, float32[F, D], and its states before the actions, float32[F, S]."""
    parts = []
    for episode, logged in zip(_episodes(data), np.split(data.action, data.first[1:]), strict=True):
        pictures = {name: tf.constant(array[episode]) for name, array in data.pictures.items()}
        vector = tf.constant(frames[episode])
        parts.append(learner.along(Observation(vector, pictures) if pictures else vector, tf.constant(logged)))
    seen, states = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return seen, states


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

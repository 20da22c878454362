"""Rounds in which models label the unlabelled episodes for one another: SSR and TGR-i.

Three ideas are at work. *Self-training*: predictions become labels. *Co-training*: the unlabelled episodes are split,
one part a model, and a part is labelled only by the models that were not trained on it, so that no model confirms
itself. *Multiple-instance learning*: first whole episodes are judged, by their best frames; a failed one has no success
in it, however a frame looks.

```
labels of the unlabelled <- 0
for k in 0 .. rounds:
    train every model afresh, half of each batch from the episodes that teach, half from its own part
    stop after the last round
    score each episode by the mean of its highest predictions, made by the other models
    threshold the scores by Otsu's method: an episode below has no success; in one above, threshold its frames likewise
    stop if that is not believable (nearly all or none succeed), or hardly anything has changed
reward: the mean of the models
```
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets import files
from datasets.console import console
from datasets.errors import ArmchairError
from pipeline.reward_learning import labels as step_labels
from pipeline.reward_learning.config import RefinementConfig, SsrConfig, TgrIConfig
from pipeline.reward_learning.fit import fit_member, rate
from pipeline.reward_learning.labels import LabelLearner, Labels
from pipeline.reward_learning.model import RewardModel
from pipeline.reward_learning.supervision import Supervision


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What one round says of the unlabelled episodes."""

    labels: Labels
    episode_threshold: float
    successful: float  # share of the episodes
    positive: float  # share of the frames


def refine(supervision: Supervision, config: SsrConfig | TgrIConfig, directory: Path) -> list[RewardModel]:
    """Trains the models of every round; returns the last round's. Started again in the same folder, it goes on.

    Writes `rounds.jsonl`: for each round what was judged, and what became of it.

    Raises:
      ArmchairError: if there are not two models, or fewer unlabelled episodes than models.
    """
    count, rounds = config.members, config.refinement.rounds
    if count < 2 or len(supervision.unlabelled) < count:
        raise ArmchairError(
            f"{config.method} splits the {len(supervision.unlabelled)} unlabelled episodes among {count} models that "
            "label them for one another: give at least two models, and an episode to each"
        )
    parts = split(supervision.unlabelled, count, config.seed)
    labels = step_labels.of_teaching(supervision, config) | step_labels.flat(supervision)
    log: list[dict[str, object]] = []
    for k in range(rounds + 1):
        models = [
            _train(supervision.only(part), labels, config, i, directory / f"round-{k}" / f"member-{i}")
            for i, part in enumerate(parts)
        ]
        if k == rounds:
            break
        ratings = {i: rate_part(supervision, models, parts, i) for i in range(count)}
        found = judge({e: p for rated in ratings.values() for e, p in rated.items()}, config.refinement)
        changed = _share_changed(labels, found.labels)
        outcome = _outcome(found, changed, config.refinement)
        log.append(
            {
                "round": k, "episode_threshold": found.episode_threshold, "successful_episodes": found.successful,
                "positive_frames": found.positive, "changed_labels": changed, "outcome": outcome,
            }
        )  # fmt: skip
        files.write_atomically(directory / "rounds.jsonl", "".join(json.dumps(line) + "\n" for line in log))
        console.print(
            f"round {k}: {found.successful:.1%} of the unlabelled episodes judged successful, {changed:.1%} of the "
            f"labels change: {outcome}"
        )
        if outcome != _ON:
            break
        labels = {**labels, **found.labels}
    return models


def split(episode_ids: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """Episodes in `count` parts of the same size, at random."""
    order = np.random.default_rng(seed).permutation(len(episode_ids))
    return [tuple(sorted(episode_ids[i] for i in order[part::count])) for part in range(count)]


def rate_part(
    supervision: Supervision, models: Sequence[RewardModel], parts: Sequence[tuple[str, ...]], number: int
) -> dict[str, np.ndarray]:
    """Episode id -> float32[T] for one part: the mean of the models that were not trained on it."""
    others = [model for i, model in enumerate(models) if i != number]
    rated = [rate(model, supervision.frames, parts[number]) for model in others]
    return {episode_id: np.mean([one[episode_id] for one in rated], axis=0) for episode_id in parts[number]}


def judge(predicted: Mapping[str, np.ndarray], config: RefinementConfig) -> Judgement:
    """Labels of some episodes from what models predict of them, float32[T] each."""
    scores = {i: score(p, config.top) for i, p in predicted.items()}
    threshold = max(otsu(np.array(list(scores.values()))), config.episode_floor)
    labels = {}
    for episode_id, p in predicted.items():
        if scores[episode_id] > threshold:
            labels[episode_id] = (p > max(otsu(p), config.frame_floor)).astype(np.float32)
        else:
            labels[episode_id] = np.zeros(len(p), np.float32)
    return Judgement(
        labels,
        float(threshold),
        successful=float(np.mean([s > threshold for s in scores.values()])),
        positive=float(np.concatenate(list(labels.values())).mean()),
    )


def score(predicted: np.ndarray, top: float) -> float:
    """The mean of the highest `top` share of an episode's predictions float32[T]; of one frame at least."""
    return float(np.sort(predicted)[-math.ceil(top * len(predicted)) :].mean())


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold: splits numbers in two groups whose means lie furthest apart, weighed by their sizes.

    Args:
      values: float[N], at least one.

    Returns:
      The middle of the gap between the two groups; of equal numbers, the number itself.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    below = np.arange(1, len(ordered))  # [N - 1]: how many are in the lower group
    sums = np.cumsum(ordered)[:-1]
    means = sums / below, (ordered.sum() - sums) / (len(ordered) - below)
    between = below * (len(ordered) - below) * np.square(means[1] - means[0])  # of the variance
    between[ordered[1:] == ordered[:-1]] = -1  # equal numbers are in one group
    if not len(between) or between.max() < 0:
        return float(ordered[0])
    best = int(between.argmax())
    return float((ordered[best] + ordered[best + 1]) / 2)


_ON = "trained on"


def _outcome(found: Judgement, changed: float, config: RefinementConfig) -> str:
    if found.successful > config.most_successful:
        return "not believed, too many successes: the rounds end"
    if found.successful < config.least_successful:
        return "not believed, too few successes: the rounds end"
    return "settled: the rounds end" if changed < config.settled else _ON


def _share_changed(before: Labels, after: Labels) -> float:
    return float(np.mean(np.concatenate([before[i] != labels for i, labels in after.items()])))


def _train(
    supervision: Supervision, labels: Labels, config: SsrConfig | TgrIConfig, number: int, directory: Path
) -> RewardModel:
    def make(part: Supervision, own: SsrConfig | TgrIConfig, judges: bool) -> LabelLearner:
        del judges  # by the same loss
        return LabelLearner(part, labels, own.batch_size, own.seed)

    return fit_member(supervision, config, number, make, directory, f"{config.method}: {directory.parent.name}")

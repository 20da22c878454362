"""The rounds of SSR and TGR-i: thresholds, judgements, who labels whom, when they end, and what they find."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.errors import ArmchairError
from datasets.features import ArraySpec
from datasets.rewards import RewardSequence
from pipeline.reward_learning import refine as refining
from pipeline.reward_learning.config import RefinementConfig, SsrConfig, SupAndFlatConfig, SupConfig
from pipeline.reward_learning.data import Frames
from pipeline.reward_learning.fit import Trainer, fit, rate
from pipeline.reward_learning.refine import judge, otsu, rate_part, refine, score, split
from pipeline.reward_learning.supervision import Supervision
from pipeline.reward_learning.train import make_learner

_VALUES = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=16))


def test_otsu_splits_two_spikes():
    assert 0.1 < otsu(np.repeat([0.1, 0.9], [90, 10])) < 0.9


@given(_VALUES)
def test_otsu_has_the_greatest_variance_between_the_groups(values):
    def between(threshold):
        low, high = values[values <= threshold], values[values > threshold]
        if not len(low) or not len(high):
            return 0.0
        return len(low) * len(high) * float(low.mean(dtype=np.float64) - high.mean(dtype=np.float64)) ** 2

    threshold = otsu(values)
    assert values.min() <= threshold <= values.max()
    assert between(threshold) >= (1 - 1e-6) * max(between(v) for v in values)


@given(_VALUES)
def test_otsu_of_equal_numbers_leaves_nothing_above(values):
    same = np.full_like(values, values[0])
    assert not (same > otsu(same)).any()


def test_score_is_the_mean_of_the_best_frames():
    predicted = np.float32([0.1] * 18 + [0.6, 0.8])
    assert score(predicted, 0.1) == pytest.approx(0.7)
    assert score(predicted[-3:], 0.1) == pytest.approx(0.8)  # one at least


def test_episodes_are_judged_before_their_frames():
    predicted = {f"low-{n}": np.float32([0.1, 0.2, 0.1]) for n in range(8)}
    predicted |= {f"high-{n}": np.float32([0.05, 0.7, 0.9]) for n in range(2)}
    found = judge(predicted, RefinementConfig())
    assert {i: v.tolist() for i, v in found.labels.items() if v.any()} == {f"high-{n}": [0, 1, 1] for n in range(2)}
    assert found.successful == pytest.approx(0.2) and found.positive == pytest.approx(4 / 30)


def test_below_the_floors_nothing_is_a_success():
    predicted = {str(n): np.float32([0.01, 0.29 * (n % 2)]) for n in range(10)}  # Otsu alone would split these
    assert judge(predicted, RefinementConfig()).successful == 0
    predicted = {"a": np.float32([0.0] * 9 + [0.45]), "b": np.float32([0.0] * 10)}
    found = judge(predicted, RefinementConfig())
    assert found.successful == 0.5 and found.positive == 0  # judged so as a whole, but no frame is above 0.5


@given(st.integers(2, 5), st.integers(5, 40), st.integers(0, 9))
def test_parts_are_even_and_every_episode_is_in_one(count, episodes, seed):
    ids = [f"e{n}" for n in range(episodes)]
    parts = split(ids, count, seed)
    assert sorted(i for part in parts for i in part) == sorted(ids)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def toy(successes=4, failures=36, annotated=8, steps=20, seed=0):
    """Episodes of one number that tells progress and two of noise; a tenth of the unlabelled succeeds.

    Of the annotated ones a single one succeeds, and none of the others comes so near to it as the unlabelled failures.
    """
    rng = np.random.default_rng(seed)
    observation, episodes, solved, sketches = [], {}, {}, []

    def add(name, end):
        progress = np.minimum(np.linspace(0, 1.6 * end, steps), end)
        numbers = np.concatenate(
            [progress[:, None] + 0.05 * rng.normal(size=(steps, 1)), rng.normal(size=(steps, 2))], 1
        )
        episodes[name] = range(len(observation) * steps, (len(observation) + 1) * steps)
        observation.append(numbers.astype(np.float32))
        solved[name] = progress > 0.85
        return progress.astype(np.float32)

    for n in range(annotated):
        sketches.append(RewardSequence(f"known-{n}", "lift", add(f"known-{n}", 1.0 if n == 0 else 0.4), f"{n}"))
    for n in range(successes):
        add(f"success-{n}", 1.0)
    for n in range(failures):
        add(f"failure-{n}", rng.uniform(0.5, 0.75))
    frames = Frames({"state": ArraySpec((3,), "float32")}, {"state": np.concatenate(observation)}, episodes)
    unlabelled = tuple(sorted(i for i in episodes if not i.startswith("known")))
    return Supervision(frames, tuple(sketches), (), unlabelled), solved


SMALL = {"hidden": (32,), "steps": 300, "learning_rate": 3e-3, "batch_size": 64, "held_out": 0.0}


def _recall_and_false_mass(rewards, solved):
    predicted = np.concatenate([rewards[i] for i in rewards])
    true = np.concatenate([solved[i] for i in rewards])
    return (predicted > 0.5)[true].mean(), predicted[~true].sum() / predicted.sum()


def test_finds_the_hidden_successes_that_flat_labels_deny_and_fewer_false_ones_than_sup(tmp_path):
    supervision, solved = toy()

    def quality(models):
        rated = [rate(model, supervision.frames, supervision.unlabelled) for model in models]
        return _recall_and_false_mass({i: np.mean([r[i] for r in rated], axis=0) for i in rated[0]}, solved)

    def alone(config, unlabelled=supervision.unlabelled):
        trainer = Trainer(supervision.frames, make_learner(supervision.only(unlabelled), config), config)
        return [fit(trainer, tmp_path / config.method, config.method)]

    sup_recall, sup_false = quality(alone(SupConfig(**SMALL), unlabelled=()))
    flat_recall, _ = quality(alone(SupAndFlatConfig(**SMALL)))
    ssr_recall, ssr_false = quality(refine(supervision, SsrConfig(**SMALL), tmp_path / "ssr"))
    print(f"recall: SUP {sup_recall:.2f}, flat {flat_recall:.2f}, SSR {ssr_recall:.2f}")
    print(f"false-positive mass: SUP {sup_false:.3f}, SSR {ssr_false:.3f}")
    assert ssr_recall > flat_recall
    assert ssr_false < sup_false


def test_no_episode_is_labelled_by_a_model_that_was_trained_on_it(tmp_path, monkeypatch):
    supervision, _ = toy(steps=8)
    trained_on, asked = {}, []

    def watched_train(part, labels, config, number, directory, train=refining._train):
        model = train(part, labels, config, number, directory)
        trained_on[id(model)] = set(part.unlabelled)
        return model

    def watched_rate(model, frames, episode_ids):
        asked.append(set(episode_ids))
        assert not trained_on[id(model)] & set(episode_ids)
        return rate(model, frames, episode_ids)

    monkeypatch.setattr(refining, "_train", watched_train)
    monkeypatch.setattr(refining, "rate", watched_rate)
    config = SsrConfig(**SMALL | {"steps": 5}, members=3, refinement=RefinementConfig(rounds=1))
    models = refine(supervision, config, tmp_path)
    assert len(models) == 3
    assert set.union(*asked) == set(supervision.unlabelled)
    assert len(asked) == 6  # each part by both of the others


def _judged(share):
    """A stand-in for the judgement: so many of the episodes are successes throughout."""

    def judge(predicted, config):
        ids = sorted(predicted)
        count = round(share * len(ids))
        labels = {i: np.full(len(predicted[i]), float(n < count), np.float32) for n, i in enumerate(ids)}
        return refining.Judgement(labels, 0.5, count / len(ids), 0.0)

    return judge


@pytest.mark.parametrize(
    ("share", "rounds_trained", "outcome"),
    [(0.7, 1, "too many successes"), (0.0, 1, "too few successes"), (0.25, 2, "settled")],
)
def test_rounds_that_are_not_believed_or_change_nothing_end(share, rounds_trained, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr(refining, "judge", _judged(share))
    supervision, _ = toy(steps=8)
    refine(supervision, SsrConfig(**SMALL | {"steps": 5}), tmp_path)
    assert len(list(tmp_path.glob("round-*"))) == rounds_trained
    log = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert outcome in log[-1]["outcome"] and len(log) == rounds_trained
    assert log[0]["successful_episodes"] == pytest.approx(share)


def test_the_last_round_is_the_last(tmp_path, monkeypatch):
    supervision, _ = toy(steps=8)
    shares = iter((0.1, 0.3, 0.5, 0.2))

    def judge_anew(predicted, config):
        return _judged(next(shares))(predicted, config)

    monkeypatch.setattr(refining, "judge", judge_anew)
    refine(supervision, SsrConfig(**SMALL | {"steps": 5}, refinement=RefinementConfig(rounds=3)), tmp_path)
    assert sorted(p.name for p in tmp_path.glob("round-*")) == [f"round-{k}" for k in range(4)]
    assert next(shares) == 0.2  # three judgements


@pytest.mark.parametrize(("members", "unlabelled"), [(1, 10), (2, 1)])
def test_too_few_to_label_one_another(members, unlabelled, tmp_path):
    supervision, _ = toy(successes=0, failures=unlabelled, steps=8)
    with pytest.raises(ArmchairError, match="at least two models, and an episode to each"):
        refine(supervision, SsrConfig(**SMALL, members=members), tmp_path)


def test_the_mean_of_the_others_labels_a_part():
    frames = Frames({"x": ArraySpec((1,), "float32")}, {"x": np.zeros((4, 1), np.float32)}, {"a": range(4)})
    supervision = Supervision(frames, (), (), ("a",))
    models = [lambda observation, value=value: np.full(4, value, np.float32) for value in (0.0, 0.2, 0.6)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refining, "rate", lambda model, frames, ids: {i: model(None) for i in ids})
        rated = rate_part(supervision, models, [("a",), (), ()], 0)
    np.testing.assert_allclose(rated["a"], [0.4] * 4)

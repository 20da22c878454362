"""Who teaches what: by task, query and split; what is held out; errors that say what to do."""

import dataclasses

import numpy as np
import pytest

from datasets import saved_queries
from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset
from datasets.query import Query, split_of
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate.synthetic import AnnotatorConfig, sketch
from pipeline.reward_learning.config import OrilConfig, RankingConfig, Selection, SupAndFlatConfig
from pipeline.reward_learning.supervision import load_supervision

TASK = "lift_green"
_STATES = {"observations": ObservationPreset.STATES}
RANKING, FLAT, ORIL = RankingConfig(**_STATES), SupAndFlatConfig(**_STATES), OrilConfig(**_STATES)
_DEMONSTRATIONS = Selection(demonstrations="verdict=success")


@pytest.fixture(name="store")
def _store(tmp_path):
    """Thirty episodes, of which the first twelve are sketched and the even ones succeed."""
    store = Store.create(tmp_path / "store")
    for seed in range(30):
        episode = make_episode(seed, num_steps=4 + seed % 3, cameras=())
        store.add(episode, "fake")
        if seed < 12:
            store.add_sketch(sketch(episode, TASK, AnnotatorConfig()))
    return store


def _train(seeds):
    return tuple(sorted(f"fake-{s}" for s in seeds if split_of(f"fake-{s}") == "train"))


def test_sketched_episodes_of_the_training_split_teach_with_all_their_sketches(store):
    second = dataclasses.replace(AnnotatorConfig(), user="other")
    store.add_sketch(sketch(store.read(_train(range(12))[0]), TASK, second))
    supervision = load_supervision(store, TASK, RANKING)
    assert supervision.teaching == _train(range(12)) and 0 < len(supervision.teaching) < 12
    assert len(supervision.sketches) == len(supervision.teaching) + 1
    assert supervision.episode_ids == supervision.teaching  # nothing else is even read
    assert set(supervision.frames.episodes) == set(supervision.teaching)
    assert str(supervision) == f"{len(supervision.sketches)} sketches of {len(supervision.teaching)} episodes"


def test_everything_else_of_the_training_split_is_unlabelled(store):
    supervision = load_supervision(store, TASK, FLAT)
    assert supervision.unlabelled == _train(range(12, 30))
    some = load_supervision(store, TASK, FLAT, Selection(annotated="limit=3", unlabelled="verdict=failure"))
    assert len(some.teaching) == 3 == len(some.sketches)
    assert set(some.unlabelled) == set(_train(range(1, 30, 2))) - set(some.teaching)


def test_demonstrations_are_those_that_are_named(store):
    supervision = load_supervision(store, TASK, ORIL, _DEMONSTRATIONS)
    assert supervision.demonstrations == supervision.teaching == _train(range(0, 30, 2))
    assert supervision.unlabelled == _train(range(1, 30, 2))
    assert supervision.sketches == ()
    counts = len(supervision.demonstrations), len(supervision.unlabelled)
    assert str(supervision) == "{} demonstrations, {} unlabelled episodes".format(*counts)


def test_queries_are_noted_as_written_and_as_what_they_meant_and_found(store):
    failed = Query.parse("verdict=failure split=train")
    saved = saved_queries.save(store.root, "failed", failed, [row.episode_id for row in store.query(failed)])
    asked = Selection(annotated="limit=3", unlabelled="saved=failed@1")
    queries = load_supervision(store, TASK, FLAT, asked).queries
    assert queries.keys() == {"annotated", "unlabelled"}  # no demonstrations are looked for
    assert queries["unlabelled"] == {
        "asked": "saved=failed@1", "query": saved.text, "episodes": saved.episodes, "fingerprint": saved.fingerprint
    }  # fmt: skip
    sketched = store.parse(str(queries["annotated"]["query"]))
    assert sketched == Query(split="train", has_sketch=TASK, limit=3)
    found = [row.episode_id for row in store.query(sketched)]
    assert queries["annotated"]["fingerprint"] == saved_queries.fingerprint(found)
    shown = load_supervision(store, TASK, ORIL, _DEMONSTRATIONS).queries
    assert {field: told["asked"] for field, told in shown.items()} == {
        "demonstrations": "verdict=success", "unlabelled": ""
    }  # fmt: skip


def test_several_annotators_of_an_episode_are_averaged(store):
    drawn = sketch(store.read(_train(range(12))[0]), TASK, AnnotatorConfig())
    other = dataclasses.replace(drawn, sequence_id="x", user="other", values=np.zeros_like(drawn.values))
    store.add_sketch(other)
    mean = load_supervision(store, TASK, RANKING).mean_sketches()
    np.testing.assert_allclose(mean[drawn.episode_id], drawn.values / 2, atol=1e-6)
    assert mean[drawn.episode_id].dtype == np.float32


def test_fingerprint_changes_with_the_sketches_and_with_who_is_unlabelled(store):
    before = load_supervision(store, TASK, FLAT).fingerprint
    assert before == load_supervision(store, TASK, FLAT).fingerprint
    assert before != load_supervision(store, TASK, FLAT, Selection(unlabelled="verdict=failure")).fingerprint
    store.add_sketch(sketch(store.read(_train(range(12, 30))[0]), TASK, AnnotatorConfig()))
    assert before != load_supervision(store, TASK, FLAT).fingerprint


def test_what_is_held_out_is_not_trained_on(store):
    supervision = load_supervision(store, TASK, FLAT)
    kept, held_out = supervision.split(0.2, seed=0)
    assert not set(kept.episode_ids) & set(held_out.episode_ids)
    assert set(kept.episode_ids) | set(held_out.episode_ids) == set(supervision.episode_ids)
    assert len(held_out.teaching) == round(0.2 * len(supervision.teaching)) == len(held_out.sketches)
    assert len(held_out.unlabelled) == round(0.2 * len(supervision.unlabelled))
    assert held_out.teaching == supervision.split(0.2, seed=0)[1].teaching
    assert held_out.episode_ids != supervision.split(0.2, seed=1)[1].episode_ids


def test_nothing_is_held_out_of_a_few(store):
    for selection, share in ((Selection(annotated="limit=4"), 0.2), (Selection(), 0.0)):
        supervision = load_supervision(store, TASK, FLAT, selection)
        kept, held_out = supervision.split(share, seed=0)
        assert held_out is None and kept.episode_ids == supervision.episode_ids


@pytest.mark.parametrize(
    ("config", "selection", "said"),
    [
        (RANKING, Selection(annotated="verdict=unknown"), "no sketches for the task"),
        (ORIL, Selection(), "say which episodes these are, for example --demonstrations"),
        (ORIL, Selection(demonstrations="policy_id=nobody"), "no episode"),
        (ORIL, Selection(demonstrations="robot=fake"), "every selected one teaches"),
        (FLAT, Selection(unlabelled="policy_id=nobody"), "no episode"),
    ],
)
def test_mistakes_are_one_sentence(store, config, selection, said):
    with pytest.raises(ArmchairError, match=said):
        load_supervision(store, TASK, config, selection)

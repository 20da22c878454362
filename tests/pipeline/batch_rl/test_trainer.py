import dataclasses
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from datasets import testing
from datasets.errors import ArmchairError, SpecMismatchError, StoreError
from datasets.presets import ObservationPreset
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl import trainer
from pipeline.batch_rl.config import (
    BcConfig,
    BcTraining,
    CriticConfig,
    CrrConfig,
    CrrTraining,
    D4pgConfig,
    D4pgTraining,
    IqlConfig,
    IqlTraining,
    MemoryConfig,
    PolicyConfig,
    Td3BcConfig,
    Td3BcTraining,
)  # fmt: skip
from pipeline.batch_rl.crr import CrrLearner
from pipeline.metrics import read_metrics

POLICY = PolicyConfig(layer_sizes=(16, 16), components=2)
TWINS = CriticConfig((16, 16), distributional=False, twin=True)
SMALL = {"batch_size": 16, "fused": 5, "checkpoint_every": 10, "snapshot_every": 20, "steps": 25, "task": "lift_green"}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(8):
        task = "lift_green" if seed < 6 else "reach_green"
        store.add(testing.make_episode(seed, 8, cameras=(), task_id=task), "fake")
    store.publish()
    return store


def _bc(store: Store, out, **changes) -> BcTraining:
    return BcTraining(**(SMALL | {"store": store.root, "out": out, "method": BcConfig(policy=POLICY)} | changes))


def _crr(store: Store, out, **changes) -> CrrTraining:
    method = CrrConfig(policy=POLICY, critic=CriticConfig((16, 16), 11), target_period=7)
    options = SMALL | {"store": store.root, "out": out, "method": method, "query": "task_id=lift_green"}
    return CrrTraining(**(options | changes))


def _crr_memory(store: Store, out, **changes) -> CrrTraining:
    config = _crr(store, out)
    return dataclasses.replace(
        config, **{"method": dataclasses.replace(config.method, memory=MemoryConfig(4, 3))} | changes
    )


def _d4pg(store: Store, out, **changes) -> D4pgTraining:
    method = D4pgConfig(layer_sizes=(16, 16), critic=CriticConfig((16, 16), 11), n_step=3, target_period=7)
    options = SMALL | {"store": store.root, "out": out, "method": method, "query": "task_id=lift_green"}
    return D4pgTraining(**(options | changes))


def _td3_bc(store: Store, out, **changes) -> Td3BcTraining:
    method = Td3BcConfig(layer_sizes=(16, 16), critic=TWINS)
    options = SMALL | {"store": store.root, "out": out, "method": method, "query": "task_id=lift_green"}
    return Td3BcTraining(**(options | changes))


def _iql(store: Store, out, **changes) -> IqlTraining:
    method = IqlConfig(policy=POLICY, critic=TWINS)
    options = SMALL | {"store": store.root, "out": out, "method": method, "query": "task_id=lift_green"}
    return IqlTraining(**(options | changes))


TRAININGS = {"bc": _bc, "crr": _crr, "crr_memory": _crr_memory, "d4pg": _d4pg, "td3_bc": _td3_bc, "iql": _iql}


def _numbers(out) -> list[dict[str, float]]:
    """The metrics without the wall clock."""
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in read_metrics(out)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "memory" in name else []) for name in TRAININGS]
)
class TestEveryTraining:
    def test_leaves_what_it_promises(self, name, store, tmp_path):
        config = TRAININGS[name](store, tmp_path)
        policy = trainer.train(config)
        assert policy == tmp_path / "last"
        assert [line["step"] for line in read_metrics(tmp_path)] == [5, 10, 15, 20, 25]
        assert sorted(p.name for p in (tmp_path / "snapshots").iterdir()) == ["00000020"]
        assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["00000025"]
        restored, card = export.load_model(policy, "policy")
        assert card["step"] == 25 and card["task_id"] == "lift_green"
        assert card["policy_id"] == f"{config.name}-{card['model_hash'][:8]}"
        assert card["config"]["seed"] == 0 and card["dataset"]["episodes"] == (8 if name == "bc" else 6)
        assert sorted(card["inputs"]) == ["gripper/grasp", "sawyer/joints/angle"]  # no privileged pose
        frame = {k: np.zeros((3, *v.shape), v.dtype) for k, v in export.card_inputs(card).items()}
        acted = restored.follow(frame).numpy()
        assert acted.shape == (3, 7) and np.isfinite(acted).all()
        assert (acted >= card["action"]["minimum"]).all() and (acted <= card["action"]["maximum"]).all()

    def test_resuming_gives_the_same_numbers(self, name, store, tmp_path, monkeypatch):
        trainer.train(TRAININGS[name](store, tmp_path / "whole"))
        config = TRAININGS[name](store, tmp_path / "stopped")
        save_policy = trainer._save_policy

        def power_cut(path, *args):
            if path.name == "00000020":  # between two checkpoints
                raise KeyboardInterrupt
            return save_policy(path, *args)

        monkeypatch.setattr(trainer, "_save_policy", power_cut)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(config)
        assert not (config.out / "last").exists()
        monkeypatch.undo()
        trainer.train(config)
        for folder in ("last", "snapshots/00000020"):
            cards = [export.load_card(tmp_path / run / folder, "policy") for run in ("whole", "stopped")]
            assert cards[0]["model_hash"] == cards[1]["model_hash"]
        assert _numbers(tmp_path / "whole") == _numbers(config.out)

    def test_a_finished_training_is_not_done_again(self, name, store, tmp_path):
        config = TRAININGS[name](store, tmp_path)
        before = export.load_card(trainer.train(config), "policy")
        assert export.load_card(trainer.train(config), "policy") == before
        assert len(read_metrics(tmp_path)) == 5

    def test_a_run_folder_belongs_to_one_config(self, name, store, tmp_path):
        trainer.train(TRAININGS[name](store, tmp_path))
        with pytest.raises(ArmchairError, match="another config"):
            trainer.train(TRAININGS[name](store, tmp_path, seed=1))

    def test_divergence_is_diagnosed(self, name, store, tmp_path):
        method = TRAININGS[name](store, tmp_path).method
        rate = "learning_rate" if name == "bc" else "policy_learning_rate"
        config = TRAININGS[name](store, tmp_path, method=dataclasses.replace(method, **{rate: float("nan")}))
        with pytest.raises(ArmchairError, match=r"training diverged: policy_loss is nan at step 5; lower the learning"):
            trainer.train(config)
        assert not (tmp_path / "last").exists() and not (tmp_path / "checkpoints").exists()


def test_values_above_all_that_rewards_can_give_stop_it(store, tmp_path, monkeypatch):
    """Rewards are 0 or 1, and the learner's own values begin within what these can give."""
    learn = CrrLearner.run

    def run(self, count):
        return learn(self, count) | ({"q": 106.0} if self.step >= 10 else {})

    monkeypatch.setattr(CrrLearner, "run", run)
    wanted = "training diverged: the mean value is 106 at step 10, but returns lie between 0 and 100; lower"
    with pytest.raises(ArmchairError, match=wanted):
        trainer.train(_crr(store, tmp_path, checkpoint_every=5))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000005"]  # from before that
    assert [line["step"] for line in read_metrics(tmp_path)] == [5, 10]
    assert not (tmp_path / "last").exists()


def _train_slowly(config) -> None:
    trainer.train(config)


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes, and a machine may be busy
def test_a_killed_training_resumes_bit_for_bit(store, tmp_path):
    """Kills a training in another process with SIGKILL, twice, at whatever it was doing."""
    whole, killed = (_crr(store, tmp_path / name, steps=1_000) for name in ("whole", "killed"))
    trainer.train(whole)
    context = multiprocessing.get_context("spawn")
    for wanted in (100, 500):
        process = context.Process(target=_train_slowly, args=(killed,))
        process.start()
        while process.is_alive() and (read_metrics(killed.out) or [{"step": 0}])[-1]["step"] < wanted:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    trainer.train(killed)
    cards = [export.load_card(config.out / "last", "policy") for config in (whole, killed)]
    assert cards[0]["model_hash"] == cards[1]["model_hash"]
    assert _numbers(whole.out) == _numbers(killed.out)


class TestMistakes:
    def test_no_store(self, tmp_path):
        with pytest.raises(StoreError, match="is not a store"):
            trainer.train(_bc(Store(tmp_path / "nowhere"), tmp_path / "run"))
        assert not (tmp_path / "run").exists()

    def test_an_empty_query(self, store, tmp_path):
        with pytest.raises(ArmchairError):
            trainer.train(_bc(store, tmp_path / "run", query="task_id=stack_green_on_red"))
        assert not (tmp_path / "run").exists()

    def test_rewards_of_another_task(self, store, tmp_path):
        with pytest.raises(ArmchairError, match="2 of 8 episodes were recorded for another task"):
            trainer.train(_crr(store, tmp_path / "run", query=""))
        assert not (tmp_path / "run").exists()

    def test_crr_without_rewards(self, store, tmp_path):
        with pytest.raises(ArmchairError, match="every reward is 0"):
            trainer.train(_crr(store, tmp_path / "run", rewards="none"))

    def test_a_model_that_has_not_annotated(self, store, tmp_path):
        with pytest.raises(ArmchairError, match="6 of 6 episodes have no rewards from model:m1"):
            trainer.train(_crr(store, tmp_path / "run", rewards="model:m1"))

    def test_a_folder_that_is_no_reward_model(self, store, tmp_path):
        with pytest.raises(ArmchairError, match="not a model folder"):
            trainer.train(_crr(store, tmp_path / "run", rewards=f"model:{tmp_path}"))

    def test_a_reward_model_s_folder_stands_for_its_id(self, store, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "card.json").write_text(json.dumps({"kind": "reward_model", "model_id": "lift-7"}))
        with pytest.raises(ArmchairError, match="no rewards from model:lift-7"):
            trainer.train(_crr(store, tmp_path / "run", rewards=f"model:{tmp_path / 'model'}"))

    def test_numbers_that_do_not_fit(self, store, tmp_path):
        with pytest.raises(ArmchairError, match="snapshot_every=12 is no multiple of fused=5"):
            _bc(store, tmp_path, snapshot_every=12)
        with pytest.raises(ArmchairError, match="not a share"):
            _bc(store, tmp_path, task_share=1.5)

    def test_other_episodes_than_at_the_start(self, store, tmp_path):
        growing = Store.create(tmp_path / "store")
        for seed in range(4):
            growing.add(testing.make_episode(seed, 8, cameras=()), "fake")
        trainer.train(_bc(growing, tmp_path / "run"))
        growing.add(testing.make_episode(4, 8, cameras=()), "fake")
        with pytest.raises(ArmchairError, match="selects other episodes than when this run began"):
            trainer.train(_bc(growing, tmp_path / "run"))

    def test_a_run_that_an_older_version_began(self, store, tmp_path):
        trainer.train(_bc(store, tmp_path / "run"))
        data = tmp_path / "run" / "data.json"
        summary = json.loads(data.read_text())
        queries = summary.pop("queries")
        data.write_text(json.dumps(summary | {"query": queries["query"]["query"]}, indent=2))
        with pytest.raises(ArmchairError, match=r"or an older Armchair began it \(see .*: choose another folder"):
            trainer.train(_bc(store, tmp_path / "run"))

    def test_datasets_with_nothing_in_common(self, store, tmp_path):
        mixed = Store.create(tmp_path / "store")
        episode = testing.make_episode(0, 8, cameras=())
        mixed.add(episode, "fake")
        foreign = dataclasses.replace(
            testing.make_episode(1, 8, cameras=()), observation={"arm": np.zeros((8, 2), np.float32)}
        )
        mixed.add(foreign, "foreign")
        with pytest.raises(SpecMismatchError, match="have no proprio observation in common"):
            trainer.train(_bc(mixed, tmp_path / "run"))

    @pytest.mark.parametrize("make", [_crr, _d4pg])
    def test_rewards_far_below_the_first_values_are_no_divergence(self, tmp_path, make):
        """A fresh critic's values are the middle of its atoms, here 50, and no return can exceed 1."""
        episodes = [testing.make_episode(seed, 8, cameras=()) for seed in range(3)]
        low = Store.create(tmp_path / "store")
        for episode in episodes:
            low.add(dataclasses.replace(episode, reward=np.full(8, 0.01, np.float32)), "fake")
        trainer.train(make(low, tmp_path / "run"))
        assert read_metrics(tmp_path / "run")[0]["q"] > 10


def test_states_preset_adds_what_only_a_simulator_knows(store, tmp_path):
    card = export.load_card(trainer.train(_bc(store, tmp_path, observations=ObservationPreset.STATES)), "policy")
    assert "objects/green/pose" in card["inputs"]


def test_observations_can_be_left_out(store, tmp_path):
    left_out = ("gripper",)
    policy = trainer.train(_bc(store, tmp_path, without=left_out))
    inputs = export.load_card(policy, "policy")["inputs"]
    assert inputs
    assert not any(name.startswith(left_out) for name in inputs)


@pytest.mark.parametrize("without", [("gripper", "nothing/like/this"), ("",)])
def test_leaving_out_what_is_not_there_or_everything_is_a_mistake(store, tmp_path, without):
    with pytest.raises(SpecMismatchError, match="leave out some of|left out"):
        trainer.train(_bc(store, tmp_path / "run", without=without))
    assert not (tmp_path / "run").exists()


def test_observations_can_be_left_out_by_prefix(store, tmp_path):
    card = export.load_card(trainer.train(_bc(store, tmp_path / "run", without=("gripper",))), "policy")
    assert sorted(card["inputs"]) == ["sawyer/joints/angle"]
    with pytest.raises(SpecMismatchError, match="no proprio observation begins with 'wrist'"):
        trainer.train(_bc(store, tmp_path / "other", without=("wrist",)))

"""Trains a reward model by any method, and writes its folder.

A run folder holds `config.json`, a folder for each model that is trained (see `fit`) and, at the end, `model/`: a
SavedModel with its card. Starting again in the same folder goes on where it stopped.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import ArmchairError
from datasets.predictions import write_predictions
from datasets.store import Store
from pipeline import config as configs
from pipeline import export
from pipeline.reward_learning import labels
from pipeline.reward_learning.config import (
    EarlyFrames,
    FittedConfig,
    OrilConfig,
    RankingConfig,
    RegressionConfig,
    RewardConfig,
    Selection,
    SqilConfig,
    SsrConfig,
    SuccessConfig,
    SupConfig,
    TgrConfig,
    TgrIConfig,
)
from pipeline.reward_learning.fit import fit_member
from pipeline.reward_learning.labels import LabelLearner
from pipeline.reward_learning.learner import RewardLearner
from pipeline.reward_learning.model import Constant, Ensemble
from pipeline.reward_learning.oril import OrilLearner
from pipeline.reward_learning.ranking import RankingLearner, RegressionLearner
from pipeline.reward_learning.refine import refine
from pipeline.reward_learning.supervision import Supervision, load_supervision


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What decides a run: equal ones give equal models."""

    task_id: str
    method: str
    supervision: str  # fingerprint of the sketches and episodes
    config: dict[str, Any]


def train(
    store: Store, task_id: str, directory: Path, config: RewardConfig, selection: Selection | None = None
) -> Path:
    """Trains a reward model, or goes on with the one in `directory`; returns the model folder.

    Args:
      store: with the episodes, and the sketches if the method learns from them.
      task_id: the task that is rated.
      directory: of the run.
      config: the method and its constants: one of `config.METHODS`.
      selection: which episodes teach what; by default every sketch, and everything else is unlabelled.

    Raises:
      ArmchairError: as `load_supervision` and the method's learner; if training diverges; or if the folder holds a run
        of other supervision or another config.
    """
    supervision = load_supervision(store, task_id, config, selection)
    run = RunConfig(task_id, config.method, supervision.fingerprint, configs.to_dict(config))
    configs.claim_run(directory, run)
    if isinstance(config, SqilConfig):
        return _rate_by_membership(store, supervision, run, directory)
    assert isinstance(config, FittedConfig)
    if isinstance(config, SsrConfig | TgrIConfig):
        models = refine(supervision, config, directory)
    else:
        models = [
            fit_member(supervision, config, number, _learner, directory / f"member-{number}", config.method)
            for number in range(config.members)
        ]
    module = Ensemble(models, config.threshold if isinstance(config, SuccessConfig) else None)
    model_hash = export.fingerprint(v for model in models for v in model.variables)
    return export.save_model(directory / "model", module, _card(supervision, run, model_hash))


def make_learner(supervision: Supervision, config: FittedConfig) -> RewardLearner:
    """What a method teaches that trains in one go. Raises ArmchairError as the method's learner."""
    match config:
        case RankingConfig():
            return RankingLearner(supervision, config)
        case RegressionConfig():
            return RegressionLearner(supervision, config)
        case OrilConfig():
            return OrilLearner(supervision, config)
        case SupConfig() | TgrConfig():
            known = labels.of_teaching(supervision, config) | labels.flat(supervision)
            return LabelLearner(supervision, known, config.batch_size, config.seed)
        case _:
            raise ArmchairError(f"{type(config).__name__} is no method that trains in one go: see config.METHODS")


def _learner(supervision: Supervision, config: FittedConfig, judges: bool) -> RewardLearner:
    """To train or to judge: ORIL's regulariser is there to lead the training, its loss is no measure of anything."""
    if judges and isinstance(config, OrilConfig):
        config = dataclasses.replace(config, regulariser=EarlyFrames.NONE)
    return make_learner(supervision, config)


def _rate_by_membership(store: Store, supervision: Supervision, run: RunConfig, directory: Path) -> Path:
    """SQIL: the demonstrations are rated 1 here and now, and the model says 0 of whatever else it is asked."""
    model_hash = supervision.fingerprint
    card = _card(supervision, run, model_hash)
    ones = {i: np.ones(len(supervision.frames.episodes[i]), np.float32) for i in supervision.demonstrations}
    store.register_model(card)
    path = store.prediction_path(card["model_id"], "demonstrations")
    write_predictions(path, card["model_id"], model_hash, run.task_id, ones)
    store.add_predictions(card["model_id"], model_hash, run.task_id, path)
    return export.save_model(directory / "model", Constant(supervision.frames.inputs), card)


def _card(supervision: Supervision, run: RunConfig, model_hash: str) -> dict[str, Any]:
    return {
        "kind": "reward_model",
        "method": run.method,
        "model_id": f"{run.method}-{run.task_id}-{model_hash[:8]}",
        "model_hash": model_hash,
        "task_id": run.task_id,
        "inputs": export.inputs_card(supervision.frames.inputs),
        "config": run.config,
        "num_sketches": len(supervision.sketches),
        "supervision": {
            "fingerprint": supervision.fingerprint,
            "summary": str(supervision),
            "teaching": list(supervision.teaching),
            "queries": supervision.queries,
        },
        "trained_on": list(supervision.episode_ids),
    }

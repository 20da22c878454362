"""Rounds of the loop on the simulated cell: each policy shows what its reward got wrong, and that is sketched next.

A policy that exploits a wrong reward ("delusion") fails in episodes that the reward model rates high. So, after each
round, the newest policy's episodes of that kind are sketched, and reward and policy are trained again from scratch on
everything that the store holds by then (Cabi et al., arXiv 1909.12200; how episodes are chosen is ours).

The first round is under-annotated on purpose: a few sketches of episodes that succeed, as when a lab has sketched its
demonstrations and nothing else. Nobody has told the reward model yet what failure looks like.

```
OUT/logs/, OUT/store/     as in the demo        OUT/round-N/     reward/, policy/, evaluation/, round.json
OUT/report.html           what to look at       OUT/videos/      its clips
```
A loop that was interrupted goes on when it is started again with the same options.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

from armchair import demo, stages
from datasets import files
from datasets.console import console
from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset
from datasets.query import Query
from datasets.store import Store
from pipeline.annotate.synthetic import AnnotatorConfig
from pipeline.batch_rl.config import CrrTraining
from robot.evaluate import Evaluation

TASK = demo.TASK
_LOGGED = 60  # recorded episodes that the reward model is judged by, as in the demo
_OWN_SEEDS = 1_000  # a round's initial states are its own: those of earlier rounds are in the store and learned from


SKETCHES = 4  # of the first round, all of episodes that succeed
HUNTED: Mapping[demo.Preset, int] = {demo.Preset.DEFAULT: 20, demo.Preset.SMOKE: 3}
"""Episodes that are sketched after a round: our choice. Everything else is as in the demo."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """One run of the loop."""

    out: Path
    rounds: int = 3
    preset: demo.Preset = demo.Preset.DEFAULT
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ArmchairError for a loop without a round."""
        if self.rounds < 1:
            raise ArmchairError(f"a loop of {self.rounds} rounds does nothing: ask for at least one")


@dataclasses.dataclass(frozen=True)
class Round:
    """What came out of one round. Everything about the policy is measured on its own new episodes."""

    number: int  # from 1
    model_id: str
    policy_id: str
    sketches: int  # that the reward model learned from
    episodes: int  # of the evaluation
    successes: int
    predicted_successes: int  # episodes at whose end the reward model, too, sees success
    auc_episodes: float | None  # ROC-AUC: the highest prediction of solved episodes against unsolved ones
    auc_frames: float | None  # ROC-AUC: solved frames against unsolved ones; None: of one kind there is none
    auc_logs: float | None  # ... of the frames of recorded episodes that no model was trained on

    @property
    def success_rate(self) -> float:
        """In [0, 1]."""
        return self.successes / self.episodes


def run(config: LoopConfig) -> Path:
    """Runs the loop and returns the report's path.

    Raises:
      ArmchairError: whatever a stage cannot do; or the folder holds a loop with other options.
    """
    return stages.once("loop", config, functools.partial(_all_rounds, config))


def read_rounds(out: Path) -> list[Round]:
    """The finished rounds of a loop's folder, in order."""
    paths = sorted(out.glob("round-*/round.json"), key=lambda path: int(path.parent.name.removeprefix("round-")))
    return [Round(**json.loads(path.read_text())) for path in paths]


def _all_rounds(config: LoopConfig, report: Path) -> Path:
    from armchair import loop_report

    logs, store = config.out / "logs", config.out / "store"
    stages.collect(logs, demo.SIZES[config.preset].plan, config.seed)
    stages.ingest(logs, store)
    solved = Query(task_id=TASK, dataset=stages.DATASET, verdict="success")
    stages.sketch(store, solved, SKETCHES, AnnotatorConfig(seed=config.seed))
    rounds = []
    for number in range(1, config.rounds + 1):
        console.rule(f"[bold]Round {number} of {config.rounds}")
        rounds.append(_round(config, number))
        console.print(_told(rounds[-1]), soft_wrap=True)
    with stages.stage("Report"):
        return loop_report.write(report, store, TASK, rounds)


def _round(config: LoopConfig, number: int) -> Round:
    """Learns the reward and the policy anew, tries the policy out, and sketches where the two disagree."""
    sizes, store, folder = demo.SIZES[config.preset], config.out / "store", config.out / f"round-{number}"
    done = folder / "round.json"
    if done.exists():
        return Round(**json.loads(done.read_text()))
    reward = dataclasses.replace(sizes.reward, seed=config.seed)
    model = stages.learn_reward(folder / "reward", store, TASK, reward)
    stages.annotate(store, model)
    policy = stages.train(
        CrrTraining(
            out=folder / "policy", rewards=f"model:{model}", method=stages.CRR,
            observations=ObservationPreset.STATES, without=stages.WITHOUT,
            **stages.policy_settings(store, TASK, sizes.policy_steps, config.seed),
        )
    )  # fmt: skip
    seed = stages.EVALUATION_SEED + config.seed * 10_000 + number * _OWN_SEEDS
    evaluation = stages.evaluate(folder / "evaluation", "policy", policy, TASK, sizes.evaluation_episodes, seed)
    stages.ingest(folder / "evaluation", store)
    stages.annotate(store, model)
    outcome = _judge(Store.open(store), model, number, evaluation)
    if number < config.rounds:
        stages.hunt(store, model, evaluation.policy_id, HUNTED[config.preset], AnnotatorConfig(seed=config.seed))
    files.write_atomically(done, json.dumps(dataclasses.asdict(outcome), indent=2))
    return outcome


def _judge(store: Store, model: Path, number: int, evaluation: Evaluation) -> Round:
    """What the reward model says of the policy that was trained on it, beside what the simulator says."""
    from pipeline import export
    from pipeline.reward_learning.evaluate import held_out, rate
    from pipeline.reward_learning.quality import ABOVE, judge

    module, card = export.load_model(model, "reward_model")
    tried = store.query(Query(ids=tuple(episode.episode_id for episode in evaluation.episodes)))
    untrained = held_out(store, [card], store.count(Query(task_id=TASK)))
    logged = [row for row in untrained if row.dataset == stages.DATASET][:_LOGGED]
    episodes = rate(store, tried, module, card)
    quality = judge(episodes, card["model_id"])
    return Round(
        number, card["model_id"], evaluation.policy_id, card["num_sketches"], len(episodes), evaluation.successes or 0,
        predicted_successes=sum(bool(episode.predicted[-1] > ABOVE) for episode in episodes),
        auc_episodes=quality.auc_episode_max, auc_frames=quality.auc_solved,
        auc_logs=judge(rate(store, logged, module, card), card["model_id"]).auc_solved,
    )  # fmt: skip


def _told(outcome: Round) -> str:
    """One line for people."""
    auc = "not defined" if outcome.auc_episodes is None else f"{outcome.auc_episodes:.2f}"
    return (
        f"round {outcome.number}: {outcome.successes}/{outcome.episodes} succeed, the reward model says "
        f"{outcome.predicted_successes}; ROC-AUC over its episodes {auc}; {outcome.sketches} sketches"
    )

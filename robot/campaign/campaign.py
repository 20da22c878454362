"""Episodes on a real arm, one after the other, with a person who sets them up and judges them.

```
OUT/campaign/plan.json        who acts in which order; written before anything moves, and kept to from then on
OUT/campaign/initial/SEED/    pictures of how the episodes of a seed begin (robot.campaign.initial)
OUT/campaign/overlay.png      then and now, for the person who puts things back
OUT/DATASET/1.0.0/            the episodes
```
Policies are compared blindly: whoever judges is told that this is episode 7 of 40, and not who acts. An episode is on
disk once it is judged, together with the verdict. So one that was interrupted, at whatever moment, is played again, and
none is judged twice.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import files
from datasets.errors import ArmchairError
from datasets.schema import Verdict
from robot.campaign.initial import InitialConditions
from robot.campaign.operators import Operator, Question
from robot.loop import EpisodeSummary
from robot.stage import Job, PlanLine, Setting, Stage, in_order

Key = tuple[str, str, int]
"""Of an episode: see `EpisodeSummary.key`."""

CHECKLIST = (
    "The emergency button is in your hand.",
    "Nobody is within the arm's reach, and nobody will be while it moves.",
    "The workspace is free of whatever does not belong to the task.",
    "Every camera sees the workspace.",
    "The task is set up, and its objects are whole.",
)
"""What must hold before an arm moves."""

_STOP = {"q": "stop here"}
_VERDICTS = {"s": Verdict.SUCCESS, "f": Verdict.FAILURE, "u": Verdict.UNKNOWN}
_DISCARD = "x"
_JUDGEMENTS = {"s": "success", "f": "failure", "u": "I do not know", _DISCARD: "discard it, and repeat"}


class CampaignStoppedError(ArmchairError):
    """The person beside the arm wants to go on another time."""


def run(
    stage: Stage,
    plan: Sequence[PlanLine],
    setting: Setting,
    known: Mapping[Key, EpisodeSummary],
    operator: Operator | None,
) -> dict[Key, EpisodeSummary]:
    """Plays the episodes of a plan that are not known yet, and returns their summaries.

    Raises:
      ArmchairError: nobody is beside the arm, the episodes are not to be recorded, or the folder holds another plan.
      CampaignStoppedError: the person said no, or wants to stop; the same command goes on there.
      EmergencyStopError: the arm was stopped; its episode has been judged like any other.
    """
    if operator is None:
        raise ArmchairError(
            f"{stage.name} is a real arm, and nobody is beside it: use `armchair evaluate` or `armchair collect`"
        )
    if setting.out is None:
        raise ArmchairError(f"{stage.name} is a real arm, whose episodes are recorded: say where with --out FOLDER")
    if setting.workers != 1:
        raise ArmchairError(f"{stage.name} is a real arm, of which there is one: leave out --workers")
    return _Campaign(stage, plan, setting, setting.out / "campaign", operator).run(known)


class _Campaign:
    def __init__(self, stage: Stage, plan: Sequence[PlanLine], setting: Setting, folder: Path, operator: Operator):
        self._stage, self._operator = stage, operator
        self._order = _claim(folder / "plan.json", stage, plan, setting)
        self._initial = InitialConditions(setting.initial or folder / "initial")
        self._overlay = folder / "overlay.png"

    def run(self, known: Mapping[Key, EpisodeSummary]) -> dict[Key, EpisodeSummary]:
        done = dict(known)
        self._confirm()
        for number, job in enumerate(self._order, 1):
            title = f"Episode {number} of {len(self._order)}"
            while (key := self._stage.key(job)) not in done:
                self._prepare(title, job)
                if summary := self._play(title, job):
                    done[key] = summary
                self._stage.check()
        self._operator.tell(f"All {len(self._order)} episodes are done.")
        return done

    def _confirm(self) -> None:
        listed = "\n".join(f"- {line}" for line in CHECKLIST)
        text = f"{self._stage.name} is a real arm. Before it moves:\n{listed}\nDoes all of this hold?"
        if self._operator.ask(Question(text, {"yes": "it does", "no": "do not move"})) == "no":
            raise CampaignStoppedError("nothing has moved: start the same command again when all of this holds")

    def _prepare(self, title: str, job: Job) -> None:
        """Returns when the person says that the episode can begin."""
        if not self._initial.known(job.seed):
            self._ask(title, f"{title}. Set up the task, and step back.", {"": "ready, the arm moves"})
            return
        text = f"{title} begins as an earlier one did. Step back, for the cameras to look."
        self._ask(title, text, {"": "ready, the arm goes home"})
        stays = self._stage.looks_at_rest
        again = "look again" if stays else "look again, the arm goes home first"
        answers = {"": "all is in its place, the arm moves", "r": again}
        text = f"{title}. Here are then, now, and one over the other. Put things back, and step back."
        is_home = False
        while True:
            self._initial.overlay(job.seed, self._stage.look(at_rest=is_home and stays), self._overlay)
            is_home = True
            if self._ask(title, text, answers, self._overlay) != "r":
                return

    def _play(self, title: str, job: Job) -> EpisodeSummary | None:
        """Plays an episode and has it judged; None if it is to be repeated."""
        self._operator.tell(f"{title} is under way.")
        self._stage.perform(job, operator=self._operator.name, initial_condition=str(job.seed))
        stopped = f" The arm was stopped ({self._stage.latched})." if self._stage.latched else ""
        answer = self._operator.ask(Question(f"{title} is over.{stopped} Was the task solved?", _JUDGEMENTS))
        if answer == _DISCARD:
            self._stage.drop()
            return None
        self._initial.add(job.seed, self._stage.opening())
        return self._stage.keep(verdict=str(_VERDICTS[answer]))

    def _ask(self, title: str, text: str, answers: Mapping[str, str], picture: Path | None = None) -> str:
        answer = self._operator.ask(Question(text, {**answers, **_STOP}, picture))
        if answer in _STOP:
            raise CampaignStoppedError(f"stopped before {title.lower()}: the same command goes on there")
        return answer


def _claim(path: Path, stage: Stage, plan: Sequence[PlanLine], setting: Setting) -> list[Job]:
    """Writes the plan, or reads the one that is there; returns the order of the episodes.

    Raises:
      ArmchairError: the plan that is there has other options.
    """
    names = {stage.actor(line.actor).policy_id: line.actor for line in plan}
    options: dict[str, Any] = {
        "robot": stage.name,
        "task_id": stage.task_id,
        "lines": [_line(stage, line) for line in plan],
        "interleave": setting.interleave,
        "dataset": setting.dataset,
        "safety": str(setting.safety),
        "arm": setting.arm.read_text() if setting.arm else None,
        "initial": str(setting.initial.absolute()) if setting.initial else None,
    }
    order = [{"policy_id": stage.key(job)[1], "seed": job.seed} for job in in_order(plan, setting.interleave)]
    files.write_new(path, json.dumps({"options": options, "order": order}, indent=2))
    found = json.loads(path.read_text())
    if found["options"] != options:
        raise ArmchairError(
            f"{path.parent.parent} holds another campaign (see {path}): repeat its options, or choose another folder"
        )
    return [Job(stage.name, names[episode["policy_id"]], episode["seed"]) for episode in found["order"]]


def _line(stage: Stage, line: PlanLine) -> dict[str, Any]:
    """A line of a plan. The policy's id stands for it, as folders may be moved, or filled anew."""
    fields = dataclasses.asdict(line) | {"policy_id": stage.actor(line.actor).policy_id}
    return {name: value for name, value in fields.items() if name not in ("env", "actor")}

"""An episode on its way from EnvLogger's steps to our form.

There, action, reward and discount belong to the *arrival* in the observation, and come one step later than ours. What
`step_fn` added becomes further step fields, under its names, as EnvLogger's other backend has it.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import dm_env
import numpy as np

from datasets import video
from datasets.errors import BadEpisodeError

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n")  # how JPEG and PNG begin
_RLDS = ("observation", "action", "reward", "discount", "is_first", "is_last", "is_terminal")


class Step(NamedTuple):
    """What EnvLogger writes at each step of an environment."""

    position: int  # of the record
    timestep: dm_env.TimeStep
    action: Any  # that led to the time step; None at the first
    custom: Any  # what `step_fn` said


@dataclasses.dataclass(frozen=True)
class StepFields:
    """The fields of an episode, on their way from what the environment gave to RLDS."""

    where: str  # the episode, for messages
    problems: list[str]  # get what is left out
    repairs: list[str]  # get what is otherwise than in the log

    def of(self, steps: Sequence[Step]) -> dict[str, np.ndarray]:
        """Flat name -> [T, ...], aligned as ours. Raises BadEpisodeError if they are no episode."""
        if not steps[0].timestep.first():
            raise BadEpisodeError(
                f"{self.where} are {len(steps)} steps whose episode's beginning is lost: leave them out"
            )
        if len(steps) == 1:
            raise BadEpisodeError(
                f"{self.where} is a first step with no other, so that there is no action: leave it out"
            )
        arrivals, last = steps[1:], steps[-1].timestep
        custom = [s.custom if isinstance(s.custom, Mapping) else {"custom_data": s.custom} for s in steps]
        fields = self._columns("", custom, self.problems)
        if taken := [name for name in fields if name.partition("/")[0] in _RLDS]:
            self.problems.append(f"custom {', '.join(taken)} of {self.where} are left out: every step has such a field")
        found = {name: values for name, values in fields.items() if name not in taken}
        found |= self._columns("observation", [s.timestep.observation for s in steps], self.problems)
        bad: list[str] = []
        actions = self._columns("action", [s.action for s in arrivals], bad)
        if bad:
            raise BadEpisodeError(bad[0])
        found |= {name: np.concatenate([v, np.zeros_like(v[:1])]) for name, v in actions.items()}  # the last: no action
        reward = self._numbers("reward", [s.timestep.reward for s in arrivals])
        discount = self._numbers("discount", [s.timestep.discount for s in arrivals])
        times = np.arange(len(steps))
        return found | {
            "reward": np.append(reward, 0),
            "discount": np.append(discount, discount[-1]),
            "is_first": times == 0,
            "is_last": times == len(steps) - 1,
            "is_terminal": (times == len(steps) - 1) & bool(last.last() and discount[-1] == 0),
        }

    def _numbers(self, name: str, values: Sequence[Any]) -> np.ndarray:
        columns = self._columns(name, values, [])
        if list(columns) != [name] or columns[name].dtype.kind not in "biuf" or columns[name].size != len(values):
            raise BadEpisodeError(f"{self.where} has a {name} that is not one number a step: leave it out")
        return columns[name].reshape(len(values))

    def _columns(self, name: str, values: Sequence[Any], problems: list[str]) -> dict[str, np.ndarray]:
        """Flat name -> [T, ...] of values of any nesting."""
        rows = [dict(leaves(name, value)) for value in values]
        columns = {}
        for leaf in dict.fromkeys(itertools.chain(*rows)):
            try:
                columns[leaf] = self._stacked(leaf, [row.get(leaf) for row in rows])
            except (ValueError, BadEpisodeError) as error:
                problems.append(f"{leaf} of {self.where} is left out: {error}")
        return columns

    def _stacked(self, name: str, values: Sequence[Any]) -> np.ndarray:
        """As the store wants it: numbers [T, ...], object[T] of picture bytes or of text."""
        if any(value is None for value in values):
            raise BadEpisodeError("not every step has it")
        if all(isinstance(value, bytes) for value in values) and not all(v.startswith(_PICTURES) for v in values):
            values = [value.decode() for value in values]
        if any(all(isinstance(value, kind) for value in values) for kind in (bytes, str)):
            return np.array(values, object)
        stacked = np.stack([np.asarray(value) for value in values])
        if stacked.dtype.kind not in "biuf":
            raise BadEpisodeError("it is neither numbers nor one text a step")
        if stacked.dtype != np.uint8 or stacked.ndim != 4:
            return stacked
        if stacked.shape[-1] not in (1, 3):
            raise BadEpisodeError(f"it holds pictures of {list(stacked.shape[1:])} instead of 1 or 3 channels")
        self.repairs.append(f"{name} was raw pixels and is now JPEG.")
        return video.encode_jpeg(stacked)


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(flat name, value) of everything in dicts, lists and tuples."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(f"{name}/{key}" if name else str(key), item)
    elif value is not None:
        yield name, value

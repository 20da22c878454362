"""An episode on its way from the arrays of an HDF5 file to our form.

There, an episode is N actions with what came of each. Ours has a frame more, the outcome of the last action
(`datasets.schema`): where the file has that, T is N + 1, and otherwise N, and the last action means nothing.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from datasets import video
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.readers import hdf5
from datasets.readers.base import Reading, content_id, joined_action

_LONGEST_NOTE = 4096  # characters: an environment's arguments go into each episode, its XML model does not
_RLDS = {"observation", "action", "reward", "discount", "is_first", "is_last", "is_terminal"}
_EMPTY = "holds nothing"
_CHANNELS = (1, 3)  # of a JPEG


def differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """bool[T]: at which steps two arrays [T, ...] are not the same; NaN is the same as NaN."""
    same = (one == other) | ((one != one) & (other != other))
    return ~same.all(axis=tuple(range(1, same.ndim)))


class Recording:
    """One episode of a file. A reader takes out the arrays that it knows; what is left becomes further step fields.

    Everything raises BadEpisodeError where an array is damaged or is not as long as it should be. What has to be left
    out of an episode that can be kept is named in `problems`, what is otherwise than in the file in `repairs`.
    """

    def __init__(self, where: str, arrays: Mapping[str, h5py.Dataset], rows: slice = slice(None)):
        self.where = where  # the episode, for messages and provenance
        self.repairs: list[str] = []
        self.problems: list[str] = []
        self._arrays, self._rows = dict(arrays), rows
        self._notes = [where]

    def note(self, said: Mapping[str, object]) -> None:
        """Keeps attributes in `metadata.source`; of one that is long, only its SHA-256."""
        for name, value in sorted(said.items()):
            text = " ".join(str(value).split())
            if len(text) > _LONGEST_NOTE:
                self.repairs.append(f"{name} stays in the log ({len(text):,} characters); source has its SHA-256.")
                text = hashlib.sha256(str(value).encode()).hexdigest()
            self._notes.append(f"{name}={text}")

    def take(self, name: str) -> np.ndarray | None:
        """Takes out one array, [N, ...]; None if there is none."""
        dataset = self._arrays.pop(name, None)
        if dataset is None:
            return None
        if why_not := _why_not(dataset):
            raise BadEpisodeError(f"{self.where} has {name} that {why_not}: leave it out")
        return self._read(name, dataset)

    def branch(self, name: str, alone: str = "observation") -> dict[str, np.ndarray]:
        """Takes out the arrays of a group, by their names in it; or one array, which is called `alone`."""
        found = self._keepable([k for k in self._arrays if k == name or k.startswith(f"{name}/")])
        return {alone if k == name else k.removeprefix(f"{name}/"): v for k, v in found.items()}

    def _keepable(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        found = {}
        for name in names:
            dataset = self._arrays.pop(name)
            if (why_not := _why_not(dataset)) == _EMPTY:
                self.repairs.append(f"{name} {why_not} and is left out.")
            elif why_not:
                self.problems.append(f"{name} of {self.where} is left out: it {why_not}")
            else:
                found[name] = self._read(name, dataset)
        return found

    def _read(self, name: str, dataset: h5py.Dataset) -> np.ndarray:
        return hdf5.values(dataset, f"{self.where}/{name}", self._rows)

    def action(self, *names: str) -> np.ndarray:
        """Takes out the action, which is an array, or several in a group or by themselves: float32[N, A]."""
        alone = "action" if len(names) == 1 else ""
        parts = {k: v for name in names for k, v in self.branch(name, alone or name).items()}
        num_actions = len(next(iter(parts.values()), ()))
        for name, part in parts.items():
            self.check_length(name, part, num_actions)
        if parts and not num_actions:
            raise BadEpisodeError(f"{self.where} is an episode without steps: leave it out")
        return joined_action(parts, self.where, self.repairs)

    def numbers(self, name: str, num_actions: int) -> np.ndarray | None:
        """Takes out an array of one number an action, as [N]; None if there is none."""
        values = self.take(name)
        if values is None:
            return None
        self.check_length(name, values, num_actions)
        if values.size != num_actions or values.dtype.kind not in "biuf":
            raise BadEpisodeError(f"{self.where} has {name} that is not one number a step: leave it out")
        return values.reshape(num_actions)

    def flag(self, name: str, num_actions: int) -> bool | None:
        """Takes out flags, one an action: the last one; None if there are none."""
        values = self.numbers(name, num_actions)
        if values is None:
            return None
        if earlier := np.count_nonzero(values[:-1]):
            self.repairs.append(f"{name} was set at {earlier} steps before the last; only the last one's is kept.")
        return bool(values[-1])

    def check_length(self, name: str, values: np.ndarray, *allowed: int) -> None:
        """Raises BadEpisodeError for an array that is not as long as it may be."""
        if len(values) not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise BadEpisodeError(f"{self.where} has {len(values)} steps of {name} instead of {wanted}: leave it out")

    def with_outcome(
        self, observation: Mapping[str, np.ndarray], following: str, num_actions: int
    ) -> dict[str, np.ndarray]:
        """Observations with the one after the last action, if the file has it.

        Args:
          observation: name -> [N, ...].
          following: group, or array, of the observations after each action; all but the last are frames that
            `observation` has as well, and are not kept twice.
          num_actions: N.

        Returns:
          name -> [N + 1, ...], or [N, ...] if the outcome of the last action is not in the file.
        """
        after = self.branch(following)
        for where, frames in (("", observation), (f"{following}/", after)):
            for name, values in frames.items():
                self.check_length(f"{where}{name}", values, num_actions)
        self.problems += [f"{following}/{name} of {self.where} is left out: there is no such frame before the action"
                          for name in sorted(after.keys() - observation.keys())]  # fmt: skip
        if absent := sorted(observation.keys() - after.keys()):
            if after:
                self.repairs.append(f"{following} has no {', '.join(absent)}, so that it is not used.")
            return dict(observation)
        for name, values in observation.items():
            if after[name].shape != values.shape:
                raise BadEpisodeError(
                    f"{self.where} has frames {name} of {list(values.shape[1:])} before an action and of "
                    f"{list(after[name].shape[1:])} after it: leave it out"
                )
            if breaks := np.count_nonzero(differ(after[name][:-1], values[1:])):
                self.repairs.append(f"{following} of {name} was not the next frame at {breaks} steps, and is now.")
        return {k: np.concatenate([v, after[k][-1:].astype(v.dtype)]) for k, v in observation.items()}  # [N + 1, ...]

    def reading(
        self,
        metadata: EpisodeMetadata,
        observation: Mapping[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray | None,
        is_terminal: bool,
    ) -> Reading:
        """The episode, with what is left of the arrays.

        Args:
          metadata: all of it but id, source and repairs.
          observation: name -> [T, ...]; a picture is uint8[T, H, W, C] or uint8[T, C, H, W].
          action: float32[N, A].
          reward: [N]; None: the file has none.
          is_terminal: whether the last action led into a terminal state.
        """
        num_actions = len(action)
        if not observation:
            raise BadEpisodeError(f"{self.where} has no observations: leave it out")
        num_steps = len(next(iter(observation.values())))
        for name, frames in observation.items():
            self.check_length(name, frames, num_steps if num_steps == num_actions else num_actions + 1)
        if reward is None:
            self.repairs.append("There were no rewards; they are now 0.")
            reward = np.zeros(num_actions, np.float32)
        missing = num_steps - num_actions  # 1, or 0 where the outcome of the last action is not there
        if not missing:
            ending = " It was called terminal." if is_terminal else ""
            self.repairs.append(
                f"The outcome of the last action was not there: it, and its reward, mean nothing.{ending}"
            )
        is_terminal = bool(is_terminal and missing)
        extras = self._extras(num_actions, num_steps)
        raw = {f"observation/{k}": v for k, v in observation.items()} | extras | {"action": action, "reward": reward}
        stored = [{k: self._stored(k, v) for k, v in fields.items()} for fields in (observation, extras)]
        told = dataclasses.replace(
            metadata, episode_id=content_id(raw), source="; ".join(self._notes), repairs=" ".join(self.repairs)
        )
        with np.errstate(over="ignore"):  # an infinite reward is refused
            rewards = np.pad(reward.astype(np.float32), (0, missing))
        times = np.arange(num_steps)
        discount = np.ones(num_steps, np.float32)
        discount[num_actions - 1 :] = not is_terminal
        episode = Episode(
            told, stored[0],
            np.pad(action, ((0, missing), (0, 0))),  # [T, A]
            rewards, discount,
            is_first=times == 0,
            is_last=times == num_steps - 1,
            is_terminal=(times == num_steps - 1) & is_terminal,
            extras=stored[1],
        )  # fmt: skip
        return Reading(self.where, episode, tuple(self.problems))

    def _extras(self, num_actions: int, num_steps: int) -> dict[str, np.ndarray]:
        """The arrays that nobody took out, [T, ...]; of one that has N rows, the last is repeated."""
        for name, dataset in list(self._arrays.items()):
            length = len(range(*self._rows.indices(dataset.shape[0]))) if dataset.shape else 1
            why_not = ""
            if name.partition("/")[0] in _RLDS:
                why_not = "every episode has a field of this name"
            elif length not in (num_actions, num_steps):
                why_not = f"it has {length} rows for {num_actions} actions"
            if why_not:
                del self._arrays[name]
                self.problems.append(f"{name} of {self.where} is left out: {why_not}")
        extras = self._keepable(list(self._arrays))
        if short := [name for name, values in extras.items() if len(values) < num_steps]:
            self.repairs.append(f"{', '.join(short)} had no value for the last step; the one before is repeated.")
        return {k: np.concatenate([v, v[-1:]]) if k in short else v for k, v in extras.items()}

    def _stored(self, name: str, array: np.ndarray) -> np.ndarray:
        """As the store wants it: object[T] of JPEG bytes for pictures."""
        if array.dtype != np.uint8 or array.ndim != 4:
            return array
        self.repairs.append(f"{name} was raw pixels and is now JPEG.")
        return video.encode_jpeg(array if array.shape[-1] in _CHANNELS else np.moveaxis(array, 1, -1))


def _why_not(dataset: h5py.Dataset) -> str:
    """Why an array cannot be a step field: the end of a sentence; empty if it can."""
    if dataset.shape is None or 0 in dataset.shape[1:]:
        return _EMPTY
    if not dataset.shape:
        return "is a single value"
    if h5py.check_string_dtype(dataset.dtype):
        return "holds several texts a step" if dataset.ndim > 1 else ""
    if hdf5.holds_jpeg(dataset):
        return ""
    if dataset.dtype.kind not in "biuf":
        return f"holds {dataset.dtype} instead of numbers or text"
    shape = dataset.shape
    if dataset.dtype == np.uint8 and len(shape) == 4 and not {shape[1], shape[-1]} & set(_CHANNELS):
        return f"holds pictures of {list(shape[1:])} instead of 1 or 3 channels"
    return ""

"""D4RL's files: one flat HDF5 file, in which the steps of all episodes follow one another.

`observations`, `actions`, `rewards`, `terminals` and, in most, `timeouts`; often `next_observations`, `infos/...`. An
episode ends where a step is terminal or timed out. A file without `timeouts` is cut at terminals, and where an entry of
`next_observations` is not the observation after it; if those are absent as well, one episode may hold several.

Without `next_observations` the outcome of an episode's last action is not there. A terminal state does not matter,
since nothing comes after it: the last frame is repeated, so that the action keeps its reward. At a time limit the
action means nothing. See Fu et al. 2020 (arXiv 2004.07219).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import h5py
import numpy as np

from datasets.episode import EpisodeMetadata
from datasets.readers import hdf5
from datasets.readers.base import Reading
from datasets.readers.recordings import Recording, differ

_STEPS = ("observations", "actions", "rewards")
_NEXT, _TERMINALS, _TIMEOUTS = "next_observations", "terminals", "timeouts"
_KNOWN = (*_STEPS, _NEXT, _TERMINALS, _TIMEOUTS)
_BLOCK = 10_000  # steps that are compared at once


@dataclasses.dataclass(frozen=True)
class D4rlLog(hdf5.Hdf5Log):
    """One file. See `datasets.readers.base.Log`."""

    @staticmethod
    def fits(log: h5py.File) -> bool:
        """Whether there are arrays of observations and actions, and of what ends an episode."""
        return all(isinstance(d := log.get(name), h5py.Dataset) and d.ndim for name in (*_STEPS, _TERMINALS))

    @property
    def name(self) -> str:
        """`d4rl_FILE`."""
        return hdf5.dataset_name("d4rl", self.path.stem)

    def _count(self, log: h5py.File) -> int:
        return np.count_nonzero(_flagged(log, self.path))

    def _readings(self, log: h5py.File) -> Iterator[tuple[str, Callable[[str], Reading]]]:
        with hdf5.telling(self.path):
            ends = _flagged(log, self.path)
            if _TIMEOUTS not in log and _NEXT in log:
                ends |= _breaks(log, len(ends))
            arrays = hdf5.arrays(log, self.path)
            steps = {k: v for k, v in arrays.items() if k in _KNOWN or (v.ndim and len(v) == len(ends))}
            rest = {k: v for k, v in arrays.items() if k not in steps}
            notes = {k: v.asstr()[()] if h5py.check_string_dtype(v.dtype) else v[()] for k, v in rest.items()
                     if v.shape == ()}  # fmt: skip
        left = sorted(rest.keys() - notes.keys())
        start = 0
        for stop in (np.flatnonzero(ends) + 1).tolist():
            yield (
                f"steps {start} to {stop - 1}",
                functools.partial(self._episode, steps, slice(start, stop), notes, left),
            )
            start = stop

    def _episode(
        self,
        steps: Mapping[str, h5py.Dataset],
        rows: slice,
        notes: Mapping[str, object],
        left: Sequence[str],
        where: str,
    ) -> Reading:
        recording = Recording(where, steps, rows)
        recording.note(notes)
        if left:
            recording.repairs.append(f"{', '.join(left)} are not of the steps and stay in the log.")
        action = recording.action("actions")
        num_actions = len(action)
        frames = recording.with_outcome(recording.branch("observations"), _NEXT, num_actions)
        is_terminal, is_timeout = (recording.flag(name, num_actions) for name in (_TERMINALS, _TIMEOUTS))
        if is_timeout is None:
            cut = (
                "where next_observations did not lead on"
                if _NEXT in steps
                else "nowhere else, if it is several episodes"
            )
            recording.repairs.append(f"There were no timeouts: the log is cut at terminals, and {cut}.")
        elif not is_terminal and not is_timeout:
            recording.repairs.append("The log ends here, neither at a terminal state nor at a timeout.")
        if is_terminal and _NEXT not in steps:
            frames = {k: np.concatenate([v, v[-1:]]) for k, v in frames.items()}  # [N + 1, ...]
            recording.repairs.append("The terminal state was not there; the frame before it is repeated.")
        metadata = EpisodeMetadata(
            "", self.defaults.task_id or self.path.stem, self.defaults.episode_type,
            robot=self.defaults.robot,
            control_rate_hz=self.defaults.control_rate_hz,
        )  # fmt: skip
        return recording.reading(metadata, frames, action, recording.numbers("rewards", num_actions), bool(is_terminal))


def _flagged(log: h5py.File, where: object) -> np.ndarray:
    """bool[all steps]: where an episode ends by the file's flags, or because the file does."""
    total = max(len(log[name]) for name in _KNOWN if name in log)
    ends = np.zeros(total, bool)
    for name in (_TERMINALS, _TIMEOUTS):
        if name in log:
            flags = hdf5.values(log[name], where)
            ends[: len(flags)] |= flags.any(axis=tuple(range(1, flags.ndim)))
    ends[-1:] = True
    return ends


def _breaks(log: h5py.File, total: int) -> np.ndarray:
    """bool[all steps]: where the next observation is not the observation of the next step."""
    found = np.zeros(total, bool)
    last = min(len(log[_NEXT]), len(log["observations"]) - 1)
    for start in range(0, last, _BLOCK):
        stop = min(start + _BLOCK, last)
        found[start:stop] = differ(log[_NEXT][start:stop], log["observations"][start + 1 : stop + 1])
    return found

"""RL Unplugged's control suite, in both layouts of its TFRecord files; `train-00000-of-00100` and so on, GZIP or not.

- *Sequences* (`dm_control_suite/TASK`): a record is a stretch of an episode, of 2 steps usually, in any order, and
  stretches overlap. Step t is `(o_t, a_t, r_t, discount_t, step_type_t)`, aligned as ours. The steps that stretches
  share tell how they join, so whole episodes come back: what one can look at, sketch, and cut anew.
- *Episodes* (`dm_control_suite_episodes/TASK`): a record is an episode; its rewards and discounts belong to the arrival
  in o_t, and come one step later than ours.

Every feature is a flat list of numbers. What TFDS makes of either (`rlu_control_suite`) is RLDS: see
`datasets.readers.rlds`. See Gulcehre et al. 2020 (arXiv 2006.13888), and github.com/google-deepmind/deepmind-research,
folder rl_unplugged.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.readers import tfrecords
from datasets.readers.base import NO_DEFAULTS, Defaults, Reading, content_id

_SHARD = re.compile(r"train-(?P<number>\d{5})-of-(?P<total>\d{5})")
_FIELDS = ("action", "reward", "discount")
_ONCE = ("episode_id", "timestamp")  # of an episode; marks of the layout of episodes
_FIRST, _LAST = 0, 2  # step types, dm_env's
Steps = dict[str, np.ndarray]
"""Feature -> float32[T, D]."""


def is_shard(path: Path) -> bool:
    """Whether a file is called as RL Unplugged's are."""
    return path.is_file() and _SHARD.fullmatch(path.name) is not None


def open_task(path: Path, defaults: Defaults) -> "EpisodeFiles | SequenceFiles":
    """The log of a task's folder; its first readable record tells the layout."""
    shards = sorted(filter(is_shard, path.iterdir()))
    first = next((r.content for shard in shards for r in tfrecords.read_all(shard) if not r.problem), b"")
    return (EpisodeFiles if b"episode_id" in first else SequenceFiles)(path, defaults)


@dataclasses.dataclass(frozen=True)
class _TaskFiles:
    path: Path
    defaults: Defaults = NO_DEFAULTS

    @property
    def name(self) -> str:
        """`rlu_TASK`."""
        return f"rlu_{self.path.name}"

    def _shards(self) -> list[Path]:
        """What is there, and what the names promise."""
        found = [_SHARD.fullmatch(p.name) for p in self.path.iterdir() if is_shard(p)]
        totals = {int(match["total"]) for match in found if match}
        return [self.path / f"train-{n:05d}-of-{total:05d}" for total in sorted(totals) for n in range(total)]

    def _episode(self, steps: Steps, source: str, repairs: str = "") -> Episode:
        """From steps aligned as ours; the last action stays what it is, and means nothing."""
        num_steps = len(steps["reward"])
        times = np.arange(num_steps)
        reward, discount = (steps[name][:, 0].copy() for name in ("reward", "discount"))
        reward[-1], discount[-1] = 0, discount[max(num_steps - 2, 0)]
        task = self.path.name
        metadata = EpisodeMetadata(
            content_id(steps), self.defaults.task_id or task, self.defaults.episode_type,
            robot=self.defaults.robot or task.partition("_")[0],
            control_rate_hz=self.defaults.control_rate_hz, source=source, repairs=repairs,
        )  # fmt: skip
        return Episode(
            metadata,
            {k.removeprefix("observation/"): v for k, v in steps.items() if k.startswith("observation/")},
            steps["action"], reward, discount,
            is_first=times == 0,
            is_last=times == num_steps - 1,
            is_terminal=(times == num_steps - 1) & (discount[-1] == 0),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EpisodeFiles(_TaskFiles):
    """A task's folder of whole episodes. See `datasets.readers.base.Log`."""

    def files(self) -> list[Path]:
        """The shards."""
        return self._shards()

    def count(self, file: Path) -> int:
        """Records, so far as that can be told without reading them."""
        return tfrecords.count(file)

    def read(self, file: Path) -> Iterator[Reading]:
        """Every episode of a shard."""
        return tfrecords.readings(file, self._of_record)

    def _of_record(self, content: bytes, where: str) -> Episode:
        steps = _parse(content, (*_FIELDS, *_ONCE), where)
        told = "; ".join(f"{name}={int(steps.pop(name)[0, 0])}" for name in _ONCE)
        return self._episode(_departures(steps), f"{where}; {told}")


def _departures(steps: Steps) -> Steps:
    """Rewards and discounts as ours: of the step that leaves o_t. What would follow the last one means nothing."""
    return steps | {name: np.concatenate([steps[name][1:], steps[name][-1:]]) for name in ("reward", "discount")}


@dataclasses.dataclass(frozen=True)
class SequenceFiles(_TaskFiles):
    """A task's folder of stretches. See `datasets.readers.base.Log`; the folder is read as one file."""

    def files(self) -> list[Path]:
        """The folder: the stretches of an episode lie in many shards."""
        return [self.path]

    def count(self, file: Path) -> int:
        """1: how many episodes there are shows when they are joined."""
        del file
        return 1

    def read(self, file: Path) -> Iterator[Reading]:
        """What cannot be read of the shards, then the episodes, in the order of their first stretches.

        Where a stretch is missing, or two would follow, an episode is cut, and `metadata.repairs` says so.
        """
        del file
        chains = _Chains()
        for shard in self._shards():
            for record in tfrecords.read_all(shard):
                where = f"{shard}#{record.number}"
                try:
                    if record.problem:
                        raise BadEpisodeError(record.problem)
                    chains.add(_parse(record.content, (*_FIELDS, "step_type"), where), where)
                except BadEpisodeError as error:
                    yield Reading(where, None, (str(error),), record.content)
        for number, (begin, steps) in enumerate(chains.join()):
            where = f"{begin}, episode {number}"
            first, *_, last = steps["step_type"][:, 0]
            cut = " and ".join(
                end for end, is_cut in (("beginning", first != _FIRST), ("end", last != _LAST)) if is_cut
            )
            repairs = f"Its {cut} is that of a stretch whose neighbour is not there, or not told apart." if cut else ""
            yield Reading(where, self._episode(steps, where, repairs))


class _Chains:
    """Steps of many stretches, each kept once, and which follows which."""

    def __init__(self) -> None:
        self._steps: dict[bytes, np.ndarray] = {}  # float32[all features], under their bytes
        self._after: dict[bytes, set[bytes]] = {}
        self._before: dict[bytes, set[bytes]] = {}
        self._where: dict[bytes, str] = {}
        self._widths: dict[str, int] = {}

    def add(self, steps: Steps, where: str) -> None:
        """A stretch. Raises BadEpisodeError if its features are not those of the others."""
        widths = {name: values.shape[1] for name, values in sorted(steps.items())}
        self._widths = self._widths or widths
        if widths != self._widths:
            raise BadEpisodeError(f"{where} has features {widths}, but those before it {self._widths}: leave it out")
        rows = np.concatenate([steps[name] for name in widths], 1)  # [L, all features]
        keys = [row.tobytes() for row in rows]
        for key, row in zip(keys, rows, strict=True):
            self._steps[key] = row
            self._where.setdefault(key, where)
        for one, other in itertools.pairwise(keys):
            self._after.setdefault(one, set()).add(other)
            self._before.setdefault(other, set()).add(one)

    def join(self) -> Iterator[tuple[str, Steps]]:
        """(where it begins, steps) of every chain. Every pair of steps is in one: if need be, alone."""
        following = {key: after for key in self._steps if (after := self._next(key))}
        led_to = set(following.values())
        for start in [*(key for key in self._steps if key not in led_to), *following]:  # the latter: what goes round
            chain = [start]
            while after := following.pop(chain[-1], None):
                chain.append(after)
            if len(chain) > 1:
                yield self._where[start], self._split(chain)
        for one, others in self._after.items():
            for other in sorted(others):
                if other != self._next(one):
                    yield self._where[one], self._split([one, other])

    def _next(self, key: bytes) -> bytes | None:
        """The only step that follows, if it follows this one only."""
        after = self._after.get(key, set())
        if len(after) != 1:
            return None
        (only,) = after
        return only if len(self._before[only]) == 1 else None

    def _split(self, chain: Sequence[bytes]) -> Steps:
        rows = np.stack([self._steps[key] for key in chain])
        columns = np.split(rows, np.cumsum(list(self._widths.values()))[:-1], 1)
        return dict(zip(self._widths, columns, strict=True))


def _parse(content: bytes, needed: Sequence[str], where: str) -> Steps:
    """A record's features. Raises BadEpisodeError if one is missing, or not as long as the others."""
    try:
        features: Mapping[str, tf.train.Feature] = tf.train.Example.FromString(content).features.feature
    except Exception as error:
        if type(error).__name__ != "DecodeError":  # protobuf's, whose class moves between its versions
            raise
        raise BadEpisodeError(f"{where} is no tf.Example: leave it out") from error
    lists = {name: feature.float_list.value or feature.int64_list.value for name, feature in features.items()}
    missing = [name for name in needed if not lists.get(name)]
    if not any(name.startswith("observation/") for name in lists):
        missing.append("observation/...")
    if missing:
        raise BadEpisodeError(f"{where} has no numbers of {missing[0]!r}: leave it out")
    length = len(lists["reward"])
    steps: Steps = {}
    for name, values in lists.items():
        rows = 1 if name in _ONCE else length
        if not len(values) or len(values) % rows:
            raise BadEpisodeError(f"{where} has {len(values)} numbers of {name!r} for {rows} steps: leave it out")
        steps[name] = np.asarray(values, np.float64 if name in _ONCE else np.float32).reshape(rows, -1)
    return steps

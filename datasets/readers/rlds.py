"""Any RLDS/TFDS folder on disk as episodes: other people's datasets, EnvLogger's logs, our own recordings.

Read from `features.json` and the TFRecord files alone, since other metadata files are the first to be damaged when a
recorder dies. Pictures stay the bytes they are.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from datasets import features, video
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError, StoreError
from datasets.readers import tfrecords
from datasets.readers.base import NO_DEFAULTS, Defaults, Reading, content_id, joined_action

# NAME-SPLIT.tfrecord-00000-of-00005; EnvLogger and our recorder, which append, leave out the total.
_SHARD = re.compile(r"(?P<name>.+)-(?P<split>[^-.]+)\.tfrecord-(?P<number>\d+)(-of-(?P<total>\d+))?")
_FLAGS = ("is_first", "is_last", "is_terminal")
_OURS = {"episode_id", "task_id", "episode_type", "policy_id", "repairs"}  # metadata that only our recordings have
_METADATA = {field.name: field.type for field in dataclasses.fields(EpisodeMetadata)}


@dataclasses.dataclass(frozen=True)
class RldsLog:
    """One RLDS/TFDS folder: the one that holds `features.json`. See `datasets.readers.base.Log`."""

    path: Path
    defaults: Defaults = NO_DEFAULTS
    split: str | None = None  # None: all of them

    @property
    def name(self) -> str:
        """TFDS name of the dataset, as its files spell it."""
        return next((m["name"] for m in self._shards().values()), self.path.parent.name)

    def _shards(self) -> dict[Path, re.Match[str]]:
        found = {path: _SHARD.fullmatch(path.name) for path in sorted(self.path.glob("*.tfrecord-*"))}
        return {path: m for path, m in found.items() if m and self.split in (None, m["split"])}

    def files(self) -> list[Path]:
        """The shards of all wanted splits."""
        promised = {
            self.path / f"{m['name']}-{m['split']}.tfrecord-{number:05d}-of-{m['total']}"
            for m in self._shards().values()
            if m["total"]
            for number in range(int(m["total"]))
        }
        return sorted(promised | self._shards().keys())

    def count(self, file: Path) -> int:
        """How many episodes a shard holds."""
        return tfrecords.count(file)

    def read(self, file: Path) -> Iterator[Reading]:
        """Every episode of a shard.

        Raises:
          StoreError: if features.json is damaged or does not describe RLDS.
        """
        layout = _layout(self.path)

        def read(content: bytes, where: str) -> Episode:
            return to_episode(features.parse(content, layout), layout, where, self.defaults)

        yield from tfrecords.readings(file, read)


@functools.lru_cache(maxsize=16)
def _layout(path: Path) -> tfds.features.FeaturesDict:
    try:
        layout = tfds.features.FeatureConnector.from_config(os.fspath(path))
    except Exception as error:  # whatever TFDS meets in a damaged file
        raise StoreError(f"{path}/features.json cannot be read ({error}): restore it from a copy") from error
    examples = dict(layout.items()) if isinstance(layout, tfds.features.FeaturesDict) else {}
    if not isinstance(examples.get("steps"), tfds.features.Dataset):
        raise StoreError(f"{path} is a TFDS dataset without RLDS steps: give one whose examples are episodes")
    return layout


def to_episode(
    parsed: Mapping[str, Any], layout: tfds.features.FeaturesDict, where: str, defaults: Defaults = NO_DEFAULTS
) -> Episode:
    """An episode from one parsed record.

    What RLDS allows to be absent or otherwise is brought to our form, and `metadata.repairs` names it: numbers of
    another precision, an action in several parts, raw pixels, absent rewards, discounts and flags.

    Args:
      parsed: from `features.parse`.
      layout: the features that it was parsed with.
      where: the record, for messages and provenance.
      defaults: for what the record does not say.

    Raises:
      BadEpisodeError: if it has no steps, no observation, or no action that is made of numbers.
    """
    connectors = features.flatten(_nested(layout["steps"].feature))
    repairs: list[str] = []
    steps = {k: _array(k, v, connectors[k], repairs) for k, v in parsed["steps"].items()}
    said = {k: v.decode() if isinstance(v, bytes) else v for k, v in parsed["episode_metadata"].items()}
    episode = from_steps(steps, said, where, defaults, repairs)
    if _is_ours(said):
        return episode
    # Some datasets say once per episode which cameras it has (`has_image_0`).
    flags = {k: np.full(episode.num_steps, v) for k, v in said.items() if isinstance(v, bool | np.bool_)}
    return dataclasses.replace(episode, extras={**episode.extras, **flags})


def from_steps(
    steps: Mapping[str, np.ndarray], said: Mapping[str, Any], where: str, defaults: Defaults, repairs: list[str]
) -> Episode:
    """An episode from RLDS steps in memory.

    Args:
      steps: flat name -> [T, ...] of numbers, picture bytes or text.
      said: metadata of the episode.
      where: the record, for messages and provenance.
      defaults: for what the record does not say.
      repairs: what is otherwise than in the log already, a sentence each.

    Raises:
      BadEpisodeError: as `to_episode`.
    """
    if not steps or not len(next(iter(steps.values()))):
        raise BadEpisodeError(f"{where} is an episode without steps: leave it out")
    num_steps = len(next(iter(steps.values())))
    metadata = _our_metadata(said) if _is_ours(said) else _foreign_metadata(said, content_id(steps), where, defaults)

    observation = {k.removeprefix("observation/"): v for k, v in steps.items() if k.partition("/")[0] == "observation"}
    if not observation:
        raise BadEpisodeError(f"{where} has no observation among {', '.join(steps)}: give RLDS episodes")
    action = joined_action({k: v for k, v in sorted(steps.items()) if k.partition("/")[0] == "action"}, where, repairs)
    absent = [k for k in ("reward", "discount", *_FLAGS) if k not in steps]
    if absent:
        repairs.append(f"{', '.join(absent)} were absent and are now what an unrewarded, unfinished episode has.")
    fixed = {
        "reward": np.asarray(steps.get("reward", np.zeros(num_steps)), np.float32),
        "discount": np.asarray(steps.get("discount", np.ones(num_steps)), np.float32),
        "is_first": np.asarray(steps.get("is_first", np.arange(num_steps) == 0), bool),
        "is_last": np.asarray(steps.get("is_last", np.arange(num_steps) == num_steps - 1), bool),
        "is_terminal": np.asarray(steps.get("is_terminal", np.zeros(num_steps)), bool),
    }
    extras = {k: v for k, v in steps.items() if k not in fixed and k.partition("/")[0] not in ("observation", "action")}
    noted = " ".join(filter(None, [metadata.repairs, *repairs]))
    return Episode(dataclasses.replace(metadata, repairs=noted), observation, action, **fixed, extras=extras)


def _is_ours(said: Mapping[str, Any]) -> bool:
    return said.keys() >= _OURS


def _nested(layout: tfds.features.FeaturesDict) -> dict[str, Any]:
    return {k: _nested(v) if isinstance(v, tfds.features.FeaturesDict) else v for k, v in layout.items()}


def _array(name: str, raw: Any, connector: tfds.features.FeatureConnector, repairs: list[str]) -> np.ndarray:
    """A step field as the episode keeps it: numbers [T, ...], object[T] of picture bytes, or object[T] of text."""
    if not isinstance(raw, np.ndarray):
        raise BadEpisodeError(f"the step field {name} varies in shape: only fields of one shape can be kept")
    if isinstance(connector, tfds.features.Image) and connector.np_dtype == np.uint8:
        return raw
    if connector.np_dtype in (object, str, bytes):
        return _text(name, raw)
    if raw.dtype == object:  # compressed numbers, or depth in a PNG
        return np.stack([connector.decode_example_np(x) for x in raw])
    if raw.dtype == np.uint8 and raw.ndim == 4 and raw.shape[-1] in (1, 3):
        repairs.append(f"{name} was raw pixels and is now JPEG.")
        return video.encode_jpeg(raw)
    return raw


def _text(name: str, raw: np.ndarray) -> np.ndarray:
    if raw.ndim != 1:
        raise BadEpisodeError(f"the step field {name} holds several texts a step: only one can be kept")
    try:
        return np.array([x.decode() for x in raw], object)
    except UnicodeDecodeError as error:
        raise BadEpisodeError(f"the step field {name} is declared as text but is not UTF-8 ({error})") from error


def _our_metadata(said: Mapping[str, Any]) -> EpisodeMetadata:
    """Fields that a newer version added keep their defaults."""
    return EpisodeMetadata(**{k: _METADATA[k](v) for k, v in said.items() if k in _METADATA})  # type: ignore[operator]


def _foreign_metadata(said: Mapping[str, Any], episode_id: str, where: str, defaults: Defaults) -> EpisodeMetadata:
    notes = [f"{k}={v}" for k, v in sorted(said.items()) if np.ndim(v) == 0]
    return EpisodeMetadata(
        episode_id,
        task_id=defaults.task_id,
        robot=defaults.robot,
        episode_type=defaults.episode_type,
        control_rate_hz=defaults.control_rate_hz,
        source="; ".join([where, *notes]),
    )

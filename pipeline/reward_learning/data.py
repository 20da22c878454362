"""The frames of episodes in memory, as a reward model looks at them: each once, decoded, and of the model's size."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from datasets import presets, video
from datasets.catalogue import EpisodeRow
from datasets.console import track
from datasets.episode import Episode
from datasets.errors import SpecMismatchError
from datasets.features import ArraySpec
from datasets.store import Store
from pipeline.networks import resize
from pipeline.reward_learning.config import RewardConfig


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """F frames of some episodes, one episode after the other."""

    inputs: Mapping[str, ArraySpec]  # what the model is to look at, as it is logged
    observation: Mapping[str, np.ndarray]  # name -> [F, ...]; pictures uint8[F, H, W, C], of the model's size
    episodes: Mapping[str, range]  # episode id -> its frames, the first to the last

    def of(self, episode_ids: Iterable[str]) -> np.ndarray:
        """int32[N]: the frames of some episodes, in their order."""
        return np.concatenate([np.zeros(0, np.int32), *(np.array(self.episodes[i], np.int32) for i in episode_ids)])


def load_frames(store: Store, rows: Sequence[EpisodeRow], config: RewardConfig) -> Frames:
    """Reads episodes into memory.

    Raises:
      SpecMismatchError: as `model_inputs`.
    """
    inputs = model_inputs(store, rows, config)
    episodes: dict[str, range] = {}
    parts = []
    count = 0
    for episode in track(store.read_many(rows), "loading episodes", len(rows)):
        episodes[episode.metadata.episode_id] = range(count, count + episode.num_steps)
        count += episode.num_steps
        parts.append(observations(episode, inputs, config.image_size))
    return Frames(inputs, {name: np.concatenate([part[name] for part in parts]) for name in inputs}, episodes)


def model_inputs(store: Store, rows: Sequence[EpisodeRow], config: RewardConfig) -> dict[str, ArraySpec]:
    """Names, shapes and dtypes of the observations that `config` asks for, the same in all episodes.

    Raises:
      SpecMismatchError: if a camera or what is to be left out is missing, nothing is left, or the episodes differ.
    """
    chosen: dict[str, ArraySpec] | None = None
    for dataset in sorted({row.dataset for row in rows}):
        specs = store.spec(dataset).observation
        cameras = {name for name, spec in specs.items() if spec.is_image}
        if missing := set(config.cameras) - cameras:
            raise SpecMismatchError(
                f"dataset {dataset!r} has no camera {', '.join(sorted(missing))}: "
                f"choose from {', '.join(sorted(cameras)) or 'none (train on states instead)'}"
            )
        dropped = cameras - set(config.cameras or cameras)
        names = [n for n in presets.select(specs, config.observations, config.without) if n not in dropped]
        found = {name: specs[name] for name in names}
        if not found:
            raise SpecMismatchError(f"dataset {dataset!r} has no {config.observations} observations: choose others")
        if chosen is not None and chosen != found:
            differ = sorted(n for n in chosen | found if chosen.get(n) != found.get(n))
            raise SpecMismatchError(
                f"dataset {dataset!r} differs from the other selected ones in {', '.join(differ)}: "
                "train on one kind of data at a time, or name the cameras that all have"
            )
        chosen = found
    return chosen or {}


def observations(
    episode: Episode, inputs: Mapping[str, ArraySpec], image_size: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """A model's inputs of every frame of an episode, `{name: [T, ...]}`.

    Args:
      episode: that has at least these observations.
      inputs: which ones.
      image_size: (H, W) to resize pictures to; None: as they are.

    Raises:
      SpecMismatchError: if the episode lacks one or has it in another shape.
    """
    arrays = {}
    for name, spec in inputs.items():
        if name not in episode.observation:
            raise SpecMismatchError(
                f"episode {episode.metadata.episode_id} has no {name}, which the reward model looks at: "
                "choose other episodes or another model"
            )
        array = episode.observation[name]
        if spec.is_image:
            array = video.decode_frames(array)  # [T, H, W, C]
        if array.shape[1:] != tuple(spec.shape):
            raise SpecMismatchError(
                f"{name} of episode {episode.metadata.episode_id} has the shape {array.shape[1:]}, not {spec.shape} as "
                "the reward model expects: choose other episodes or another model"
            )
        arrays[name] = resize(array, image_size).numpy() if spec.is_image and image_size else array
    return arrays

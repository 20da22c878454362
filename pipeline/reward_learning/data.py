"""From sketched episodes in a store to batches of frame pairs.

Every frame is held in memory once, decoded. Which pairs make up the batch of step s depends on (seed, s) alone, so a
training that resumes at step s goes on exactly as if it had never stopped.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from datasets import presets, video
from datasets.catalogue import EpisodeRow
from datasets.console import track
from datasets.episode import Episode
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.features import ArraySpec
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from pipeline.reward_learning.config import RewardConfig


@dataclasses.dataclass(frozen=True, eq=False)
class SketchedFrames:
    """F frames of E episodes, and S sketches over them (several people may sketch one episode)."""

    inputs: Mapping[str, ArraySpec]  # what the model is to look at, as it is logged
    observation: Mapping[str, np.ndarray]  # name -> [F, ...]; pictures uint8[F, H, W, C], of the model's size
    sketches: Sequence[RewardSequence]
    first_frame: np.ndarray  # int64[S]: where the episode of each sketch begins

    @property
    def episode_ids(self) -> tuple[str, ...]:
        """The episodes, sorted."""
        return tuple(sorted({sketch.episode_id for sketch in self.sketches}))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any sketch."""
        digest = hashlib.sha256()
        for sketch in self.sketches:
            digest.update(f"{sketch.episode_id}/{sketch.sequence_id}".encode() + sketch.values.tobytes())
        return digest.hexdigest()[:16]


def load_sketched(store: Store, task_id: str, config: RewardConfig) -> SketchedFrames:
    """Reads the episodes of the training split that have sketches for a task.

    The split is the store's own, by episode: no frame of a test episode is ever seen in training.

    Raises:
      ArmchairError: if there are no sketches for the task in the training split.
      SpecMismatchError: if a camera is missing, or the episodes differ in their observations.
    """
    rows = {row.episode_id: row for row in store.query(Query(has_sketch=task_id, split="train"))}
    sketches = [s for s in store.sketches(task_id, sorted(rows)) if s.episode_id in rows]
    if not sketches:
        raise ArmchairError(
            f"{store.root} has no sketches for the task {task_id!r} in its training split: "
            "draw some, or `armchair sketch import` or `simulate` them"
        )
    inputs = model_inputs(store, list(rows.values()), config)
    starts: dict[str, int] = {}
    parts = []
    count = 0
    for episode in track(store.read_many(rows.values()), "loading sketched episodes", len(rows)):
        starts[episode.metadata.episode_id] = count
        count += episode.num_steps
        parts.append(observations(episode, inputs, config.image_size))
    return SketchedFrames(
        inputs,
        {name: np.concatenate([part[name] for part in parts]) for name in inputs},
        sketches,
        np.array([starts[s.episode_id] for s in sketches]),
    )


def model_inputs(store: Store, rows: Sequence[EpisodeRow], config: RewardConfig) -> dict[str, ArraySpec]:
    """Names, shapes and dtypes of the observations that `config` asks for, the same in all episodes.

    Raises:
      SpecMismatchError: if a camera is missing, nothing is left to look at, or the episodes differ.
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
        names = [name for name in presets.select(specs, config.observations) if name not in dropped]
        found = {name: specs[name] for name in names}
        if not found:
            raise SpecMismatchError(f"dataset {dataset!r} has no {config.observations} observations: choose others")
        if chosen is not None and chosen != found:
            differ = sorted(n for n in chosen | found if chosen.get(n) != found.get(n))
            raise SpecMismatchError(
                f"dataset {dataset!r} differs from the other sketched ones in {', '.join(differ)}: "
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


def resize(pictures: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """uint8[B, H, W, C] to uint8[B, *size, C], averaging over areas; as they are if the size is right already."""
    if tuple(pictures.shape[1:3]) == tuple(size):
        return tf.convert_to_tensor(pictures)
    return tf.cast(tf.round(tf.image.resize(pictures, size, tf.image.ResizeMethod.AREA)), tf.uint8)


class PairSampler:
    """Draws pairs of frames: a sketch uniformly, then uniformly one of its ordered pairs with a large enough gap.

    A sketch without such a pair (an episode in which nothing happens) gives any two of its frames: its ranking loss
    is zero, but its frames teach what failure or success looks like.
    """

    def __init__(self, sketches: Sequence[np.ndarray], first_frame: np.ndarray, gap: float):
        """Counts the pairs.

        Args:
          sketches: S arrays float32[T_s].
          first_frame: int64[S], index of each one's first frame among all frames.
          gap: mu_s; a pair (t, q) has s(t) - s(q) > gap.
        """
        self._lengths = np.array([len(s) for s in sketches])
        self._first_frame = np.asarray(first_frame)
        self._starts = np.append(0, np.cumsum(self._lengths))[:-1]  # [S]
        self._values = np.concatenate(sketches)  # [N]: all sketched frames, one sketch after the other
        # Sorted by value, the frames that pair with frame t as the worse one are the first `worse[t]` of its sketch.
        self._order = np.concatenate([np.argsort(s, kind="stable") for s in sketches])  # [N]
        worse = np.concatenate([(s[:, None] - s[None] > gap).sum(1) for s in sketches])  # [N]
        self._cumulative = np.append(0, np.cumsum(worse))  # [N + 1]
        ends = self._starts + self._lengths
        self._pairs = self._cumulative[ends] - self._cumulative[self._starts]  # [S]

    @property
    def num_pairs(self) -> int:
        """How many ordered pairs have a large enough gap."""
        return int(self._cumulative[-1])

    def sample(self, batch: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of one step.

        Returns:
          Frames int32[batch, 2], first the better one of each pair, and their sketched values float32[batch, 2].
        """
        rng = np.random.default_rng([seed, step])
        sketch = rng.integers(len(self._lengths), size=batch)
        start, length, pairs = self._starts[sketch], self._lengths[sketch], self._pairs[sketch]
        chosen = start[:, None] + (rng.random((batch, 2)) * length[:, None]).astype(np.int64)  # [batch, 2], any frames

        paired = pairs > 0
        start, pairs = start[paired], pairs[paired]
        pair = self._cumulative[start] + (rng.random(len(pairs)) * pairs).astype(np.int64)  # which of all pairs
        better = np.searchsorted(self._cumulative, pair, side="right") - 1
        worse = start + self._order[start + pair - self._cumulative[better]]
        chosen[paired] = np.stack([better, worse], axis=1)

        frames = chosen + (self._first_frame - self._starts)[sketch][:, None]
        return frames.astype(np.int32), self._values[chosen]

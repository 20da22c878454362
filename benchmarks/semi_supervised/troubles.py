"""Supervision that is not as it should be."""

import dataclasses
import itertools

import numpy as np

from benchmarks.semi_supervised import logs
from benchmarks.semi_supervised.cells import Cell, Trouble
from datasets import video
from datasets.catalogue import EpisodeRow
from datasets.query import Query, split_of
from datasets.rewards import RewardSequence
from datasets.store import Store

_SHARE = 0.1  # of frames or demonstrations that are wrong
_LATE = 3  # frames
_PATCH = (8, 8)  # pixels, of 64x64, in the upper left corner
_COLOUR = (220, 40, 200)  # which nothing else in the cell has
_PAINTED = "painted"  # the dataset of demonstrations with the patch


@dataclasses.dataclass(frozen=True)
class Shown:
    """The demonstrations, and which recorded episodes they stand for."""

    rows: list[EpisodeRow]
    replaced: frozenset[str]  # ids: the same episodes without the distractor, of which nothing shall be known


def spoiled(sketch: RewardSequence, cell: Cell) -> RewardSequence:
    """A sketch as the cell's annotator would have drawn it."""
    values = sketch.values
    if cell.trouble is Trouble.FLIPPED:
        rng = np.random.default_rng([cell.seed, *sketch.episode_id.encode()])
        values = np.where(rng.random(len(values)) < _SHARE, 1 - values, values)
    elif cell.trouble is Trouble.LAGGING:
        values = values[np.maximum(np.arange(len(values)) - _LATE, 0)]
    return dataclasses.replace(sketch, values=values)


def demonstrations(store: Store, cell: Cell) -> Shown:
    """The cell's demonstrations; those with a distractor are new episodes of the store."""
    rows = logs.demonstrations(store, cell.task, cell.teaching)
    if cell.trouble is Trouble.WRONG:
        count = round(_SHARE * len(rows))
        failed = store.query(Query(task_id=cell.task, verdict="failure", split="train"))
        poor = sorted((row for row in failed if row.policy_id.startswith("expert")), key=lambda row: row.seed)
        return Shown([*rows[count:], *poor[:count]], frozenset())
    if cell.trouble is Trouble.DISTRACTOR:
        ids = [_paint(store, row) for row in rows]
        store.publish()
        return Shown(store.query(Query(ids=tuple(ids))), frozenset(row.episode_id for row in rows))
    return Shown(rows, frozenset())


def _paint(store: Store, row: EpisodeRow) -> str:
    """Adds the episode with a patch in every picture, in the training split too; returns its id."""
    episode = store.read(row)
    observation = dict(episode.observation)
    for camera in episode.image_keys:
        frames = video.decode_frames(observation[camera]).copy()  # [T, H, W, 3]
        frames[:, : _PATCH[0], : _PATCH[1]] = _COLOUR
        observation[camera] = video.encode_jpeg(frames)
    names = (f"{row.episode_id}-{n}" for n in itertools.count())
    name = next(name for name in names if split_of(name) == "train")
    metadata = dataclasses.replace(episode.metadata, episode_id=name)
    store.add(dataclasses.replace(episode, metadata=metadata, observation=observation), _PAINTED)
    return name

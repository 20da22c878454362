"""Side shards: a reward model's predictions for many episodes in one small Parquet file.

Pixels are not copied when history is annotated: four bytes a frame are written, beside the episodes.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets import files
from datasets.errors import StoreError
from datasets.schema import transition_rewards

SCHEMA = pa.schema(
    [
        ("episode_id", pa.string()),
        ("task_id", pa.string()),
        ("model_id", pa.string()),
        ("model_hash", pa.string()),
        ("values", pa.list_(pa.float32())),  # one a frame
    ]
)


def write_predictions(
    path: Path, model_id: str, model_hash: str, task_id: str, values: Mapping[str, np.ndarray]
) -> None:
    """Writes a side shard, whole or not at all. The same arguments give the same bytes.

    Args:
      path: from `Store.prediction_path`.
      model_id: the reward model.
      model_hash: of its weights.
      task_id: the task that it rates.
      values: episode id -> float32[T].
    """
    ids = sorted(values)
    same = {"task_id": task_id, "model_id": model_id, "model_hash": model_hash}
    rows = [{"episode_id": i, **same, "values": np.asarray(values[i], np.float32)} for i in ids]
    with files.staged_file(path) as staged:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), staged, compression="zstd")


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Episode id -> float32[T] of one side shard. Raises StoreError if it is absent or damaged."""
    table = _read(path)
    values = table["values"].combine_chunks()
    flat = values.values.to_numpy()  # the numbers of all episodes, end to end
    ends = values.offsets.to_numpy()
    return {i: flat[a:b] for i, a, b in zip(table["episode_id"].to_pylist(), ends[:-1], ends[1:], strict=True)}


def summary(values: np.ndarray) -> dict[str, float | None]:
    """What the index keeps of a prediction, to choose episodes by.

    Args:
      values: float32[T], one a frame.

    Returns:
      `Return`: the sum of the rewards of the episode's T - 1 transitions, not discounted, as a training on them would
      get; `Final`: the value of the last frame, how far the task has got in the end. None for what is no number.
    """
    numbers = {"Return": float(transition_rewards(values).sum(dtype=float)), "Final": float(values[-1])}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def read_origin(path: Path) -> tuple[str, str, str]:
    """(model_id, model_hash, task_id) of a side shard. Raises StoreError if it is damaged, empty or mixed."""
    table = _read(path)
    origins = set(zip(*(table[k].to_pylist() for k in ("model_id", "model_hash", "task_id")), strict=True))
    if len(origins) != 1:
        raise StoreError(f"{path} comes from {len(origins)} models instead of one: annotate again")
    return origins.pop()


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(os.fspath(path))
    except FileNotFoundError as error:
        raise StoreError(f"{path} is not there: annotate again with the same model") from error
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is no readable Parquet file ({error}): delete it and annotate again") from error
    if not table.schema.equals(SCHEMA):
        raise StoreError(f"{path} does not have the columns of a side shard: delete it and annotate again")
    return table

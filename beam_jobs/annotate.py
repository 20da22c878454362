"""Rates every frame of history with a reward model.

```
python -m beam_jobs.annotate --store runs/store --model runs/reward --query "task_id=lift_green"
```
Writes reward sequences, four bytes a frame, into side shards beside the episodes, which are never touched. Episodes
that this model has rated already are left alone; each side shard appears whole or not at all, and does not depend on
what ran before or beside it. So the job can be interrupted, continued and repeated at will.
"""

import atexit
import collections
import dataclasses
import functools
import gc
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from beam_jobs import journal
from beam_jobs.config import AnnotateConfig
from beam_jobs.options import beam_options, run_as_script
from datasets import video
from datasets.console import print_facts
from datasets.episode import Episode
from datasets.errors import ArmchairError, BadEpisodeError, SpecMismatchError
from datasets.features import ArraySpec
from datasets.predictions import write_predictions
from datasets.store import EpisodeRow, Store
from pipeline import export, threads

T = TypeVar("T")
R = TypeVar("R")

_BLOCK = 16  # episodes of neighbouring shards whose predictions share a file: some 800 frames, a second of work
_AHEAD = 2  # episodes that are read and decoded while the model works
_RATED, _BAD = "rated", "bad"


@dataclasses.dataclass(frozen=True)
class Block:
    """Episodes that are rated together, and the name of the side shard that holds the result."""

    name: str
    rows: tuple[EpisodeRow, ...]


@dataclasses.dataclass(frozen=True)
class Rated:
    """What the model says of a block."""

    block: Block
    values: Mapping[str, np.ndarray]  # episode id -> float32[T]
    problems: Mapping[str, str]  # episode id -> why it cannot be rated


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of the selected episodes."""

    rated: int
    frames: int
    already: int  # rated by this model before
    problems: tuple[tuple[str, str], ...]  # (episode id, what is wrong with it)

    def print(self) -> None:
        """A table on standard output."""
        facts = [
            ("rated", f"{self.rated:,} episodes, {self.frames:,} frames"),
            ("rated before", f"{self.already:,} episodes"),
            ("bad", f"{len(self.problems):,} episodes"),
        ]
        print_facts(facts + [("", f"{episode_id}: {what}") for episode_id, what in self.problems])


def annotate(config: AnnotateConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: which model, over which episodes.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: if store or model cannot be used at all, the query selects nothing, or the model needs what some
        selected episodes do not have. Single bad episodes do not raise: see the summary.
    """
    config = dataclasses.replace(config, store=config.store.absolute(), model=config.model.absolute())
    card = export.load_card(config.model, "reward_model")
    store = Store.open(config.store)
    rows = store.query(store.parse(config.query), require=True)
    _check_inputs(card, store, {row.dataset for row in rows})
    store.register_model(card)
    done = store.predicted_ids(card["model_id"])
    todo = [row for row in rows if row.episode_id not in done]
    with journal.Journal(store.root) as notes:
        if todo:
            options = options or beam_options()
            frames = sum(row.num_steps for row in todo)
            handler = RewardModelHandler(config, export.card_inputs(card), notes.directory)
            with notes.progress("annotate", frames, options), beam.Pipeline(options=options) as pipeline:
                # No grouping after this: a finished block is on disk, whatever happens to the others.
                _ = (
                    pipeline
                    | "blocks" >> beam.Create(_blocks(todo), reshuffle=True)
                    | "rate" >> RunInference(handler)
                    | "write" >> beam.ParDo(_Write(store.root, card, notes.directory))
                )
        rated = [entry for entry in notes.entries.values() if entry["outcome"] == _RATED]
        bad = [entry for entry in notes.entries.values() if entry["outcome"] == _BAD]
    return Summary(
        rated=len(rated),
        frames=sum(entry["weight"] for entry in rated),
        already=len(rows) - len(todo),
        problems=tuple(sorted((entry["item"], entry["problem"]) for entry in bad)),
    )


def _check_inputs(card: Mapping[str, Any], store: Store, datasets: Iterable[str]) -> None:
    """Raises SpecMismatchError, before anything runs, unless every dataset has what the model looks at."""
    for name, wanted in export.card_inputs(card).items():
        lacking = [d for d in sorted(datasets) if not _serves(store.spec(d).observation.get(name), wanted)]
        if lacking:
            has = store.spec(lacking[0]).observation.get(name)
            raise SpecMismatchError(
                f"model {card['model_id']} looks at {name} ({_describe(wanted)}), for which dataset {lacking[0]} has "
                f"{_describe(has) if has else 'nothing'}: select other datasets than {', '.join(lacking)}, or train a "
                "model on what they have"
            )


def _serves(has: ArraySpec | None, wanted: ArraySpec) -> bool:
    if has is None or has.is_image != wanted.is_image or has.dtype == "str":
        return False
    return has.shape == wanted.shape


def _describe(spec: ArraySpec) -> str:
    return f"{spec.dtype}{list(spec.shape)}"


def _blocks(rows: Sequence[EpisodeRow]) -> list[Block]:
    """Groups rows, which come by (dataset, shard), by neighbourhood: the same rows always make the same blocks."""
    blocks = []
    for (dataset, number), members in itertools.groupby(rows, lambda row: (row.dataset, row.shard // _BLOCK)):
        block = tuple(members)
        digest = hashlib.sha256("\n".join(row.episode_id for row in block).encode()).hexdigest()[:8]
        blocks.append(Block(f"{dataset}-{number:05d}-{digest}", block))
    return blocks


class RewardModelHandler(ModelHandler[Block, Rated, Any]):
    """Runs a reward model's SavedModel over the frames of a block. A worker loads it once."""

    def __init__(self, config: AnnotateConfig, inputs: Mapping[str, ArraySpec], notes: Path):
        super().__init__(min_batch_size=1, max_batch_size=1)  # a block is many batches already
        self._config, self._inputs, self._notes = config, inputs, notes

    def load_model(self) -> Any:
        """The restored module."""
        return export.load_model(self._config.model, "reward_model")[0]

    def run_inference(
        self, batch: Sequence[Block], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Rated]:
        """Rates blocks, streaming their episodes: what is in memory at once does not grow with their number."""
        del inference_args
        with journal.Writer(self._notes).tells_fatal():
            for block in batch:
                yield self._rate(block, model)

    def _rate(self, block: Block, model: Any) -> Rated:
        read = functools.partial(_read_inputs, _store(self._config.store), self._inputs)
        rater = Rater(model.predict, self._inputs, self._config.batch_size)
        problems = {}
        for row, episode in _read_ahead(read, block.rows):
            try:
                rater.add(row.episode_id, episode.result())
            except BadEpisodeError as error:
                problems[row.episode_id] = str(error)
        return Rated(block, rater.finish(), problems)


@functools.lru_cache(maxsize=1)
def _store(root: Path) -> Store:
    return Store.open(root)


def _read_inputs(store: Store, inputs: Mapping[str, ArraySpec], row: EpisodeRow) -> dict[str, np.ndarray]:
    """What the model looks at: name -> [T, ...]. Raises BadEpisodeError."""
    episode = store.read(row)
    if episode.num_steps != row.num_steps:
        raise BadEpisodeError(
            f"{row.path} has {episode.num_steps} steps, not {row.num_steps} as indexed: verify the store"
        )
    return {name: _frames(episode, name, spec) for name, spec in inputs.items()}


def _frames(episode: Episode, name: str, spec: ArraySpec) -> np.ndarray:
    stored = episode.observation[name]
    frames = video.decode_frames(stored) if spec.is_image else stored.astype(spec.dtype)  # [T, ...]
    if frames.shape[1:] != spec.shape:
        raise BadEpisodeError(f"{name} has shape {frames.shape[1:]} where its dataset says {spec.shape}: restore it")
    return frames


def _read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, "Future[R]"]]:
    """Reads items in their order in one other thread, a few ahead of whoever takes them."""
    waiting: collections.deque[tuple[T, Future[R]]] = collections.deque()
    with ThreadPoolExecutor(max_workers=1) as thread:
        for item in items:
            waiting.append((item, thread.submit(read, item)))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


class Rater:
    """Cuts the frames of many episodes into batches of one size, and the predictions into episodes again.

    Every batch has the same size, the last one being padded, because a matrix product of another size may round
    otherwise: so a prediction depends on the block alone, never on what was rated before.
    """

    def __init__(self, predict: Callable[..., Any], inputs: Mapping[str, ArraySpec], batch_size: int):
        self._predict = predict
        self._batch = {k: np.zeros((batch_size, *v.shape), v.dtype) for k, v in inputs.items()}  # [B, ...]
        self._batch_size = batch_size
        self._filled = 0
        self._lengths: dict[str, int] = {}
        self._values: list[np.ndarray] = []

    def add(self, episode_id: str, frames: Mapping[str, np.ndarray]) -> None:
        """Takes the frames of one episode, name -> [T, ...]."""
        length = len(next(iter(frames.values())))
        self._lengths[episode_id] = length
        start = 0
        while start < length:
            count = min(length - start, self._batch_size - self._filled)
            for name, buffer in self._batch.items():
                buffer[self._filled : self._filled + count] = frames[name][start : start + count]
            self._filled += count
            start += count
            if self._filled == self._batch_size:
                self._flush()

    def finish(self) -> dict[str, np.ndarray]:
        """Episode id -> float32[T].

        Raises:
          ArmchairError: if the model gave something else than numbers in [0, 1].
        """
        if self._filled:
            for buffer in self._batch.values():
                buffer[self._filled :] = 0
            self._flush()
        values = np.concatenate([*self._values, np.zeros(0, np.float32)])
        ends = np.cumsum([*self._lengths.values()], dtype=int)
        rated = dict(zip(self._lengths, np.split(values, ends)[: len(ends)], strict=True))
        for episode_id, curve in rated.items():
            if not ((curve >= 0) & (curve <= 1)).all():  # NaN too
                raise ArmchairError(f"the model gives {curve.min()} to {curve.max()} for {episode_id}: train it again")
        return rated

    def _flush(self) -> None:
        self._values.append(self._predict(self._batch).numpy())
        self._filled = 0


class _Write(beam.DoFn):
    """Rated -> nothing; side shards are the output."""

    def __init__(self, store: Path, card: Mapping[str, Any], notes: Path):
        self._root, self._notes = store, notes
        self._origin = (card["model_id"], card["model_hash"], card["task_id"])

    def setup(self) -> None:
        self._writer = journal.Writer(self._notes)

    def process(self, rated: Rated) -> None:
        store = _store(self._root)
        with self._writer.tells_fatal():
            if rated.values:
                path = store.prediction_path(self._origin[0], rated.block.name)
                write_predictions(path, *self._origin, rated.values)
                store.add_predictions(*self._origin, path)
        for row in rated.block.rows:
            if problem := rated.problems.get(row.episode_id):
                self._writer.write(row.episode_id, _BAD, row.num_steps, problem=problem)
            else:
                self._writer.write(row.episode_id, _RATED, row.num_steps)


@atexit.register
def _let_go_of_models() -> None:
    """TensorFlow complains, with a traceback, of functions that outlive its modules."""
    Shared().acquire(set)  # Beam keeps the last model alive until another thing is shared
    gc.collect()


def main(config: AnnotateConfig, options: PipelineOptions) -> None:
    """Runs the job, and prints what became of the episodes.

    Raises:
      ArmchairError: as `annotate`, and at the end if episodes could not be rated.
    """
    threads.for_pictures()  # of this process; workers elsewhere keep what their environment says
    summary = annotate(config, options)
    summary.print()
    if summary.problems:
        raise ArmchairError(
            f"{len(summary.problems)} episodes could not be rated, all others were: run `armchair store verify --store "
            f"{config.store}`"
        )


if __name__ == "__main__":
    run_as_script("annotate", AnnotateConfig)

"""Rates every frame of history with reward models.

```
python -m beam_jobs.annotate --store runs/store --model runs/reward --query "task_id=lift_green"
```
Writes reward sequences, four bytes a frame, into side shards beside the episodes, which are never touched. Episodes
that a model has rated already are left alone; each side shard appears whole or not at all, and does not depend on
what ran before or beside it. So the job can be interrupted, continued and repeated at will.
"""

import atexit
import collections
import dataclasses
import functools
import gc
import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from datasets.errors import ArmchairError, BadEpisodeError, SpecMismatchError, blamed_on
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
    """Episodes that are rated together, and the name of the side shards that hold the result."""

    name: str
    rows: tuple[EpisodeRow, ...]
    models: tuple[str, ...]  # ids of those that rate it


@dataclasses.dataclass(frozen=True)
class Rated:
    """What the models say of a block."""

    block: Block
    values: Mapping[str, Mapping[str, np.ndarray]]  # model id -> episode id -> float32[T]
    problems: Mapping[str, str]  # episode id -> why it cannot be read
    nonsense: Mapping[str, Mapping[str, str]]  # episode id -> model id -> what that says of it instead


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of the selected episodes."""

    rated: int
    frames: int
    already: int  # rated by all the models before
    models: int
    problems: tuple[tuple[str, str], ...]  # (episode id, what is wrong with it)

    def print(self) -> None:
        """A table on standard output."""
        facts = [
            ("rated", f"{self.rated:,} episodes, {self.frames:,} frames, by {self.models} models"),
            ("rated before", f"{self.already:,} episodes"),
            ("bad", f"{len(self.problems):,} episodes"),
        ]
        print_facts(facts + [("", f"{episode_id}: {what}") for episode_id, what in self.problems])


def annotate(config: AnnotateConfig, options: PipelineOptions | None = None) -> Summary:
    """Runs the job.

    Args:
      config: which models, over which episodes.
      options: Beam's; by default FnApiRunner in this process.

    Raises:
      ArmchairError: if store or models cannot be used at all, the query selects nothing, a model needs what some
        selected episodes do not have, or one can rate none of them. Single bad episodes do not raise: see the summary.
    """
    folders = tuple(folder.absolute() for folder in config.model)
    config = dataclasses.replace(config, store=config.store.absolute(), model=folders)
    cards = _cards(folders)
    store = Store.open(config.store)
    rows = store.query(store.parse(config.query), require=True)
    for card in cards.values():
        _check_inputs(card, store, {row.dataset for row in rows})
    for card in cards.values():
        store.register_model(card)
    blocks = _blocks(rows, {model_id: store.predicted_ids(model_id) for model_id in cards})
    todo = [row for block in blocks for row in block.rows]
    with journal.Journal(store.root) as notes:
        if todo:
            options = options or beam_options()
            frames = sum(row.num_steps for row in todo)
            handler = RewardModelHandler(config, notes.directory)
            with notes.progress("annotate", frames, options), beam.Pipeline(options=options) as pipeline:
                # No grouping after this: a finished block is on disk, whatever happens to the others.
                _ = (
                    pipeline
                    | "blocks" >> beam.Create(blocks, reshuffle=True)
                    | "rate" >> RunInference(handler)
                    | "write" >> beam.ParDo(_Write(store.root, cards, notes.directory))
                )
            notes.require(row.episode_id for row in todo)
        rated = [entry for entry in notes.entries.values() if entry["outcome"] == _RATED]
        bad = [entry for entry in notes.entries.values() if entry["outcome"] == _BAD]
    for model_id in cards:
        told = [entry["nonsense"][model_id] for entry in bad if model_id in entry["nonsense"]]
        if told and not store.predicted_ids(model_id):
            raise ArmchairError(f"{told[0]}, and nothing better for any other: train it again")
    return Summary(
        rated=len(rated),
        frames=sum(entry["weight"] for entry in rated),
        already=len(rows) - len(todo),
        models=len(cards),
        problems=tuple(sorted((entry["item"], entry["problem"]) for entry in bad)),
    )


def _cards(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Cards of the models in some folders, by id."""
    cards: dict[str, dict[str, Any]] = {}
    for folder in folders:
        card = export.load_card(folder, "reward_model")
        if card["model_id"] in cards:
            raise ArmchairError(f"{folder} is model {card['model_id']}, which is named already: name it once")
        cards[card["model_id"]] = card
    return cards


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


def _blocks(rows: Sequence[EpisodeRow], done: Mapping[str, Collection[str]]) -> list[Block]:
    """Groups rows, which come by (dataset, shard), by neighbourhood: the same rows always make the same blocks.

    Args:
      rows: of all episodes.
      done: model id -> episodes that it has rated already.
    """
    lacking = {row.episode_id: tuple(m for m, ids in done.items() if row.episode_id not in ids) for row in rows}
    todo = sorted((row for row in rows if lacking[row.episode_id]), key=lambda row: lacking[row.episode_id])
    blocks = []
    for (models, dataset, number), members in itertools.groupby(
        todo, lambda row: (lacking[row.episode_id], row.dataset, row.shard // _BLOCK)
    ):
        block = tuple(members)
        digest = hashlib.sha256("\n".join(row.episode_id for row in block).encode()).hexdigest()[:8]
        blocks.append(Block(f"{dataset}-{number:05d}-{digest}", block, models))
    return blocks


class Models(dict[str, tuple[Any, dict[str, ArraySpec]]]):
    """Model id -> the restored module, and what it looks at. A class, as Beam holds it by a weak reference."""


class RewardModelHandler(ModelHandler[Block, Rated, Models]):
    """Runs reward models' SavedModels over the frames of a block. A worker loads them once."""

    def __init__(self, config: AnnotateConfig, notes: Path):
        super().__init__(min_batch_size=1, max_batch_size=1)  # a block is many batches already
        self._config, self._notes = config, notes

    def load_model(self) -> Models:
        """All of them."""
        with journal.Writer(self._notes).tells_fatal():
            loaded = [export.load_model(folder, "reward_model") for folder in self._config.model]
        return Models({card["model_id"]: (module, export.card_inputs(card)) for module, card in loaded})

    def run_inference(
        self, batch: Sequence[Block], model: Models, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Rated]:
        """Rates blocks, streaming their episodes: what is in memory at once does not grow with their number."""
        del inference_args
        with journal.Writer(self._notes).tells_fatal():
            for block in batch:
                yield self._rate(block, model)

    def _rate(self, block: Block, models: Models) -> Rated:
        raters = {
            model_id: Rater(module.predict, inputs, self._config.batch_size)
            for model_id, (module, inputs) in models.items()
            if model_id in block.models
        }
        names = frozenset(name for model_id in raters for name in models[model_id][1])
        read = functools.partial(_read_frames, _store(self._config.store), names)
        problems = {}
        nonsense: dict[str, dict[str, str]] = collections.defaultdict(dict)
        values: dict[str, dict[str, np.ndarray]] = collections.defaultdict(dict)
        for row, episode in _read_ahead(read, block.rows):
            try:
                frames = episode.result()
            except BadEpisodeError as error:
                problems[row.episode_id] = str(error)
                continue
            for rater in raters.values():
                rater.add(row.episode_id, frames)
        for model_id, rater in raters.items():
            for episode_id, curve in rater.finish().items():
                if ((curve >= 0) & (curve <= 1)).all():  # not NaN either
                    values[model_id][episode_id] = curve
                else:
                    told = f"model {model_id} gives {curve.min():g} to {curve.max():g} for {episode_id}, not 0 to 1"
                    nonsense[episode_id][model_id] = told
        return Rated(block, values, problems, nonsense)


@functools.lru_cache(maxsize=1)
def _store(root: Path) -> Store:
    return Store.open(root)


def _read_frames(store: Store, names: Collection[str], row: EpisodeRow) -> dict[str, np.ndarray]:
    """What models look at: name -> [T, ...], pictures decoded. Raises BadEpisodeError."""
    specs = store.spec(row.dataset).observation
    with blamed_on(row.path):
        episode = store.read(row)
        if episode.num_steps != row.num_steps:
            raise BadEpisodeError(
                f"{row.path} has {episode.num_steps} steps, not {row.num_steps} as indexed: verify the store"
            )
        return {name: _frames(episode.observation[name], name, specs[name]) for name in names}


def _frames(stored: np.ndarray, name: str, spec: ArraySpec) -> np.ndarray:
    frames = video.decode_frames(stored) if spec.is_image else stored  # [T, ...]
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
        """Takes the frames of one episode, name -> [T, ...]; there may be others than the model looks at."""
        length = len(next(iter(frames.values())))
        self._lengths[episode_id] = length
        start = 0
        while start < length:
            count = min(length - start, self._batch_size - self._filled)
            for name, buffer in self._batch.items():  # which also makes the frames of the model's dtype
                buffer[self._filled : self._filled + count] = frames[name][start : start + count]
            self._filled += count
            start += count
            if self._filled == self._batch_size:
                self._flush()

    def finish(self) -> dict[str, np.ndarray]:
        """Episode id -> float32[T]: whatever the model gave."""
        if self._filled:
            for buffer in self._batch.values():
                buffer[self._filled :] = 0
            self._flush()
        values = np.concatenate([*self._values, np.zeros(0, np.float32)])
        ends = np.cumsum([*self._lengths.values()], dtype=int)
        return dict(zip(self._lengths, np.split(values, ends)[: len(ends)], strict=True))

    def _flush(self) -> None:
        self._values.append(self._predict(self._batch).numpy())
        self._filled = 0


class _Write(beam.DoFn):
    """Rated -> nothing; side shards are the output."""

    def __init__(self, store: Path, cards: Mapping[str, Mapping[str, Any]], notes: Path):
        self._root, self._notes = store, notes
        self._origins = {i: (i, card["model_hash"], card["task_id"]) for i, card in cards.items()}

    def setup(self) -> None:
        self._writer = journal.Writer(self._notes)

    def process(self, rated: Rated) -> None:
        with self._writer.tells_fatal():
            for model_id, values in rated.values.items():
                self._write(model_id, rated.block.name, values)
        for row in rated.block.rows:
            nonsense = rated.nonsense.get(row.episode_id, {})
            if problem := rated.problems.get(row.episode_id) or "; ".join(nonsense.values()):
                self._writer.write(row.episode_id, _BAD, row.num_steps, problem=problem, nonsense=nonsense)
            else:
                self._writer.write(row.episode_id, _RATED, row.num_steps)

    def _write(self, model_id: str, name: str, values: Mapping[str, np.ndarray]) -> None:
        store, origin = _store(self._root), self._origins[model_id]
        path = store.prediction_path(model_id, name)
        write_predictions(path, *origin, values)
        store.add_predictions(*origin, path)


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
            f"{len(summary.problems)} episodes could not be rated, all others were: run `armchair validate --store "
            f"{config.store}` to see whether their files are damaged"
        )


if __name__ == "__main__":
    run_as_script("annotate", AnnotateConfig)

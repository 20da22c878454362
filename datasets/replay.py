"""A replay between those who act and those who learn: finished episodes in, batches of items out (Reverb).

```
with replay.serve(config, observation_size=5, action_size=1) as address:      # usually in a process of its own
    writer = replay.Writer(address, config.items)                             # in every process that acts
    writer.write(observation, transitions)
    with replay.Sampler(address, Batch, batch_size=256) as sampler:           # in the process that learns
        learner = D4pgLearner(D4pgConfig(), sampler, observation_size=5, action_size=1, seed=0)
        learner.run(100)
```
Items are what the feeds from memory give, number for number. Unlike theirs, batches depend on chance and on timing.
A server that dies and a replay that runs dry are errors after a time-out, never a learner that hangs.
"""

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
import reverb
import tensorflow as tf

from datasets.errors import ArmchairError, SpecMismatchError
from datasets.feeds import Batch, Transitions
from datasets.replay_items import StepItems, StretchItems
from datasets.sequences import SequenceBatch

_TABLE = "items"
_AHEAD = 2  # batches that wait for the learner, in two places: at hand, and on their way from the server
_PENDING = 25  # items on their way to the server; each may take it as long as the time-out
_TIMEOUT = 60  # seconds
_UNREACHABLE = (reverb.errors.DeadlineExceededError, RuntimeError)
Kind = TypeVar("Kind", Batch, SequenceBatch)


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """What a replay holds, and how fast it may be drawn from."""

    items: StepItems | StretchItems = dataclasses.field(default_factory=StepItems)
    size: int = 1_000_000  # items; the oldest make room; Acme's D4PG
    # Items are drawn with a probability in proportion to priority^exponent (Schaul et al. 2016, arXiv 1511.05952);
    # at 0 all are drawn alike.
    priority_exponent: float = 0.0
    min_size: int = 1_000  # items before the first is drawn; Acme's D4PG
    samples_per_insert: float = 32.0  # how often an item is drawn, on average; Acme's D4PG
    # Items by which writers may run ahead of that, or fall behind. A process that both acts and learns needs as many as
    # it writes in a turn. Acme's D4PG: a tenth of min_size.
    tolerance: int = 100
    port: int = 0  # of the server; 0: any that is free

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers with which nothing could ever be written or drawn."""
        if not 1 <= self.min_size <= self.size:
            raise ArmchairError(f"min_size={self.min_size} must be at least 1 and at most size={self.size}")
        if self.samples_per_insert <= 0 or self.tolerance * min(self.samples_per_insert, 1) < 1:
            raise ArmchairError(
                f"samples_per_insert={self.samples_per_insert:g} with tolerance={self.tolerance} would stop writers or "
                "learners for ever: give a positive ratio, and a tolerance that is worth at least one item and sample"
            )
        if self.priority_exponent < 0:
            raise ArmchairError(f"priority_exponent={self.priority_exponent} must not be negative")


@contextlib.contextmanager
def serve(config: ReplayConfig, observation_size: int, action_size: int) -> Iterator[str]:
    """Holds a replay in this process; gives its address, for this machine.

    Args:
      config: of the replay.
      observation_size: D, of the vectors that learners see.
      action_size: A.

    Raises:
      ArmchairError: if the port is taken.
    """
    table = reverb.Table(
        _TABLE,
        sampler=reverb.selectors.Prioritized(config.priority_exponent),
        remover=reverb.selectors.Fifo(),
        max_size=config.size,
        rate_limiter=reverb.rate_limiters.SampleToInsertRatio(
            config.samples_per_insert, config.min_size, config.tolerance * config.samples_per_insert
        ),
        signature=config.items.signature(observation_size, action_size),
    )
    server = reverb.Server([table], port=_free_port(config.port))
    try:
        yield f"localhost:{server.port}"
    finally:
        server.stop()


def _free_port(port: int) -> int:
    """The port, or for 0 any. Reverb would share one that is taken with its owner, and lose half of what is sent."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server that has just ended it is free
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ArmchairError(f"port {port} cannot be had ({error}): choose another, or 0 for any") from error
        return int(probe.getsockname()[1])


class Writer:
    """Puts finished episodes into a replay. Of an episode that its process did not live to finish, nothing is seen."""

    def __init__(self, address: str, items: StepItems | StretchItems, timeout: int = _TIMEOUT):
        """`items`: as the server's config says. `timeout`: seconds to wait for learners to draw, or for the server."""
        self._address, self._items, self._timeout = address, items, timeout
        self._client = reverb.Client(address)

    def write(self, observation: np.ndarray, transitions: Transitions, priority: float = 1.0) -> None:
        """Adds the items of one episode, oldest first; returns when all are in the replay.

        Args:
          observation: float32[T, D], a vector for each frame.
          transitions: the T - 1 of that episode, of one step each.
          priority: of every item.

        Raises:
          ArmchairError: if the server does not take one of them within the time-out.
        """
        rows, places = self._items.cut(observation, transitions)
        count = len(rows["observation"])
        with contextlib.closing(self._client.trajectory_writer(num_keep_alive_refs=count)) as writer:
            for t in range(count):
                writer.append({name: values[t] for name, values in rows.items() if t < len(values)})
            for item in places:
                writer.create_item(_TABLE, priority, {k: writer.history[row][t] for k, (row, t) in item.items()})
                self._flush(writer, _PENDING)
            self._flush(writer, 0)

    def _flush(self, writer: reverb.TrajectoryWriter, pending: int) -> None:
        try:
            writer.flush(pending, self._timeout * 1_000)
        except _UNREACHABLE as error:
            why = _unreachable(self._address) if not _answers(self._client, self._timeout) else (
                f"the replay at {self._address} has taken nothing for {self._timeout} s, as nobody draws from it: is "
                "the learner running?"
            )  # fmt: skip
            raise ArmchairError(why) from error


class Drawn(NamedTuple, Generic[Kind]):
    """A batch, and what prioritised replay needs to know of it."""

    batch: Kind
    key: tf.Tensor  # uint64[B], of the items
    weight: tf.Tensor  # float32[B]: 1 / (N p), what undoes that some were likelier to be drawn than others


class Sampler(Generic[Kind]):
    """Batches drawn from a replay: a feed for learners, inside a TensorFlow graph.

    A context manager. While it is entered, a thread fetches batches, and another one asks the server whether it lives,
    as Reverb itself would wait for ever. Where either fails, what waits for a batch fails too, and leaving the context
    raises ArmchairError with the reason.
    """

    def __init__(self, address: str, kind: type[Kind], batch_size: int, timeout: int = _TIMEOUT):
        """Finds the server.

        Args:
          address: of the server.
          kind: `Batch` or `SequenceBatch`, as the learner takes them and the server holds them.
          batch_size: B, items.
          timeout: seconds to wait for the server, or for writers.

        Raises:
          ArmchairError: if no server answers.
          SpecMismatchError: if its items are of another kind.
        """
        self._address, self._timeout = address, timeout
        self._kind: type[Kind] = kind
        self._client, self._graph_client = reverb.Client(address), reverb.TFClient(address)
        try:
            items = reverb.TrajectoryDataset.from_table_signature(
                address, _TABLE, max_in_flight_samples_per_worker=_AHEAD * batch_size,
                num_workers_per_iterator=1,  # of several, one may starve while the others are fed
                rate_limiter_timeout_ms=timeout * 1_000, get_signature_timeout_secs=timeout,
            )  # fmt: skip
        except _UNREACHABLE as error:
            raise ArmchairError(_unreachable(address)) from error
        if items.element_spec.data.keys() != set(kind._fields) - {"reached"}:
            raise SpecMismatchError(
                f"the replay at {address} holds {', '.join(items.element_spec.data)}, but {', '.join(kind._fields)} "
                "are asked for: choose the items that the learner takes"
            )
        self._batches = items.batch(batch_size, drop_remainder=True).map(self._sort)
        specs = tf.nest.flatten(self._batches.element_spec)
        self._queue = tf.queue.FIFOQueue(_AHEAD, [s.dtype for s in specs], [s.shape for s in specs])
        self._left = threading.Event()
        self._problem = ""

    def draw(self) -> Drawn[Kind]:
        """The next batch."""
        return tf.nest.pack_sequence_as(self._batches.element_spec, self._queue.dequeue())

    def __call__(self, step: tf.Tensor) -> Kind:
        """The next batch, whatever the step."""
        del step
        return self.draw().batch

    def update_priorities(self, key: tf.Tensor, priority: tf.Tensor) -> None:
        """Sets the priorities, float64[B], of items that were drawn; those that are gone by now are passed over."""
        self._graph_client.update_priorities(_TABLE, key, priority)

    def __enter__(self) -> Self:
        for work in (self._fetch, self._watch):
            threading.Thread(target=work, daemon=True).start()  # daemons: Reverb's calls cannot be interrupted
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._left.set()
        self._queue.close(cancel_pending_enqueues=True)
        if self._problem and isinstance(error, tf.errors.OutOfRangeError):
            raise ArmchairError(self._problem) from error

    def _sort(self, sample: reverb.ReplaySample) -> Drawn[Kind]:
        """Into our order; stretches with time first."""
        data = sample.data
        if self._kind is SequenceBatch:
            data = {name: tf.experimental.numpy.swapaxes(values, 0, 1) for name, values in data.items()}
            data["reached"] = tf.broadcast_to(tf.range(1, data["mask"].shape[0] + 1)[:, None], tf.shape(data["mask"]))
        likely = sample.info.probability * tf.cast(sample.info.table_size, tf.float64)
        return Drawn(self._kind(**data), sample.info.key, tf.cast(1 / likely, tf.float32))

    def _fetch(self) -> None:
        """Until nothing comes for the length of the time-out."""
        problem = f"the replay at {self._address} has had no data for {self._timeout} s: is a writer running?"
        try:
            for drawn in self._batches:
                self._queue.enqueue(tf.nest.flatten(drawn))
        except tf.errors.OpError as error:  # also once the context is left
            problem = f"the replay at {self._address} failed ({error.message}): start its server again"
        self._stop(problem)

    def _watch(self) -> None:
        """Asks every half time-out, and gives the server the other half to answer."""
        half = max(1, self._timeout // 2)
        while not self._left.wait(half):
            if not _answers(self._client, half):
                self._stop(_unreachable(self._address))

    def _stop(self, problem: str) -> None:
        if not self._left.is_set():
            self._problem = self._problem or problem
        self._queue.close(cancel_pending_enqueues=True)  # what waits for a batch fails


def _answers(client: reverb.Client, seconds: int) -> bool:
    try:
        client.server_info(seconds)
    except _UNREACHABLE:
        return False
    return True


def _unreachable(address: str) -> str:
    return f"the replay server at {address} does not answer: start it, or look at why it died"

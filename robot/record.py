"""Recording: every finished episode becomes one durable RLDS shard at its last step.

```
with record(env, directory, "my_arm", policy_id="teleop-anna") as env:
    ...                                     # an ordinary dm_env loop
```
The environment is wrapped in EnvLogger with a backend of our own. EnvLogger's TFDS backend keeps files open and writes
an episode at the *next* reset, so that a crash loses finished episodes; ours writes at the LAST step, and each shard
appears whole or not at all (`datasets.shards`). A crash loses the episode in progress, and nothing else. Of a real arm
not even that: what it did is kept up to the end, tagged `interrupted`, when its recorder is closed, or killed and the
dataset opened again (`robot.journal`). An arm that fails and was stopped by its safety filter leaves the episode up to
there.
"""

import contextlib
import dataclasses
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dm_env
import envlogger
import numpy as np
import tensorflow as tf
from envlogger.backends.backend_writer import BackendWriter

from datasets import schema
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.features import JPEG_QUALITY, ArraySpec, StepSpec, deserialize, serialize, spec_of, step_spec
from datasets.shards import ShardDirectory, read_records
from robot import journal
from robot.versions import version_of

_log = logging.getLogger(__name__)


def record(env: dm_env.Environment, directory: Path | str, dataset_name: str, **metadata: Any) -> "RecordedEnvironment":
    """Wraps an environment so that its finished episodes are written to `directory/dataset_name/1.0.0`.

    The folder is a TFDS directory; it may be there already, and others may be recording into it. What the
    environment offers beyond `dm_env` is recorded too: methods `progress() -> float` and `is_success() -> bool`
    (per step, and as the episode's verdict), attributes `task_id`, `robot` and `control_rate_hz`, `tags` of the episode
    that has just ended, `acted_by`, whose wish the last action was (`schema.ActedBy`), and `executed`, what a safety
    filter made of it (`robot.safety.Executed`): then the episode's actions are those that were executed, and what was
    commanded and why they differ are extras.

    Args:
      env: with flat observations, `{"a/b": array}`; uint8[H, W, C] ones are kept as JPEG. Closed by the wrapper.
      directory: where datasets live.
      dataset_name: all its episodes have the same observations, actions and extras.
      **metadata: fields of `EpisodeMetadata` that are not to be found out (`policy_id`, `seed`, `operator`, ...).

    Raises:
      SpecMismatchError: if the dataset is there and has other observations or actions.
    """
    return RecordedEnvironment(env, EpisodeBackend(directory, dataset_name), metadata)


def dataset_path(directory: Path | str, dataset_name: str) -> Path:
    """The TFDS folder of a recorded dataset."""
    return Path(directory) / dataset_name / "1.0.0"


def recorded(directory: Path | str, dataset_name: str) -> Iterator[Episode]:
    """Every episode of a recorded dataset, oldest first; none if nothing was recorded yet."""
    return _episodes(dataset_path(directory, dataset_name))


def adopt(source: Path) -> None:
    """Makes episodes of what recorders that were killed have left in `source`: datasets, one of them, or its version.

    Raises:
      ArmchairError: they cannot be written; their journals stay.
    """
    for folder in {*source.glob("journal"), *source.glob("*/journal"), *source.parent.glob("journal")}:
        if any(folder.glob(f"*{journal.SUFFIX}")):
            EpisodeBackend(folder.parent.parent, folder.parent.name)


def _episodes(path: Path) -> Iterator[Episode]:
    if path.exists():
        shards = ShardDirectory(path)
        for record_bytes in read_records(shards.shard_path(number) for number in range(len(shards))):
            yield deserialize(record_bytes, shards.features)


class RecordedEnvironment(envlogger.EnvLogger):
    """An environment whose finished episodes are on disk."""

    def __init__(self, env: dm_env.Environment, backend: "HeldBackend", metadata: Mapping[str, Any]):
        """See `record`; a backend may serve several environments, one after the other."""
        super().__init__(env, step_fn=_judge, episode_fn=self._finish, backend=backend)
        backend.check(env)
        unknown = metadata.keys() - {field.name for field in dataclasses.fields(EpisodeMetadata)}
        if unknown:
            raise ArmchairError(f"episodes have no metadata {sorted(unknown)}: use the fields of EpisodeMetadata")
        self._episode_metadata = dict(metadata)

    @property
    def episode_ids(self) -> list[str]:
        """Ids of the episodes that are on disk by now, oldest first."""
        return list(self._backend.episode_ids)

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode; one that was not finished is dropped, or if of a real arm, kept as interrupted."""
        self._started, self._episode_id = EpisodeMetadata.now(), uuid.uuid4().hex
        if getattr(self._environment, "is_hardware", False):
            ours = self._describe(self._environment)
            own_tags = self._episode_metadata.get("tags", "")  # the environment's are of the episode before
            self._backend.begin(dataclasses.replace(ours, verdict=str(schema.Verdict.UNKNOWN), tags=own_tags))
        return super().reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step. If the arm fails in it, and a safety filter stops the arm, the step before is the last."""
        try:
            return super().step(action)
        except Exception:
            self._reset_next_step = True
            if getattr(self._environment, "latched", "") and self._backend.has_steps:
                self._backend.set_episode_metadata(self._describe(self._environment))
            raise

    def _finish(self, timestep: dm_env.TimeStep, action: Any, env: dm_env.Environment) -> EpisodeMetadata | None:
        """Metadata once the episode is over; the backend writes the episode when it gets them."""
        del action
        return self._describe(env) if timestep.last() else None

    def _describe(self, env: dm_env.Environment) -> EpisodeMetadata:
        fields = {name: getattr(env, name) for name in ("task_id", "robot", "control_rate_hz") if hasattr(env, name)}
        fields |= {
            "episode_id": self._episode_id,
            "verdict": str(_verdict(env)),
            "timestamp": self._started,
            "software_version": version_of("armchair"),
        }
        fields |= self._episode_metadata
        fields["tags"] = ",".join(filter(None, (fields.get("tags"), getattr(env, "tags", ""))))
        return EpisodeMetadata(**fields)


class HeldBackend(BackendWriter):
    """Keeps the running episode in memory, and once it is finished until it is taken; nothing touches the disk."""

    def __init__(self, spec: StepSpec | None, dataset: Path | str):
        """`spec`: what the episodes must fit, that of `dataset` (for messages); None: nothing yet."""
        super().__init__()
        self._spec, self._dataset = spec, dataset
        self._steps: list[envlogger.StepData] = []
        self._finished: Episode | None = None

    def check(self, env: dm_env.Environment) -> None:
        """Raises SpecMismatchError unless this environment's episodes fit the dataset, before anything has moved."""
        if self._spec is None:
            return
        theirs = {**self._spec.observation, "action": self._spec.action}
        ours = {name: _array_spec(spec) for name, spec in env.observation_spec().items()}
        ours["action"] = ArraySpec(tuple(env.action_spec().shape), "float32")
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise SpecMismatchError(
                    f"{name!r} is {_tell(ours.get(name))} in the environment but {_tell(theirs.get(name))} "
                    f"in the dataset {self._dataset}: record into a dataset of another name"
                )
        if (is_filtered := hasattr(env, "executed")) != (schema.INTERVENTION in self._spec.extras):
            raise SpecMismatchError(
                f"the environment has {'a' if is_filtered else 'no'} safety filter, unlike when the dataset "
                f"{self._dataset} was recorded: record into a dataset of another name"
            )

    @property
    def has_steps(self) -> bool:
        """Whether anything was done in the running episode."""
        return len(self._steps) > 1

    def begin(self, metadata: EpisodeMetadata) -> None:
        """An episode of a real arm is about to begin, of which so much is known."""
        self._drop()

    def _record_step(self, data: envlogger.StepData, is_new_episode: bool) -> None:
        if is_new_episode:
            self._drop()
        self._steps.append(
            data._replace(timestep=data.timestep._replace(observation=_frame(data.timestep.observation)))
        )

    def set_episode_metadata(self, data: EpisodeMetadata) -> None:
        """The episode is over."""
        self._finished, self._steps = to_episode(self._steps, data), []

    @property
    def has_finished(self) -> bool:
        """Whether there is a finished episode."""
        return self._finished is not None

    @property
    def finished(self) -> Episode:
        """The finished episode."""
        assert self._finished is not None, "no episode has finished"
        return self._finished

    def take(self) -> Episode:
        """The finished episode, which is not kept any longer."""
        episode, self._finished = self.finished, None
        return episode

    def drop(self) -> None:
        """Forgets the finished episode."""
        self.take()

    def close(self) -> None:
        """Drops an episode that was not finished."""
        self._drop()

    def _drop(self) -> None:
        if getattr(self, "_steps", None):  # BackendWriter closes itself even if it was never made
            _log.warning("dropped an unfinished episode of %d steps: it was reset or closed", len(self._steps))
            self._steps = []


class EpisodeBackend(HeldBackend):
    """Appends each finished episode to a `ShardDirectory`, which is made by its first one."""

    def __init__(self, directory: Path | str, dataset_name: str, hold: bool = False):
        """Opens `directory/dataset_name/1.0.0` if it is there, and adds what recorders that were killed have left.

        Args:
          directory: where datasets live.
          dataset_name: see `record`.
          hold: whether a finished episode waits in memory until `keep`.

        Raises:
          StoreError: it is something else than a dataset.
          ArmchairError: the name is not one that TFDS can read, or nothing can be written there.
        """
        if not re.fullmatch("[a-z][a-z0-9_]*", dataset_name):
            raise ArmchairError(f"{dataset_name!r} cannot name a dataset: use small letters, digits and _ only")
        self.episode_ids: list[str] = []
        self._name, self._path, self._hold = dataset_name, dataset_path(directory, dataset_name), hold
        self._shards = ShardDirectory(self._path) if self._path.exists() else None
        self._journals = self._path.parent / "journal"
        self._journal: journal.Journal | None = None
        super().__init__(spec_of(self._shards.features) if self._shards is not None else None, self._path)
        if self._shards is not None:  # its last recorder may have been killed before it did
            with disk_errors(f"{self._path} could not be published", "record again"):
                self._shards.publish()
        self._adopt()

    def begin(self, metadata: EpisodeMetadata) -> None:
        """An episode of a real arm is about to begin, of which so much is known. Raises ArmchairError as `keep`."""
        self._drop()
        with disk_errors(f"the journal of an episode could not be written to {self._journals}", "record it again"):
            self._journal, self._begun = journal.Journal(self._journals, metadata), metadata

    def _record_step(self, data: envlogger.StepData, is_new_episode: bool) -> None:
        super()._record_step(data, is_new_episode and self._journal is None)  # or `begin` has dropped what was before
        if self._journal is not None:
            with disk_errors(f"a step could not be written to {self._journals}", "record the episode again"):
                self._journal.add(self._steps[-1])

    def set_episode_metadata(self, data: EpisodeMetadata) -> None:
        """The episode is over: writes it, unless it is to be held. Raises as `keep`."""
        super().set_episode_metadata(data)
        if not self._hold:
            self.keep()

    def keep(self, **changes: Any) -> Episode:
        """Writes the finished episode and returns it.

        Args:
          **changes: fields of its metadata that have become known since it ended.

        Raises:
          ArmchairError: if it cannot be written (disk full, no permission); nothing of it is left on disk, but for the
            journal of a real arm's.
          BadEpisodeError: if it differs from the dataset's other episodes.
        """
        episode = self.take()
        episode = dataclasses.replace(episode, metadata=dataclasses.replace(episode.metadata, **changes))
        self._write(episode)
        self._forget()
        return episode

    def drop(self) -> None:
        """Forgets the finished episode."""
        super().drop()
        self._forget()

    def _drop(self) -> None:
        """Drops what is in hand; but of a real arm, it is kept as interrupted."""
        if getattr(self, "_journal", None) is None:
            super()._drop()
            return
        if self.has_steps:
            super().set_episode_metadata(self._begun)
        if self.has_finished:
            self._write(_interrupted(self.take()))
        self._forget()

    def _forget(self) -> None:
        self._steps = []
        if self._journal is not None:
            self._journal.remove()
            self._journal = None

    def _adopt(self) -> None:
        """Keeps what recorders that were killed have left, unless they had come as far as keeping it themselves."""
        with journal.left_behind(self._journals) as left:
            known = {episode.metadata.episode_id for episode in _episodes(self._path)} if left else set()
            for metadata, steps in left:
                if len(steps) > 1 and metadata.episode_id not in known:
                    self._write(_interrupted(to_episode(steps, metadata)))

    def _write(self, episode: Episode) -> None:
        episode_id = episode.metadata.episode_id
        with disk_errors(f"episode {episode_id} could not be written to {self._path}", "record it again"):
            if self._shards is None:
                self._shards = ShardDirectory.create(self._path, self._name, step_spec(episode))
                self._spec = spec_of(self._shards.features)
            self._shards.append(serialize(episode, self._shards.features))
        self.episode_ids.append(episode_id)
        with disk_errors(f"episode {episode_id} is safe, but {self._path} could not be published", "record on"):
            self._shards.publish()


def _interrupted(episode: Episode) -> Episode:
    tags = ",".join(filter(None, (episode.metadata.tags, schema.INTERRUPTED)))
    _log.warning(
        "episode %s was interrupted: its %d steps are kept with the tag %r",
        episode.metadata.episode_id, episode.num_steps, schema.INTERRUPTED,
    )  # fmt: skip
    return dataclasses.replace(episode, metadata=dataclasses.replace(episode.metadata, tags=tags))


def to_episode(steps: list[envlogger.StepData], metadata: EpisodeMetadata) -> Episode:
    """RLDS from EnvLogger's steps: theirs hold (a_t, o_{t+1}, r_t, discount_t), ours (o_t, a_t, r_t, discount_t).

    The last step has action and reward 0, and the discount of the transition into it. Where a safety filter tells what
    became of an action, the executed one is the episode's.
    """
    frames = [step.timestep.observation for step in steps]
    executed = [step.custom_data[_EXECUTED] for step in steps[1:]]  # [T-1]; None without a safety filter
    is_filtered = executed[0] is not None
    done = [e.action for e in executed] if is_filtered else [step.action for step in steps[1:]]
    actions = np.stack([np.asarray(action, np.float32) for action in done])  # [T-1, A]
    rewards = np.array([step.timestep.reward for step in steps[1:]], np.float32)  # [T-1]
    discounts = np.array([step.timestep.discount for step in steps[1:]], np.float32)  # [T-1]
    is_last = np.arange(len(steps)) == len(steps) - 1
    judged = [k for k in _EXTRAS if steps[-1].custom_data[k] is not None]
    extras = {k: np.array([step.custom_data[k] for step in steps], _EXTRAS[k]) for k in judged}
    if is_filtered:
        extras[schema.COMMANDED_ACTION] = _padded(np.stack([e.commanded for e in executed]))  # [T, A]
        extras[schema.INTERVENTION] = np.array([*(",".join(e.reasons) for e in executed), ""], object)  # [T]
    if steps[-1].custom_data[schema.ACTED_BY] is not None:
        extras[schema.ACTED_BY] = np.array([*(str(s.custom_data[schema.ACTED_BY]) for s in steps[1:]), ""], object)
    return Episode(
        metadata,
        observation={k: _stack([frame[k] for frame in frames]) for k in frames[0]},
        action=_padded(actions),  # [T, A]
        reward=np.append(rewards, np.float32(0)),
        discount=np.append(discounts, discounts[-1]),
        is_first=np.arange(len(steps)) == 0,
        is_last=is_last,
        is_terminal=is_last & (discounts[-1] == 0),
        extras=extras,
    )


_EXTRAS: Mapping[str, type[np.generic]] = {schema.PROGRESS: np.float32, schema.IS_SUCCESS: np.bool_}
_EXECUTED = "executed"


def _padded(actions: np.ndarray) -> np.ndarray:
    """[T-1, A] -> [T, A]: the last step has no action."""
    return np.concatenate([actions, np.zeros_like(actions[:1])])


def _judge(timestep: dm_env.TimeStep, action: Any, env: dm_env.Environment) -> dict[str, Any]:
    """What the environment says of o_t, and of the action that led to it; None where it says nothing."""
    del timestep, action
    judgement = {name: getattr(env, name)() if hasattr(env, name) else None for name in _EXTRAS}
    return judgement | {name: getattr(env, name, None) for name in (_EXECUTED, schema.ACTED_BY)}


def _verdict(env: dm_env.Environment) -> schema.Verdict:
    success = env.is_success() if hasattr(env, "is_success") else None
    if success is None:
        return schema.Verdict.UNKNOWN
    return schema.Verdict.SUCCESS if success else schema.Verdict.FAILURE


def _frame(observation: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of one observation (environments may reuse their arrays), pictures encoded."""
    frame: dict[str, Any] = {}
    for name, value in observation.items():
        array = np.array(value)
        is_image = array.dtype == np.uint8 and array.ndim == 3
        frame[name] = tf.io.encode_jpeg(array, quality=JPEG_QUALITY).numpy() if is_image else array
    return frame


def _stack(values: list[Any]) -> np.ndarray:
    """[T, ...]; encoded pictures as object[T]."""
    if not isinstance(values[0], bytes):
        return np.stack(values)
    pictures = np.empty(len(values), object)
    pictures[:] = values
    return pictures


@contextlib.contextmanager
def disk_errors(what: str, remedy: str) -> Iterator[None]:
    """Turns errors of the disk into an ArmchairError: what could not be done, and the remedy."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise ArmchairError(
            f"{what} ({error}): make room there or choose another folder, and {remedy}; earlier episodes are safe"
        ) from error


def _array_spec(spec: dm_env.specs.Array) -> ArraySpec:
    text = np.dtype(spec.dtype).kind in "OUS"
    return ArraySpec((), "str") if text else ArraySpec(tuple(spec.shape), np.dtype(spec.dtype).name)


def _tell(spec: ArraySpec | None) -> str:
    return "absent" if spec is None else f"{spec.dtype}{list(spec.shape)}"

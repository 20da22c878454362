"""What can be wrong with an episode, said so that it can be mended; and mending what has one right answer."""

import dataclasses
import enum
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from datasets import features, schema
from datasets.episode import Episode
from datasets.errors import BadEpisodeError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # ids name files: no slash, no leading dot
_SAMPLE = 3  # pictures decoded of each camera: the first, the middle and the last; decoding all costs 30x more


class Severity(enum.StrEnum):
    """How bad a problem is."""

    ERROR = "error"  # the episode, or the file, cannot be used
    WARNING = "warning"  # usable, but somebody should look
    INFO = "info"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    severity: Severity
    where: str  # a field of the episode, or a path
    what: str
    fix: str = ""

    def __str__(self) -> str:
        """One line: `reward: holds 3 NaN (record it again)`."""
        return f"{self.where}: {self.what}" + (f" ({self.fix})" if self.fix else "")


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that `validate` found in one episode."""

    episode_id: str
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems for which the store refuses the episode."""
        return tuple(p for p in self.problems if p.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that the store lets pass."""
        return tuple(p for p in self.problems if p.severity is Severity.WARNING)

    def raise_errors(self) -> None:
        """Raises BadEpisodeError that lists the errors, if there are any."""
        if self.errors:
            raise BadEpisodeError(f"episode {self.episode_id!r} is refused: {'; '.join(map(str, self.errors))}")


def is_name(text: str) -> bool:
    """Whether a text can be the id of an episode, a model or a dataset: ids are also names of files."""
    return _NAME.fullmatch(text) is not None and len(text) <= 200


def validate(episode: Episode, every_picture: bool = False) -> Report:
    """Checks metadata, lengths, dtypes, flags, numbers and pictures of an episode.

    Args:
      episode: any episode, however broken.
      every_picture: whether to decode every picture instead of three a camera.
    """
    problems = list(_metadata_problems(episode))
    layout = list(_layout_problems(episode))
    problems += layout
    if not layout:  # the rest reads arrays that have the right lengths and dtypes
        problems += _flag_problems(episode)
        problems += _number_problems(episode)
        problems += _picture_problems(episode, every_picture)
    return Report(episode.metadata.episode_id, tuple(problems))


def _error(where: str, what: str, fix: str = "") -> Problem:
    return Problem(Severity.ERROR, where, what, fix)


def _warning(where: str, what: str, fix: str = "") -> Problem:
    return Problem(Severity.WARNING, where, what, fix)


def _info(where: str, what: str, fix: str = "") -> Problem:
    return Problem(Severity.INFO, where, what, fix)


def _metadata_problems(episode: Episode) -> Iterator[Problem]:
    metadata = episode.metadata
    if not is_name(metadata.episode_id):
        yield _error("episode_id", f"is {metadata.episode_id!r}", "use letters, digits, '.', '_' and '-'")
    for field, known in (("episode_type", schema.EpisodeType), ("verdict", schema.Verdict)):
        if getattr(metadata, field) not in tuple(known):
            yield _error(field, f"is {getattr(metadata, field)!r}", f"one of {', '.join(known)}")
    if not 0 < metadata.control_rate_hz < 1e5:  # NaN too
        yield _error("control_rate_hz", f"is {metadata.control_rate_hz}", "give the control steps a second")
    elif metadata.control_rate_hz != schema.CONTROL_RATE_HZ:
        yield _info("control_rate_hz", f"is {metadata.control_rate_hz:g}, not the cell's {schema.CONTROL_RATE_HZ:g}")


_RLDS_DTYPES = {"action": "float32", "reward": "float32", "discount": "float32"} | dict.fromkeys(
    ("is_first", "is_last", "is_terminal"), "bool"
)


def _layout_problems(episode: Episode) -> Iterator[Problem]:
    if not episode.num_steps:
        yield _error("steps", "there are none", "leave the episode out")
        return
    for name, array in episode.step_fields():
        if len(array) != episode.num_steps:
            yield _error(name, f"has {len(array)} entries for {episode.num_steps} steps", "record one a step")
        elif name in _RLDS_DTYPES and array.dtype.name != _RLDS_DTYPES[name]:
            yield _error(name, f"is {array.dtype.name}", f"must be {_RLDS_DTYPES[name]}")
        elif name in _RLDS_DTYPES and array.ndim != (2 if name == "action" else 1):
            yield _error(name, f"has shape {array.shape}", "an action is [T, A], the other RLDS fields [T]")
        elif array.dtype == object and not any(all(isinstance(x, kind) for x in array) for kind in (bytes, str)):
            yield _error(name, "holds things that are neither pictures nor text", "store encoded pictures or text")
        elif array.dtype == np.uint8 and array.ndim == 4:
            yield _error(name, "holds raw pictures", "store each as JPEG or PNG bytes")
    if not episode.observation:
        yield _error("observation", "there is none", "record what the robot saw")
    for name, array in episode.observation.items():
        known = schema.OBSERVATIONS.get(name)
        if known is None or array.dtype == object:  # pictures are looked at when they are decoded
            continue
        if array.dtype != known.dtype:
            yield _error(f"observation/{name}", f"is {array.dtype}", f"the vocabulary says {np.dtype(known.dtype)}")
        elif not _fits(array.shape[1:], known.shape):
            yield _error(f"observation/{name}", f"has shape {array.shape[1:]}", f"the vocabulary says {known.shape}")


def _fits(shape: tuple[int, ...], known: tuple[int | None, ...]) -> bool:
    return len(shape) == len(known) and all(k is None or k == n for n, k in zip(shape, known, strict=True))


def _flag_problems(episode: Episode) -> Iterator[Problem]:
    first, last, terminal = episode.is_first, episode.is_last, episode.is_terminal  # bool[T]
    repairable = "`repair` sets it"
    if not first[0]:
        yield _error("is_first", "is not true at the first step", repairable)
    if first[1:].any():
        yield _error("is_first", f"is true at step {1 + int(first[1:].argmax())} as well", "split the episodes")
    if not last[-1]:
        yield _error("is_last", "is not true at the last step", repairable)
    if last[:-1].any():
        yield _error("is_last", f"is true at step {int(last[:-1].argmax())} already", "split the episodes")
    if terminal[:-1].any():
        yield _error(
            "is_terminal", f"is true at step {int(terminal[:-1].argmax())}, before the end", "only the last may"
        )
    if len(first) < 2:
        yield _warning("steps", "there is one: no transition to learn from")
        return
    end = episode.discount[-2]  # of the last transition; the last step's own is not valid
    if terminal[-1] and end != 0:
        yield _error("discount", f"is {end} on the way into a terminal state instead of 0", repairable)
    elif not terminal[-1] and end == 0:
        yield _warning("discount", "is 0 on the last transition though is_terminal is false", "which of them is true?")
    if ((episode.discount < 0) | (episode.discount > 1)).any():
        yield _error("discount", "leaves [0, 1]")


def _number_problems(episode: Episode) -> Iterator[Problem]:
    for name, array in episode.step_fields():
        if array.dtype.kind == "f":
            bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)  # [T]
            if bad.any():
                yield _error(
                    name, f"is NaN or infinite at {bad.sum()} steps, the first {int(bad.argmax())}", "record anew"
                )
        changing = name.startswith("observation/") or name == "action"
        if changing and array.dtype.kind == "f" and len(array) > 2 and (array[:-1] == array[0]).all():
            yield _info(name, "never changes")
    if not episode.reward.any():
        yield _info("reward", "is 0 throughout", "sketch and annotate to learn one")


def _picture_problems(episode: Episode, every_picture: bool) -> Iterator[Problem]:
    times = range(episode.num_steps)
    sample = times if every_picture else sorted({0, episode.num_steps // 2, episode.num_steps - 1})
    for name in episode.image_keys:
        where, pictures = f"observation/{name}", episode.observation[name]
        frames: list[np.ndarray] = []
        for t in sample:
            try:
                frames.append(features.decode_image(pictures[t]))
            except BadEpisodeError:
                yield _error(where, f"cannot be decoded at step {t}", "the file is damaged: restore it from a copy")
                break
        else:
            known = schema.OBSERVATIONS.get(name)
            shapes = {frame.shape for frame in frames}
            if len(shapes) > 1:
                yield _error(where, f"changes size: {sorted(shapes)}", "record one size a camera")
            elif known and not _fits(frames[0].shape, known.shape):
                yield _error(where, f"has shape {frames[0].shape}", f"the vocabulary says {known.shape}")
            elif not any(frame.any() for frame in frames):
                yield _warning(where, "is black", "a camera that is not there? leave it out")
            elif len(pictures) > 2 and all(p == pictures[0] for p in pictures):
                yield _warning(where, "never changes", "a frozen camera?")
            has = episode.extras.get(f"has_{name}")
            if has is not None and not has.any() and any(frame.any() for frame in frames):
                yield _warning(
                    f"has_{name}", f"is false throughout though {where} holds pictures", "do not trust the flag"
                )


def repair(episode: Episode) -> tuple[Episode, list[str]]:
    """Mends what has one right answer; everything else stays for `validate` to report.

    Returns:
      The episode, with one sentence a repair added to `metadata.repairs`, and those sentences.
    """
    repairs: list[str] = []
    mended: dict[str, Any] = {name: np.array(getattr(episode, name)) for name in _RLDS_DTYPES}
    if not episode.num_steps or any(len(a) != episode.num_steps or a.dtype == object for a in mended.values()):
        return episode, []
    for name, array in mended.items():
        if array.dtype.name != _RLDS_DTYPES[name]:
            mended[name] = array.astype(_RLDS_DTYPES[name])
            repairs.append(f"{name} was {array.dtype.name} and is now {_RLDS_DTYPES[name]}.")
    if not mended["is_first"].any():
        mended["is_first"][0] = True
        repairs.append("is_first was never true and is now true at the first step.")
    if not mended["is_last"].any():
        mended["is_last"][-1] = True
        repairs.append("is_last was never true and is now true at the last step.")
    if np.isnan(mended["discount"]).all():
        mended["discount"][:] = 1
        repairs.append("discount was missing and is now 1.")
    if episode.num_steps > 1 and mended["is_terminal"][-1] and mended["discount"][-2] != 0:
        mended["discount"][-2] = 0
        repairs.append("discount was not 0 on the transition into the terminal state and now is.")
    for name in ("action", "reward", "discount"):
        if not np.isfinite(mended[name][-1]).all():
            mended[name][-1] = 0
            repairs.append(f"{name} of the last step, which means nothing, was not finite and is now 0.")
    if not repairs:
        return episode, []
    noted = " ".join(filter(None, [episode.metadata.repairs, *repairs]))
    metadata = dataclasses.replace(episode.metadata, repairs=noted)
    return dataclasses.replace(episode, metadata=metadata, **mended), repairs

"""Config dataclasses to JSON and back, and their fingerprints; and the one that several stages share.

A hyperparameter is spelled once, in a frozen dataclass. The command line is made from it (tyro), the run folder
keeps it (JSON), and a model's card names its fingerprint.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from datasets import files
from datasets.errors import ArmchairError

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """A residual convolutional encoder with spatial softmax, one per camera. The sizes are our choice.

    That the paper's is residual, non-recurrent and ends in a spatial softmax is recalled, unverified.
    """

    channels: tuple[int, ...] = (16, 32, 64)
    """Of each group; a group halves height and width."""
    blocks: int = 2
    """Residual blocks in a group. Channels (8, 16, 32) and one block train four times faster, and in the simulated
    cell order frames as well."""
    keypoints: int = 32
    """Maps of the spatial softmax: each gives one (x, y)."""


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    return pydantic.TypeAdapter(type(config)).dump_python(config, mode="json")


def to_json(config: Any) -> str:
    """A config as indented JSON; equal configs give equal text."""
    return pydantic.TypeAdapter(type(config)).dump_json(config, indent=2).decode()


def from_json(cls: type[C], text: str | bytes) -> C:
    """The inverse of `to_json`. Raises ArmchairError where the text is not a valid `cls`."""
    try:
        return pydantic.TypeAdapter(cls).validate_json(text)
    except pydantic.ValidationError as error:
        raise ArmchairError(f"not a valid {cls.__name__}: {error}; write it with the version that reads it") from error


def fingerprint(config: Any) -> str:
    """16 hex digits that change with any field of the config."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()[:16]


def claim_run(directory: Path, config: Any) -> None:
    """Marks a run folder with its config, so that a later run resumes it only with the same one.

    Raises:
      ArmchairError: if the folder already holds a run of another config.
    """
    path = directory / "config.json"
    if not path.exists():
        files.write_atomically(path, to_json(config))
    elif path.read_text() != to_json(config):
        raise ArmchairError(f"{directory} holds a run with another config (see {path}): choose another folder")

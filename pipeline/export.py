"""Trained models as SavedModels with a card.

A model folder holds an ordinary TensorFlow SavedModel and `card.json`, which says what the model is, what it
expects, and what it was made from. Whoever loads it needs no training code: normalisation travels inside.

- A reward model has `predict({name: [B, ...]}) -> float32[B]` in [0, 1], and a card of kind `reward_model`.
- A policy has `act({name: [B, ...]}, state) -> (float32[B, A], state)` within its action bounds, where a state comes
  from `initial_state(int64[B])`, one seed an episode; and `follow({name: [T, ...]}) -> float32[T, A]` along an episode.
  Its card is of kind `policy`.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from datasets import files
from datasets.errors import ArmchairError
from datasets.features import ArraySpec


def fingerprint(variables: Iterable[tf.Variable]) -> str:
    """16 hex digits that change with any bit of the variables, which must come in a fixed order."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(f"{variable.shape}{variable.dtype.name}".encode())
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()[:16]


def input_signature(inputs: Mapping[str, ArraySpec]) -> list[dict[str, tf.TensorSpec]]:
    """The `tf.function` input signature of a batched dictionary of observations, and the name trap avoided.

    TensorSpecs of one dictionary need distinct names without `/` once they are saved.
    """
    return [
        {k: tf.TensorSpec((None, *v.shape), v.dtype, k.replace("/", "_")) for k, v in sorted(inputs.items())}
    ]  # fmt: skip


def inputs_card(inputs: Mapping[str, ArraySpec]) -> dict[str, Any]:
    """The `inputs` entry of a card."""
    return {k: {"shape": list(v.shape), "dtype": v.dtype} for k, v in sorted(inputs.items())}


def card_inputs(card: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """The inverse of `inputs_card`, from a whole card."""
    return {k: ArraySpec(tuple(v["shape"]), v["dtype"]) for k, v in card["inputs"].items()}


def save_model(path: Path, module: tf.Module, card: Mapping[str, Any]) -> Path:
    """Writes the SavedModel and its card as one atomic folder, replacing what stood there."""
    with files.staged_directory(path) as staged:
        # What is exported learns no more: gradients of its own are not kept.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, os.fspath(staged), options=options)
        (staged / "card.json").write_text(json.dumps(card, indent=2, sort_keys=True))
    return path


def load_card(path: Path, kind: str) -> dict[str, Any]:
    """The card of a model folder.

    Raises:
      ArmchairError: if there is no model, or one of another kind ("reward_model", "policy").
    """
    try:
        card = json.loads((Path(path) / "card.json").read_text())
    except FileNotFoundError as error:
        raise ArmchairError(
            f"{path} is not a model folder (no card.json): give a folder written by training"
        ) from error
    except json.JSONDecodeError as error:
        raise ArmchairError(f"{path}/card.json is damaged ({error}): export the model again") from error
    if card.get("kind") != kind:
        raise ArmchairError(f"{path} holds a {card.get('kind')}, not a {kind}: give the other folder")
    return card


def load_model(path: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """The restored module and its card. Raises ArmchairError as `load_card`, and for a damaged SavedModel."""
    card = load_card(path, kind)
    try:
        return tf.saved_model.load(os.fspath(path)), card
    except (OSError, tf.errors.OpError) as error:
        raise ArmchairError(f"the SavedModel in {path} cannot be read ({error}): export it again") from error

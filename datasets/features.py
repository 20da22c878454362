"""Episodes as RLDS examples: TFDS features, and the bytes of one episode.

An example is one whole episode: `steps` (a TFDS nested dataset of RLDS steps) and `episode_metadata`. Nested
names are joined by `/` in memory, which is also how TFDS names them on disk, so `observation/sawyer/joints/angle`
is one and the same thing everywhere.
"""

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError

from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError

JPEG_QUALITY = 95  # as good as indistinguishable; Sketchy stores JPEG too. PNG writes 3x slower and is 1.7x larger


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape (without the time axis) and dtype of one step field. uint8 of rank 3 is an image."""

    shape: tuple[int, ...]
    dtype: str  # a numpy dtype name; "str" for text

    @property
    def is_image(self) -> bool:
        """Whether the field is a picture, kept as encoded bytes."""
        return self.dtype == "uint8" and len(self.shape) == 3


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """Every field of a step that is not fixed by RLDS itself."""

    observation: Mapping[str, ArraySpec]  # flat names
    action: ArraySpec
    extras: Mapping[str, ArraySpec] = dataclasses.field(default_factory=dict)


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a/b": x}` -> `{"a": {"b": x}}`.

    Raises:
      BadEpisodeError: if a name lies within another, as `a/b` in `a`, which has a value of its own.
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = nested
        for depth, parent in enumerate(parents, 1):
            if (above := "/".join(parents[:depth])) in flat:
                raise BadEpisodeError(f"{name!r} cannot lie within {above!r}, a field itself: rename one by a mapping")
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": x}}` -> `{"a/b": x}`."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


_OBSERVATION = "observation/"
_RLDS_FIELDS = ("reward", "discount", "is_first", "is_last", "is_terminal")  # their dtypes are fixed by RLDS


def _feature(spec: ArraySpec) -> tfds.features.FeatureConnector:
    if spec.is_image:
        return tfds.features.Image(shape=spec.shape, encoding_format="jpeg")
    if spec.dtype == "str":
        return tfds.features.Text()
    # A tf.train.Example knows no float64: as numbers, Unix times would be rounded to 128 s.
    encoding = tfds.features.Encoding.BYTES if spec.dtype == "float64" else tfds.features.Encoding.NONE
    return tfds.features.Tensor(shape=spec.shape, dtype=np.dtype(spec.dtype), encoding=encoding)


_METADATA_DTYPES: dict[type, ArraySpec] = {
    str: ArraySpec((), "str"), int: ArraySpec((), "int64"), float: ArraySpec((), "float64"),
}  # fmt: skip


def episode_features(spec: StepSpec) -> tfds.features.FeaturesDict:
    """TFDS features of an episode whose steps follow `spec`."""
    steps: dict[str, Any] = {f"{_OBSERVATION}{k}": _feature(v) for k, v in spec.observation.items()}
    steps |= {k: _feature(v) for k, v in spec.extras.items()}
    steps["action"] = _feature(spec.action)
    steps |= {k: tfds.features.Scalar(np.float32) for k in ("reward", "discount")}
    steps |= {k: tfds.features.Scalar(np.bool_) for k in ("is_first", "is_last", "is_terminal")}
    metadata = {f.name: _feature(_METADATA_DTYPES[f.type]) for f in dataclasses.fields(EpisodeMetadata)}  # type: ignore[index]
    return tfds.features.FeaturesDict({"steps": tfds.features.Dataset(nest(steps)), "episode_metadata": metadata})


def spec_of(features: tfds.features.FeaturesDict) -> StepSpec:
    """The inverse of `episode_features`: the spec of a dataset on disk."""
    steps = flatten(_leaves(features["steps"].feature))

    def of(feature: tfds.features.FeatureConnector) -> ArraySpec:
        if isinstance(feature, tfds.features.Text):
            return ArraySpec((), "str")
        return ArraySpec(tuple(feature.shape), np.dtype(feature.np_dtype).name)

    specs = {name: of(feature) for name, feature in sorted(steps.items()) if name not in _RLDS_FIELDS}
    observation = {k.removeprefix(_OBSERVATION): v for k, v in specs.items() if k.startswith(_OBSERVATION)}
    extras = {k: v for k, v in specs.items() if k != "action" and not k.startswith(_OBSERVATION)}
    return StepSpec(observation, specs["action"], extras)


def _leaves(features: tfds.features.FeaturesDict) -> dict[str, Any]:
    return {k: _leaves(v) if isinstance(v, tfds.features.FeaturesDict) else v for k, v in features.items()}


def decode_image(encoded: bytes) -> np.ndarray:
    """uint8[H, W, C] of one encoded picture; for many, see `datasets.video`. Raises BadEpisodeError if it is broken."""
    try:
        return tf.io.decode_image(encoded, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise BadEpisodeError("a picture is neither JPEG nor PNG, or is cut short: restore it from a copy") from error


def step_spec(episode: Episode) -> StepSpec:
    """The spec of an episode in memory."""

    def of(array: np.ndarray) -> ArraySpec:
        if array.dtype == object and isinstance(array[0], bytes):
            return ArraySpec(decode_image(array[0]).shape, "uint8")
        if array.dtype == object or array.dtype.kind in "US":
            return ArraySpec((), "str")
        return ArraySpec(array.shape[1:], array.dtype.name)

    return StepSpec(
        {k: of(v) for k, v in sorted(episode.observation.items())},
        of(episode.action),
        {k: of(v) for k, v in sorted(episode.extras.items())},
    )


def difference(episode: StepSpec, dataset: StepSpec) -> str:
    """One example of what differs between the specs of an episode and of a dataset, which are not the same."""
    ours, theirs = _flat(episode), _flat(dataset)
    name = min(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    here, there = (f"{s[name].dtype}{list(s[name].shape)}" if name in s else "missing" for s in (ours, theirs))
    return f"{name} is {here} in the episode and {there} in the dataset"


def _flat(spec: StepSpec) -> dict[str, ArraySpec]:
    return {"action": spec.action, **{f"{_OBSERVATION}{k}": v for k, v in spec.observation.items()}, **spec.extras}


def serialize(episode: Episode, features: tfds.features.FeaturesDict) -> bytes:
    """One episode as the bytes of its TFRecord record: the same ones in every process.

    Raises:
      BadEpisodeError: if the episode does not have exactly the fields and shapes of `features`.
    """
    steps = {
        name: [io.BytesIO(x) for x in array] if array.dtype == object and isinstance(array[0], bytes) else array
        for name, array in episode.step_fields()
    }
    example = {"steps": nest(steps), "episode_metadata": dataclasses.asdict(episode.metadata)}
    try:
        record = features.serialize_example(example)
    except (ValueError, TypeError, KeyError) as error:
        raise BadEpisodeError(
            f"episode {episode.metadata.episode_id} does not fit its dataset's features: {error}; "
            "record it into a dataset of its own name"
        ) from error
    # The order of TFDS's fields is that of `features`, which is another one once they have been saved and read.
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def parse(record: bytes, features: tfds.features.FeaturesDict) -> dict[str, Any]:
    """One record as `{"steps": {flat name: [T, ...]}, "episode_metadata": {...}}`; pictures stay encoded.

    Raises:
      BadEpisodeError: if the bytes are not an example of these features.
    """
    try:
        example = features.deserialize_example_np(record, decoders={"steps": tfds.decode.SkipDecoding()})
    except Exception as error:  # TFDS raises whatever its parser meets
        raise BadEpisodeError(f"the record is not an example of this dataset's features: {error}") from error
    connectors = flatten(_leaves(features["steps"].feature))
    steps = {
        # A tensor may be stored as bytes, raw or compressed.
        k: np.stack([connectors[k].decode_example_np(x) for x in v]) if _is_encoded_tensor(connectors[k]) else v
        for k, v in flatten(example["steps"]).items()
    }
    return {"steps": steps, "episode_metadata": flatten(example.get("episode_metadata", {}))}


def content_hash(record: bytes) -> str:
    """What an episode's steps are, whatever its metadata say: equal for equal steps, different for others.

    Args:
      record: an episode's bytes, as `serialize` makes them.

    Returns:
      SHA-256 over the name and the stored values of every field of the steps, pictures as they are encoded; hex.

    Raises:
      BadEpisodeError: if the bytes are not an example.
    """
    fields = _example(record)
    digest = hashlib.sha256()
    for name in sorted(fields):
        if name.startswith("steps/"):
            values = fields[name].SerializeToString()
            digest.update(f"{name} {len(values)}\n".encode())
            digest.update(values)
    return digest.hexdigest()


def _example(record: bytes) -> Mapping[str, tf.train.Feature]:
    try:
        return tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise BadEpisodeError(f"the record is not an example: {error}; restore it from a copy") from error


def pictures(record: bytes, names: Iterable[str]) -> dict[str, list[bytes]]:
    """The encoded pictures of some observations, and nothing else, of a record that `serialize` made.

    Args:
      record: an episode's bytes.
      names: flat names of observations that are pictures.

    Returns:
      name -> T encoded pictures.

    Raises:
      BadEpisodeError: if the bytes are not an example, or lack one of the names.
    """
    fields = _example(record)
    found = {name: list(fields[f"steps/{_OBSERVATION}{name}"].bytes_list.value) for name in names}
    for name, encoded in found.items():
        if not encoded:
            raise BadEpisodeError(f"the record has no pictures {name!r}: restore it from a copy")
    return found


def _is_encoded_tensor(connector: tfds.features.FeatureConnector) -> bool:
    stored = connector.get_serialized_info()
    return isinstance(connector, tfds.features.Tensor) and stored.np_dtype != connector.np_dtype


def deserialize(record: bytes, features: tfds.features.FeaturesDict) -> Episode:
    """The inverse of `serialize`. Foreign RLDS records go through `datasets.readers.rlds` instead."""
    example = parse(record, features)
    connectors = flatten(_leaves(features["steps"].feature))
    steps = {
        # Text comes back as bytes, which would pass for a picture.
        k: np.array([x.decode() for x in v], object) if isinstance(connectors[k], tfds.features.Text) else v
        for k, v in example["steps"].items()
    }
    observation = {k.removeprefix(_OBSERVATION): v for k, v in steps.items() if k.startswith(_OBSERVATION)}
    fixed = {k: steps[k] for k in ("action", *_RLDS_FIELDS)}
    extras = {k: v for k, v in steps.items() if k not in fixed and not k.startswith(_OBSERVATION)}
    metadata: dict[str, Any] = {
        field.name: value.decode() if isinstance(value := example["episode_metadata"][field.name], bytes) else value
        for field in dataclasses.fields(EpisodeMetadata)
    }
    return Episode(
        EpisodeMetadata(**{k: v.item() if isinstance(v, np.generic | np.ndarray) else v for k, v in metadata.items()}),
        observation, **fixed, extras=extras,
    )  # fmt: skip

"""Fake episodes: small, valid, seeded. For tests, examples and dry runs; no simulator, no files."""

import numpy as np
import tensorflow as tf

from datasets import schema
from datasets.episode import Episode, EpisodeMetadata
from datasets.features import JPEG_QUALITY

_START = 1_700_000_000  # Unix seconds of fake episode 0; each seed is a minute later


def make_episode(
    seed: int,
    num_steps: int = 5,
    cameras: tuple[str, ...] = ("basket_front_left",),
    image_size: tuple[int, int] = (16, 16),
    action_size: int = 7,
    success: bool | None = None,
    terminal: bool = False,
    **metadata: str | float,
) -> Episode:
    """A valid episode that depends on its arguments alone.

    Progress rises in a straight line to 1 (success) or 0.5 (failure), the joint angles follow it, and every picture
    is a noise-free gradient that brightens with it: there is something to learn.

    Args:
      seed: decides all numbers, and the default id `fake-<seed>`.
      num_steps: T, the number of frames.
      cameras: each adds `pixels/<camera>`, JPEG; none: features only.
      image_size: (H, W).
      action_size: A.
      success: the verdict; by default even seeds succeed.
      terminal: whether the episode ends in a true terminal state instead of at a time limit.
      **metadata: fields of `EpisodeMetadata` to set otherwise than by default.
    """
    rng = np.random.default_rng(seed)
    success = seed % 2 == 0 if success is None else success
    progress = np.linspace(0, 1 if success else 0.5, num_steps, dtype=np.float32)  # [T]
    solved = progress >= 1  # [T]
    observation: dict[str, np.ndarray] = {
        "sawyer/joints/angle": (rng.uniform(-1, 1, 7) + progress[:, None]).astype(np.float32),  # [T, 7]
        "gripper/grasp": (progress[:, None] > 0.3).astype(np.int64),  # [T, 1]
        "objects/green/pose": np.tile(np.array([0.5, 0, 0, 1, 0, 0, 0], np.float32), (num_steps, 1)),  # [T, 7]
    }
    observation["objects/green/pose"][:, 2] = 0.2 * progress
    for camera in cameras:
        observation[f"pixels/{camera}"] = _pictures(progress, image_size, tint=rng.uniform(0.2, 1, 3))
    is_last = np.arange(num_steps) == num_steps - 1
    reward = np.append(solved[1:], False).astype(np.float32)  # of the transition into o_{t+1}
    discount = np.ones(num_steps, np.float32)
    if terminal:
        discount[-2:] = 0  # the last transition, and the last step, whose discount is not valid
    fields = {
        "episode_id": f"fake-{seed}", "task_id": "lift_green", "policy_id": f"fake-policy-{seed % 3}",
        "robot": "fake", "seed": seed, "timestamp": _START + 60 * seed, "software_version": "testing",
        "verdict": str(schema.Verdict.SUCCESS if success else schema.Verdict.FAILURE),
    }  # fmt: skip
    return Episode(
        EpisodeMetadata(**(fields | metadata)),  # type: ignore[arg-type]
        observation,
        action=rng.uniform(-1, 1, (num_steps, action_size)).astype(np.float32),
        reward=reward,
        discount=discount,
        is_first=np.arange(num_steps) == 0,
        is_last=is_last,
        is_terminal=is_last & terminal,
        extras={schema.PROGRESS: progress, schema.IS_SUCCESS: solved},
    )


def _pictures(brightness: np.ndarray, size: tuple[int, int], tint: np.ndarray) -> np.ndarray:
    """object[T] of JPEG bytes: a gradient from left to right in one tint."""
    gradient = np.broadcast_to(np.linspace(0.2, 1, size[1])[None, :, None], (*size, 1)) * tint  # [H, W, 3]
    pictures = np.empty(len(brightness), object)
    for t, b in enumerate(brightness):
        frame = (255 * gradient * (0.3 + 0.7 * b)).astype(np.uint8)
        pictures[t] = tf.io.encode_jpeg(frame, quality=JPEG_QUALITY).numpy()
    return pictures

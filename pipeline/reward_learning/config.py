"""Every constant of reward learning, with where it comes from."""

import dataclasses

from datasets.presets import ObservationPreset


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


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Constants of the ranking and threshold losses (Cabi et al., arXiv 1909.12200; see `losses`).

    The values are recalled of the paper, unverified.
    """

    sketch_gap: float = 0.2
    """mu_s: two frames make a pair if their sketches differ by more."""
    margin: float = 0.1
    """mu_r: the better frame of a pair shall be predicted higher by this."""
    success_above: float = 0.85
    """tau_s: a frame sketched above is a success."""
    failure_below: float = 0.15
    """tau_u: a frame sketched below is a failure."""
    success_target: float = 0.9
    """tau_r1: a success shall be predicted at least this."""
    failure_target: float = 0.1
    """tau_r2: a failure shall be predicted at most this."""
    threshold_weight: float = 10.0
    """lambda: weight of the success and failure terms against the ranking term."""


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """A reward model and its training. Unless said otherwise the values are our choice, sized for two CPU cores."""

    # Inputs
    observations: ObservationPreset = ObservationPreset.PIXELS
    """pixels: cameras and proprioception; states: every number, privileged ones too; no pictures."""
    cameras: tuple[str, ...] = ()
    """Pictures to look at, by full name (pixels/wrist); none named: all that the episodes have."""
    image_size: tuple[int, int] = (64, 64)
    """(H, W) that pictures of another size are resized to, inside the model."""

    # Network
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    """What looks at each camera."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layer-norm MLP over keypoints and proprioception."""

    # Loss
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    """What the model is asked for."""

    # Optimisation
    steps: int = 1000
    """Updates."""
    batch_pairs: int = 32
    """Frame pairs an update."""
    learning_rate: float = 5e-4
    """Of Adam, at the start; it falls to 0 as a cosine."""
    weight_decay: float = 1e-4
    """Decoupled, on matrices and kernels."""

    # Augmentation of pictures
    shift: int = 4
    """Random crop: pictures move by up to so many pixels each way."""
    colour_jitter: float = 0.1
    """Brightness and each colour's gain vary by up to this share."""

    seed: int = 0
    """Decides initial weights, batches and augmentation."""

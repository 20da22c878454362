"""Every constant of reward learning, with where it comes from: a class a method, whose docstring is the method.

No TensorFlow here: the command line is made from these classes.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import ClassVar

from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset
from pipeline.config import EncoderConfig


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which episodes teach what: queries as in `armchair store query`, within the store's training split."""

    annotated: str = ""
    """Episodes whose sketches are learned from; by default all that are sketched for the task."""
    demonstrations: str = ""
    """Episodes that show the task done well, for methods that learn from demonstrations; they must be named."""
    unlabelled: str = ""
    """Episodes of which nothing is known, for methods that use them; by default all the others."""


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
    """What every method has: what the reward is a function of."""

    method: ClassVar[str]
    """What the command line calls it."""
    from_demonstrations: ClassVar[bool] = False
    """Whether it learns from demonstrations; if not, from sketches."""
    uses_unlabelled: ClassVar[bool] = False
    """Whether it looks at episodes of which nothing is known."""

    observations: ObservationPreset = ObservationPreset.PIXELS
    """pixels: cameras and proprioception; states: every number, privileged ones too; no pictures."""
    cameras: tuple[str, ...] = ()
    """Pictures to look at, by full name (pixels/wrist); none named: all that the episodes have."""
    without: tuple[str, ...] = ()
    """Of these observations, none whose name begins so: a few episodes are soon known by their sensors' noise."""
    image_size: tuple[int, int] = (64, 64)
    """(H, W) that pictures of another size are resized to, inside the model."""
    seed: int = 0
    """Decides all that is random."""


@dataclasses.dataclass(frozen=True)
class FittedConfig(RewardConfig):
    """What every method has that trains a network. Unless said otherwise: our choice, sized for two CPU cores."""

    # Network
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    """What looks at each camera."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layer-norm MLP over keypoints and proprioception."""
    members: int = 1
    """Models, alike but for their seed. The reward is their mean; their deviation tells where they are not sure."""

    # Optimisation
    steps: int = 1000
    """Updates of each model, at most."""
    learning_rate: float = 5e-4
    """Of Adam, at the start; it falls to 0 as a cosine."""
    weight_decay: float = 1e-4
    """Decoupled, on matrices and kernels."""
    held_out: float = 0.2
    """Share of the episodes that is not trained on: the weights that do best on it, by the method's own loss, are the
    result. No true reward is needed. 0, or fewer than five episodes that teach: the last weights."""
    patience: int = 5
    """Checks of the held-out loss, one every 100 updates, without a new best until training stops."""

    # Augmentation of pictures
    shift: int = 4
    """Random crop: pictures move by up to so many pixels each way."""
    colour_jitter: float = 0.1
    """Brightness and each colour's gain vary by up to this share."""

    def __post_init__(self) -> None:
        """Raises ArmchairError for a number that makes no sense."""
        for name, sound, allowed in (
            ("members", self.members >= 1, "at least 1"),
            ("steps", self.steps >= 1, "at least 1"),
            ("held_out", 0 <= self.held_out < 1, "from 0 to below 1"),
            ("patience", self.patience >= 1, "at least 1"),
        ):
            if not sound:
                raise ArmchairError(f"{name} is {getattr(self, name)}: give a number {allowed}")


def member_seed(seed: int, number: int) -> int:
    """The seed of one of several models; runs whose seeds are below 1,000 apart share none."""
    return seed + 1_000 * number


# From sketches


@dataclasses.dataclass(frozen=True)
class RankingConfig(FittedConfig):
    """Sketch ranking: frames of one episode shall be predicted in the order in which they are sketched.

    Cabi et al., arXiv 1909.12200: a hinge on pairs of frames and one at the thresholds of success and failure (see
    `losses`). Learns from sketches alone. All sketched episodes are trained on; the last weights are the result.
    """

    method: ClassVar[str] = "ranking"

    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    """What the model is asked for."""
    batch_pairs: int = 32
    """Frame pairs an update."""
    held_out: float = 0.0
    """Share of the episodes that is not trained on, to choose the weights by. 0: the last weights, as recalled of the
    paper; the ranking loss hardly overfits."""


@dataclasses.dataclass(frozen=True)
class RegressionConfig(FittedConfig):
    """Sketch regression: predict the sketched number itself, by the squared error. The ablation of sketch ranking.

    People agree on order, not on scale, so what this loss asks for differs from annotator to annotator.
    """

    method: ClassVar[str] = "regression"

    batch_size: int = 64
    """Frames an update: as many as 32 pairs have."""


@dataclasses.dataclass(frozen=True)
class SupConfig(FittedConfig):
    """SUP: a frame is a success or not, by cross-entropy, on the annotated episodes alone.

    Konyushkova et al., arXiv 2012.06899 (name and form recalled, unverified): minimises E[BCE(R(s_t), y_t)] with step
    labels y_t = 1[sketch > success_above]. It knows nothing of states that the annotated episodes do not visit.
    """

    method: ClassVar[str] = "sup"

    success_above: float = 0.95
    """A frame sketched above is a success. Higher than tau_s of the ranking loss, which need not tell the last step of
    a task from its end: people draw the top where the task is solved."""
    batch_size: int = 128
    """Frames an update."""


@dataclasses.dataclass(frozen=True)
class SuccessConfig(SupConfig):
    """Success classifier: SUP whose reward is 1 above a threshold and 0 below, never in between."""

    method: ClassVar[str] = "success"

    threshold: float = 0.5
    """Predicted success from which the reward is 1."""


@dataclasses.dataclass(frozen=True)
class SupAndFlatConfig(SupConfig):
    """SUP-and-flat: SUP, and every frame of the unlabelled episodes is called no success.

    Konyushkova et al. (recalled, unverified): half of each batch is annotated, half unlabelled with the label 0. That
    is wrong where an unlabelled episode succeeds, but such frames are few, and annotated successes weigh against them.
    """

    method: ClassVar[str] = "sup_and_flat"
    uses_unlabelled: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Rounds in which models label the unlabelled episodes for one another (see `refine`). All numbers: our choice."""

    rounds: int = 3
    """K: how often the unlabelled episodes are labelled again, and all models trained anew."""
    top: float = 0.1
    """An episode's score is the mean prediction of this share of its frames, the highest."""
    episode_floor: float = 0.3
    """No episode with a lower score is judged successful, whatever Otsu's threshold."""
    frame_floor: float = 0.5
    """No frame with a lower prediction is labelled a success, whatever Otsu's threshold."""
    most_successful: float = 0.6
    """A round that judges a larger share of the episodes successful is not believed: the rounds end before it."""
    least_successful: float = 0.001
    """Likewise a smaller share."""
    settled: float = 0.01
    """The rounds end when they change a smaller share of the labels."""


@dataclasses.dataclass(frozen=True)
class SsrConfig(SupAndFlatConfig):
    """SSR, semi-supervised reward learning: SUP-and-flat, whose flat labels are then refined, round by round.

    Konyushkova et al. combine self-training, co-training and multiple-instance learning; the algorithm here is our
    reconstruction. The unlabelled episodes are split in as many parts as there are models; each model is trained on
    the annotated episodes and its own part, which only the other models label: first episodes as wholes, then the
    frames of those that are judged successful.
    """

    method: ClassVar[str] = "ssr"

    refinement: RefinementConfig = dataclasses.field(default_factory=RefinementConfig)
    """The rounds."""
    members: int = 2
    """Models, and parts of the unlabelled episodes; at least two. The reward is their mean."""


# From demonstrations


@dataclasses.dataclass(frozen=True)
class SqilConfig(RewardConfig):
    """SQIL, offline: every frame of a demonstration is worth 1, every other frame 0. Nothing is trained.

    Reddy et al., arXiv 1905.11108, in the form that Konyushkova et al. compare with (recalled, unverified). The
    demonstrations are rated when it is made; everything else gets its 0 by `armchair annotate`.
    """

    method: ClassVar[str] = "sqil"
    from_demonstrations: ClassVar[bool] = True


class EarlyFrames(enum.StrEnum):
    """What ORIL asks for on the first frames of episodes, beside its own loss."""

    NONE = "none"
    ZERO = "zero"
    """Cross-entropy to 0, for demonstrations too: bounded, and so our default."""
    TRAIL = "trail"
    """TRAIL's constraint (arXiv 1910.01077): minus the cross-entropy while they are told apart no worse than by
    chance. It is unbounded from below, and here no agent acts against the model: on a made-up nuisance it ended in
    calling every early frame demonstrated."""


@dataclasses.dataclass(frozen=True)
class OrilConfig(FittedConfig):
    """ORIL: tell frames of demonstrations from frames of unlabelled episodes; what looks demonstrated is rewarded.

    Zolna et al., arXiv 2011.13885. With logits l and softplus(x) = log(1 + e^x), over demonstrations E and unlabelled
    episodes U:

    - plain (eq. 1): E_E[softplus(-l)] + E_U[softplus(l)]; pushes successes among the unlabelled down, too.
    - positive-unlabelled (eq. 5): eta E_E[softplus(-l)] + max(0, E_U[softplus(l)] - eta E_E[softplus(l)]), which takes
      a share eta of U for successes. The clip at 0 (our choice, as in nnPU) keeps it bounded from below.
    - Nothing has been done yet in the first frames of an episode, so what tells demonstrations apart there is beside
      the point: see `EarlyFrames`.
    """

    method: ClassVar[str] = "oril"
    from_demonstrations: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True

    positive_unlabelled: bool = True
    """Which loss: positive-unlabelled or plain."""
    eta: float = 0.5
    """Assumed share of frames among the unlabelled that look demonstrated; 0.5 in others' code for the paper."""
    clip: bool = True
    """Keep the positive-unlabelled loss's estimate of the negatives from falling below 0."""
    regulariser: EarlyFrames = EarlyFrames.ZERO
    """What is asked for on the first frames of episodes."""
    early_frames: int = 10
    """How many frames those are, in each episode; TRAIL's number."""
    batch_size: int = 128
    """Frames an update, half of them demonstrated; the regulariser adds half as many."""


@dataclasses.dataclass(frozen=True)
class TgrConfig(FittedConfig):
    """TGR, time-guided reward: the first part of a demonstration is no success, the rest is; the unlabelled are flat.

    Konyushkova et al. (recalled, unverified): y_t = 1[t >= t0] on demonstrations, 0 on every unlabelled frame, then
    the loss of SUP-and-flat.
    """

    method: ClassVar[str] = "tgr"
    from_demonstrations: ClassVar[bool] = True
    uses_unlabelled: ClassVar[bool] = True

    success_from: float = 0.5
    """t0, as a share of the episode; our choice."""
    batch_size: int = 128
    """Frames an update, half of them demonstrated."""


@dataclasses.dataclass(frozen=True)
class TgrIConfig(TgrConfig):
    """TGR-i: TGR, whose flat labels are then refined in the rounds of SSR."""

    method: ClassVar[str] = "tgr_i"

    refinement: RefinementConfig = dataclasses.field(default_factory=RefinementConfig)
    """The rounds."""
    members: int = 2
    """Models, and parts of the unlabelled episodes; at least two. The reward is their mean."""


METHODS: Mapping[str, type[RewardConfig]] = {
    config.method: config
    for config in (
        RankingConfig, RegressionConfig, SupConfig, SuccessConfig, SupAndFlatConfig, SsrConfig,
        SqilConfig, OrilConfig, TgrConfig, TgrIConfig,
    )
}  # fmt: skip
"""Every method, by its name."""

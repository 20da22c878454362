"""Every option of the offline learners and their trainer, with its default and where that comes from.

No TensorFlow here: the command line is made from these classes.
"""

import dataclasses
import enum
from pathlib import Path
from typing import ClassVar

from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset


class AdvantageMode(enum.StrEnum):
    """What the value of the data's action is compared with: samples of the policy."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"


class WeightMode(enum.StrEnum):
    """How an advantage becomes the weight of an imitated action."""

    EXP = "exp"
    BINARY = "binary"
    ALL = "all"  # behaviour cloning


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Size of the policy."""

    layer_sizes: tuple[int, ...] = (256, 256, 256)  # our choice for two CPU cores
    components: int = 5  # Gaussians in the mixture; RL Unplugged's CRR
    min_scale: float = 0.2  # in units of the action's range [-1, 1]; our choice: with 1e-4 (RL Unplugged's CRR, for
    # millions of transitions) a few hundred episodes are soon learned by heart


@dataclasses.dataclass(frozen=True)
class CriticConfig:
    """What the critic predicts, and its size."""

    layer_sizes: tuple[int, ...] = (256, 256, 256)  # our choice for two CPU cores
    atoms: int = 51  # of the distribution; as in C51 and Acme's D4PG
    # Predict a distribution of returns (C51), for rewards in [0, 1], or their mean alone, for any rewards.
    distributional: bool = True


@dataclasses.dataclass(frozen=True)
class BcConfig:
    """Behaviour cloning: maximise the likelihood of the logged actions, whoever took them.

    Minimises E[-log pi(a|s)] over the data. The policy network, and so the density, is CRR's: the two differ in the
    weights of the actions alone. Rewards are not used.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    learning_rate: float = 3e-4  # of Adam; our choice
    max_gradient_norm: float = 40.0  # as for CRR


@dataclasses.dataclass(frozen=True)
class CrrConfig:
    """CRR: imitate the logged actions that the critic finds better than what the policy would do.

    Wang et al., *Critic Regularized Regression*, NeurIPS 2020 (arXiv 2006.15134). With a critic Q and a stochastic
    policy pi, on transitions (s, a, r, d, s') of the data:

    - policy: minimise E[-f(s, a) log pi(a|s)], where f has no gradient and is a function of the advantage
      A(s, a) = Q(s, a) - mean_j Q(s, a_j), or max_j, over m samples a_j ~ pi(.|s):
      exp: f = min(exp(A / beta), cap); binary: f = 1[A > 0]; all: f = 1, which is behaviour cloning.
    - critic: categorical (C51); cross-entropy to the projection of r + gamma d Z'(s', a'), with a' ~ pi'(.|s') and the
      target networks Z', pi', hard copies made every `target_period` steps. Or scalar: half the squared error of the
      mean, as in Acme's CRR on JAX.

    Only logged actions are imitated, so the critic's errors about unseen actions do little harm.

    Deviations: the policy and the critic are feed-forward and take one standardised vector; the atoms span
    [0, 1 / (1 - gamma)], all that rewards in [0, 1] can give.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    critic: CriticConfig = dataclasses.field(default_factory=CriticConfig)
    policy_learning_rate: float = 3e-4  # of Adam; our choice. Acme: 1e-4 (TensorFlow), 3e-4 (JAX)
    critic_learning_rate: float = 3e-4  # of Adam; likewise
    max_gradient_norm: float = 40.0  # of each network; Acme
    gamma: float = 0.99  # discount a step; paper
    target_period: int = 100  # steps; Acme
    samples: int = 4  # m, actions sampled to estimate the advantage; paper
    advantage: AdvantageMode = AdvantageMode.MEAN
    weight: WeightMode = WeightMode.EXP  # the safest on hard tasks; binary is greedier
    beta: float = 1.0  # temperature of exp, in units of the return; paper
    cap: float = 20.0  # largest weight of exp; paper


@dataclasses.dataclass(frozen=True)
class D4pgConfig:
    """D4PG: act as the critic finds best.

    Barth-Maron et al., *Distributed Distributional Deterministic Policy Gradients*, ICLR 2018 (arXiv 1804.08617), on
    logged data alone: no noise, no actors, batches drawn uniformly. On transitions (s, a, R, D, s') that reach n steps
    ahead:

    - critic: categorical (C51); cross-entropy to the projection of R + gamma D Z'(s', pi'(s')), with target networks
      Z', pi', hard copies made every `target_period` steps.
    - policy: deterministic; follows dQ(s, a)/da at a = pi(s), clipped row by row.

    Nothing ties the policy to the logged actions: where the critic is wrong about others, the policy goes there. It
    needs broad data; of a few good demonstrations it learns nothing.

    Deviations: the policy's gradient is taken where the transition begins, as in the paper (Acme: where it ends); the
    atoms span [0, 1 / (1 - gamma)], all that rewards in [0, 1] can give.
    """

    layer_sizes: tuple[int, ...] = (256, 256, 256)  # of the policy; Acme
    critic: CriticConfig = dataclasses.field(default_factory=CriticConfig)
    policy_learning_rate: float = 1e-4  # of Adam; Acme
    critic_learning_rate: float = 1e-4  # of Adam; Acme
    max_gradient_norm: float = 40.0  # of each network; Acme
    max_action_gradient_norm: float = 1.0  # of dQ/da in one state; Acme
    gamma: float = 0.99  # discount a step; Acme
    n_step: int = 5  # steps that a transition reaches ahead; Acme
    target_period: int = 100  # steps; Acme


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training from logged data."""

    name: ClassVar[str]  # of the method
    store: Path  # folder of the store
    out: Path  # run folder; a run that was stopped goes on from its last checkpoint
    task: str  # the task to learn, e.g. lift_green
    query: str = ""  # which episodes, e.g. "split=train robot=sim_sawyer"; empty: all
    rewards: str = "true"  # true, none, sketch, or model:<folder or id of a reward model>
    observations: ObservationPreset = ObservationPreset.PROPRIO  # which observations the policy gets
    without: tuple[str, ...] = ()  # of these, none whose name begins so: noisy sensors get learned by heart
    task_share: float = 0.25  # of each batch from the task's own episodes, as in the sketching paper (recalled)
    batch_size: int = 256  # transitions; RL Unplugged
    steps: int = 10_000  # updates
    seed: int = 0
    fused: int = 100  # updates a call, and a line of metrics: about a second of work
    checkpoint_every: int = 1_000  # steps; some ten seconds of work are lost at most
    snapshot_every: int = 5_000  # steps; offline agents often get worse again, so keep several policies

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers that cannot work together."""
        for name in ("checkpoint_every", "snapshot_every"):
            if getattr(self, name) % self.fused:
                raise ArmchairError(f"{name}={getattr(self, name)} is no multiple of fused={self.fused}: make it one")
        if not 0 <= self.task_share <= 1:
            raise ArmchairError(f"task_share={self.task_share} is not a share: give a number in [0, 1]")


@dataclasses.dataclass(frozen=True)
class BcTraining(TrainConfig):
    """Behaviour cloning from logged data."""

    name: ClassVar[str] = "bc"
    rewards: str = "none"  # not used
    method: BcConfig = dataclasses.field(default_factory=BcConfig)


@dataclasses.dataclass(frozen=True)
class CrrTraining(TrainConfig):
    """Critic-regularised regression from logged data."""

    name: ClassVar[str] = "crr"
    method: CrrConfig = dataclasses.field(default_factory=CrrConfig)


@dataclasses.dataclass(frozen=True)
class D4pgTraining(TrainConfig):
    """Deterministic policy gradients from logged data."""

    name: ClassVar[str] = "d4pg"
    method: D4pgConfig = dataclasses.field(default_factory=D4pgConfig)


Training = BcTraining | CrrTraining | D4pgTraining
"""Any of them."""

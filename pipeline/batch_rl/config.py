"""Every option of the offline learners and their trainer, with its default and where that comes from.

No TensorFlow here: the command line is made from these classes.
"""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from datasets.errors import ArmchairError
from datasets.presets import ObservationPreset
from pipeline.config import EncoderConfig


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
    # Two critics, of which the lower one counts (Fujimoto et al. 2018, arXiv 1802.09477): less overestimation.
    twin: bool = False
    # Of a critic of the mean, in (0, 1): above 0.5, values below their targets count more, those above less.
    expectile: float = 0.5

    def __post_init__(self) -> None:
        """Raises ArmchairError for an expectile that is none, or of a distribution."""
        if not 0 < self.expectile < 1:
            raise ArmchairError(f"expectile={self.expectile} must lie between 0 and 1")
        if self.distributional and self.expectile != 0.5:
            raise ArmchairError("an expectile is of a critic of the mean: add --method.critic.no-distributional")


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """A memory behind the trunk of each network, for robots that do not see everything in one frame.

    Batches then consist of stretches of episodes, each begun with an empty memory.
    """

    size: int = 0  # cells of the LSTM; 0: none, and batches consist of single transitions
    sequence: int = 20  # transitions of a stretch: two seconds at 10 Hz; our choice
    # Whether target networks see a stretch from its first observation on, or, as in Acme's recurrent CRR, from the
    # second one, so that what they make of a transition's end looks no further back than what is learned of its start.
    # Where one frame tells what none of the following ones does, only the first is right.
    target_sees_all: bool = False

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers that mean nothing."""
        if self.size < 0 or self.sequence < 1:
            raise ArmchairError(
                f"a memory of size={self.size} over sequence={self.sequence} is none: give 0 or more, and at least 1"
            )


SEES_ALL = MemoryConfig(target_sees_all=True)
"""For estimates of what a policy is worth."""
SMALL_ENCODER = EncoderConfig((8, 16, 32), blocks=1)
"""A quarter of the reward model's cost: a learner looks at each picture some hundred times."""


@dataclasses.dataclass(frozen=True)
class EyeConfig:
    """How pictures are looked at, where observations have some: `--observations pixels`."""

    # One a camera, shared by policy and critic, and taught by the critic alone (Acme); of BC, by the policy.
    encoder: EncoderConfig = SMALL_ENCODER
    image_size: tuple[int, int] = (64, 64)  # pixels (H, W), to which pictures are resized; as RL Unplugged's
    shift: int = 4  # pixels by which each picture is shifted at random; Yarats et al. 2021 (DrQ), of 84


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """What the networks of all agents have in common."""

    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    eye: EyeConfig = dataclasses.field(default_factory=EyeConfig)


SCALAR_TWINS = CriticConfig(distributional=False, twin=True)
"""What TD3 brought, and most offline methods since use."""


@dataclasses.dataclass(frozen=True)
class ValueConfig(AgentConfig):
    """What everything with a critic has in common."""

    critic: CriticConfig = dataclasses.field(default_factory=CriticConfig)
    critic_learning_rate: float = 3e-4  # of Adam; our choice. Acme: 1e-4 (TensorFlow), 3e-4 (JAX)
    max_gradient_norm: float = 40.0  # of each network; Acme
    gamma: float = 0.99  # discount a step; in all of the papers
    target_period: int = 100  # steps between two updates of the target networks; Acme
    target_rate: float = 1.0  # how far they then go towards the weights: 1 copies them

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers that mean nothing."""
        if self.target_period < 1:
            raise ArmchairError(f"target_period={self.target_period} is counted in steps: give at least 1")
        if not 0 < self.target_rate <= 1:
            raise ArmchairError(f"target_rate={self.target_rate} must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig(ValueConfig):
    """What methods that train a policy beside a critic have in common."""

    policy_learning_rate: float = 3e-4  # of Adam; our choice, as the critic's
    n_step: int = 1  # steps that a transition reaches ahead

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers that mean nothing."""
        super().__post_init__()
        if self.n_step < 1:
            raise ArmchairError(f"n_step={self.n_step} is counted in steps: give at least 1")


@dataclasses.dataclass(frozen=True)
class BcConfig(AgentConfig):
    """Behaviour cloning: maximise the likelihood of the logged actions, whoever took them.

    Minimises E[-log pi(a|s)] over the data. The policy network, and so the density, is CRR's: the two differ in the
    weights of the actions alone.

    Filtered, it clones good episodes alone, and rewards tell which: those that ended well by `success_above`, and of
    these the `best` by their return, the undiscounted sum of rewards; of equal ones, those stored first. The latter is
    %BC of Chen et al., *Decision Transformer*, NeurIPS 2021 (arXiv 2106.01345), which counts steps, not episodes.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    learning_rate: float = 3e-4  # of Adam; our choice
    max_gradient_norm: float = 40.0  # as for CRR
    best: float = 1.0  # share of the episodes that is cloned; 1: all
    # Clone the episodes of which one of the last ten rewards (a second, at 10 Hz) is higher; None: whatever their end.
    # 0.5 is what the reports on reward models call solved.
    success_above: float | None = None

    def __post_init__(self) -> None:
        """Raises ArmchairError for a share that is none."""
        if not 0 < self.best <= 1:
            raise ArmchairError(f"best={self.best} is no share of the episodes: give a number above 0, at most 1")

    @property
    def is_filtered(self) -> bool:
        """Whether rewards decide what is cloned."""
        return self.best < 1 or self.success_above is not None


@dataclasses.dataclass(frozen=True)
class CriticWeightedConfig:
    """Whether a trained policy acts by itself, or the critic chooses among actions that it suggests."""

    samples: int = 0  # actions to choose among, say 16 (Acme); 0: the mean of the most probable component it is
    beta: float = 1.0  # temperature of the choice, in units of the return; Acme

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers that mean nothing."""
        if self.samples < 0 or self.beta <= 0:
            raise ArmchairError(
                f"samples={self.samples} and beta={self.beta:g} choose nothing: give 0 or more, above 0"
            )


@dataclasses.dataclass(frozen=True)
class CrrConfig(ActorCriticConfig):
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

    Kang et al., *Improving and Benchmarking Offline Reinforcement Learning Algorithms* (arXiv 2306.00972) found better
    numbers for D4RL's tasks, "CRR+": `--method.critic.no-distributional --method.critic.twin
    --method.critic.expectile 0.7 --method.samples 50 --method.target-period 1 --method.target-rate 0.005
    --method.policy-learning-rate 1e-4`. Layer norm is in both networks anyway.

    Deviations: the networks are smaller; the atoms span [0, 1 / (1 - gamma)], all that rewards in [0, 1] can give.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    samples: int = 4  # m, actions sampled to estimate the advantage; paper
    advantage: AdvantageMode = AdvantageMode.MEAN
    weight: WeightMode = WeightMode.EXP  # the safest on hard tasks; binary is greedier
    beta: float = 1.0  # temperature of exp, in units of the return; paper
    cap: float = 20.0  # largest weight of exp; paper
    at_test: CriticWeightedConfig = dataclasses.field(default_factory=CriticWeightedConfig)


@dataclasses.dataclass(frozen=True)
class D4pgConfig(ActorCriticConfig):
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
    policy_learning_rate: float = 1e-4  # of Adam; Acme
    critic_learning_rate: float = 1e-4  # of Adam; Acme
    max_action_gradient_norm: float = 1.0  # of dQ/da in one state; Acme
    n_step: int = 5  # steps that a transition reaches ahead; Acme


@dataclasses.dataclass(frozen=True)
class Td3BcConfig(ActorCriticConfig):
    """TD3+BC: act as the critic finds best, near the logged actions.

    Fujimoto and Gu, *A Minimalist Approach to Offline Reinforcement Learning*, NeurIPS 2021 (arXiv 2106.06860). On
    transitions (s, a, r, d, s'), with actions in [-1, 1]:

    - critic: two, of the mean return; squared error to r + gamma d min Q'(s', a'), where a' is the target policy's
      action with noise, which is clipped, and so is the sum.
    - policy: deterministic; minimise E[-lambda Q(s, pi(s)) + |pi(s) - a|^2 / A], where lambda = alpha / mean |Q| over
      the batch, without a gradient. It and the targets are updated every `target_period` steps.

    Deviations: the policy follows the lower critic, not the first one; networks have a layer norm, as everywhere here.
    """

    layer_sizes: tuple[int, ...] = (256, 256, 256)  # of the policy; as for the others. Paper: two layers
    critic: CriticConfig = SCALAR_TWINS
    alpha: float = 2.5  # weight of the value beside the likeness; paper
    noise: float = 0.2  # deviation of the target action's noise, in units of half the action range; TD3
    noise_clip: float = 0.5  # its largest size; TD3
    target_period: int = 2  # steps; TD3
    target_rate: float = 0.005  # TD3


@dataclasses.dataclass(frozen=True)
class IqlConfig(ActorCriticConfig):
    """IQL: imitate the logged actions that are better than most of the data's; never ask for the value of others.

    Kostrikov et al., *Offline Reinforcement Learning with Implicit Q-Learning*, ICLR 2022 (arXiv 2110.06169). On
    transitions (s, a, r, d, s'):

    - state value V: expectile regression (level `expectile`) to min Q'(s, a); towards 1 it becomes the best of all.
    - critic: two, of the mean return; squared error to r + gamma d V(s').
    - policy: minimise E[-f log pi(a|s)], f = min(exp((min Q'(s, a) - V(s)) / beta), cap).

    Deviations: a mixture of Gaussians, as CRR's, where the paper has one; all three updates start from the networks as
    they were before the step.
    """

    policy: PolicyConfig = dataclasses.field(default_factory=PolicyConfig)
    critic: CriticConfig = SCALAR_TWINS
    expectile: float = 0.7  # of the state value; paper, for locomotion. Long ways to a goal: 0.9
    beta: float = 1 / 3  # temperature, in units of the return; paper, for locomotion (there its inverse)
    cap: float = 100.0  # largest weight; paper
    target_period: int = 1  # steps; paper
    target_rate: float = 0.005  # paper

    def __post_init__(self) -> None:
        """Raises ArmchairError for a distributional critic: a state's value is a number here."""
        super().__post_init__()
        if self.critic.distributional:
            raise ArmchairError("IQL's critic predicts the mean return: add --method.critic.no-distributional")


@dataclasses.dataclass(frozen=True)
class FqeConfig(ValueConfig):
    """Fitted Q evaluation: the value of a fixed policy, from data of others.

    Le et al., *Batch Policy Learning under Constraints*, ICML 2019 (arXiv 1903.08738); Paine et al., *Hyperparameter
    Selection for Offline Reinforcement Learning* (arXiv 2007.09055), choose policies by it without a robot. On
    transitions (s, a, r, d, s') of the data, with the policy pi that is judged:

    - critic: categorical (C51) or scalar, as in CRR; its target is r + gamma d Q'(s', pi(s')).

    The policy's worth is the mean of Q(s, pi(s)) over the first states of the episodes.
    """

    memory: MemoryConfig = SEES_ALL  # as a policy is judged from the first frames of episodes on
    target_period: int = 25  # steps; as often as what `SelectConfig.steps` says of them asks for


class Criterion(enum.StrEnum):
    """What policies are ranked by."""

    VALUE = "value"  # the return that fitted Q evaluation promises
    PREDICTED = "predicted"  # the return of their own recorded episodes, by a reward model


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """A ranking of policies from logged data alone."""

    runs: tuple[Path, ...]  # run folders, of which every snapshot is ranked, or folders of policies
    store: Path  # folder of the store
    task: str  # the task that is rewarded, e.g. lift_green
    query: str = ""  # episodes to judge by; empty: all
    rewards: str = "true"  # true, sketch, or model:<folder or id of a reward model>
    by: Criterion = Criterion.VALUE  # predicted: the return of recorded episodes of the policies, by the reward model
    batch_size: int = 256  # transitions; as in training
    steps: int = 10_000  # updates for each policy: after 400 targets, 0.99^400 = 2 % of the first guess is left
    seed: int = 0
    method: FqeConfig = dataclasses.field(default_factory=FqeConfig)


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
    demonstrations: str = ""  # a query, e.g. "tag=demonstration": episodes to learn from besides those of `query`
    demonstration_share: float = 0.0  # of each batch from these, as R2D3's agents have it, for rewards that are rare
    batch_size: int = 256  # transitions; RL Unplugged. With a memory, stretches of them: 64 do
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
        for name in ("task_share", "demonstration_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ArmchairError(f"{name}={getattr(self, name)} is not a share: give a number in [0, 1]")
        if self.task_share + self.demonstration_share > 1:
            raise ArmchairError(
                f"task_share={self.task_share} and demonstration_share={self.demonstration_share} are more than a "
                "whole batch: lower one"
            )
        if bool(self.demonstrations) != bool(self.demonstration_share):
            raise ArmchairError(
                f"demonstrations={self.demonstrations!r} with demonstration_share={self.demonstration_share}: give "
                "both, or neither"
            )


@dataclasses.dataclass(frozen=True)
class BcTraining(TrainConfig):
    """Behaviour cloning from logged data."""

    name: ClassVar[str] = "bc"
    rewards: str = "none"  # used only if it is filtered
    method: BcConfig = dataclasses.field(default_factory=BcConfig)

    def __post_init__(self) -> None:
        """Raises ArmchairError for numbers that cannot work together, or a filter without rewards."""
        super().__post_init__()
        if self.method.is_filtered and self.rewards == "none":
            raise ArmchairError(
                "only rewards tell which episodes are good: add --rewards true, sketch or model:<id>, or leave out "
                "--method.best and --method.success-above"
            )


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


@dataclasses.dataclass(frozen=True)
class Td3BcTraining(TrainConfig):
    """TD3 with behaviour cloning from logged data."""

    name: ClassVar[str] = "td3_bc"
    method: Td3BcConfig = dataclasses.field(default_factory=Td3BcConfig)


@dataclasses.dataclass(frozen=True)
class IqlTraining(TrainConfig):
    """Implicit Q-learning from logged data."""

    name: ClassVar[str] = "iql"
    method: IqlConfig = dataclasses.field(default_factory=IqlConfig)


Method = BcConfig | CrrConfig | D4pgConfig | Td3BcConfig | IqlConfig
"""The config of a learner of policies."""
Training = BcTraining | CrrTraining | D4pgTraining | Td3BcTraining | IqlTraining
"""Any of them."""
TRAININGS: Mapping[type, type[Training]] = {
    BcConfig: BcTraining, CrrConfig: CrrTraining, D4pgConfig: D4pgTraining, Td3BcConfig: Td3BcTraining,
    IqlConfig: IqlTraining,
}  # fmt: skip
"""The config of a method -> that of its training."""

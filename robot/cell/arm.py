"""From actions to joint velocities: resolved-rate control of the pinch point (between the fingertips).

An action is float[7] in [-1, 1]: the pinch point's linear and angular velocity in the base frame, as fractions of
`schema.MAX_LINEAR` and `schema.MAX_ANGULAR`, and the speed of the gripper (+1 closes). Several times a control step the
twist is turned into joint velocities by damped least squares, with the redundant degree of freedom drawn to a
comfortable posture.
"""

import mujoco
import numpy as np

from datasets import schema

STROKE = 0.085  # m between the pads when open

UPDATES = 2  # joint velocity targets a control step: 20 Hz keep the pinch point on its line to a millimetre
DAMPING = 1e-3  # of the pseudo-inverse; bounds joint velocities near singularities
POSTURE_GAIN = 0.5  # 1/s, towards HOME in the null space
LEAD = 0.15  # rad that a joint's target may run ahead (usually some 0.1): an arm that pushes does not wind up
WALL_TIME = 0.2  # s: nearer to the workspace's edge than this, the arm slows down; twice the servos' lag

# The pinch point's box in the base frame, m: over the basket, never so low that the finger pads (18 mm from
# centre to edge) touch the floor, where friction would block the gripper, nor so high that the elbow is stretched.
WORKSPACE_LOW = np.array([0.43, -0.17, 0.021])
WORKSPACE_HIGH = np.array([0.77, 0.17, 0.30])

# rad: elbow up, gripper 22 cm over the basket's middle and pointing down
HOME = np.array([-0.0933, -1.1393, -0.2457, 1.5249, 0.1094, 1.1987, -1.7534])
DOWN = np.diag([1.0, -1.0, -1.0])  # orientation of the pinch frame: z points down, the fingers open along x

_JOINTS = 7


class Arm:
    """The arm and gripper of one simulation.

    Arm joints are the model's first seven positions, velocities and actuators, the gripper is its last actuator.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData):
        self._model, self._data = model, data
        site = model.site("pinch").id
        self._site = site
        self._jacobian = np.zeros((6, model.nv))
        self._arm_jacobian = self._jacobian[:, :_JOINTS]  # [6, 7], a view
        self._damping = DAMPING * np.eye(6)
        self._max_velocity = model.actuator_ctrlrange[:_JOINTS, 1].copy()
        self._finger_closed = float(model.actuator_ctrlrange[_JOINTS, 1])
        self._substeps = round(1 / (schema.CONTROL_RATE_HZ * UPDATES * model.opt.timestep))
        self._twist = np.zeros(6)
        # Views into the simulation's memory: always current, free to read.
        self.angle = data.qpos[:_JOINTS]
        self.velocity = data.qvel[:_JOINTS]
        self.torque = data.qfrc_actuator[:_JOINTS]
        self.pinch = data.site_xpos[site]
        self.pinch_matrix = data.site_xmat[site]  # [9], row-major
        self._control = data.ctrl
        self._target = data.act[:_JOINTS]  # joint angles that the servos hold: the integral of their controls

    @property
    def opening(self) -> float:
        """Distance between the finger pads, m."""
        return STROKE - 2 * float(self._data.qpos[_JOINTS])

    @property
    def command(self) -> float:
        """Commanded distance between the finger pads, m."""
        return STROKE - 2 * float(self._control[_JOINTS])

    @property
    def grasp(self) -> bool:
        """Whether the gripper holds something: it pushes (more than 5 N) and yet is not closed."""
        return abs(self._data.actuator_force[_JOINTS]) > 5 and self._data.qpos[_JOINTS] < self._finger_closed - 0.002

    def pose(self, out: np.ndarray) -> None:
        """Writes the pinch point's position and quaternion (wxyz, in the hemisphere of `DOWN`) into out[7]."""
        out[:3] = self.pinch
        quaternion = out[3:]
        mujoco.mju_mat2Quat(quaternion, self.pinch_matrix)
        if quaternion[1] < 0:  # w is near 0 for a gripper that points down: its sign would flicker
            quaternion *= -1

    def tool_velocity(self) -> np.ndarray:
        """The pinch point's linear and angular velocity in its own frame, float64[6] in m/s and rad/s."""
        twist = self._arm_jacobian @ self.velocity
        return (twist.reshape(2, 3) @ self.pinch_matrix.reshape(3, 3)).reshape(6)

    def advance(self, action: np.ndarray) -> None:
        """Simulates one control step.

        Args:
          action: float64[7], within [-1, 1].
        """
        model, data, control, twist = self._model, self._data, self._control, self._twist
        linear = action[:3] * schema.MAX_LINEAR
        twist[3:] = action[3:6] * schema.MAX_ANGULAR
        closed = float(control[_JOINTS])
        closing = float(action[6]) * schema.MAX_GRIPPER / 2 / (schema.CONTROL_RATE_HZ * UPDATES)
        for _ in range(UPDATES):
            slowest = (WORKSPACE_LOW - self.pinch) / WALL_TIME
            fastest = (WORKSPACE_HIGH - self.pinch) / WALL_TIME
            np.maximum(np.minimum(linear, fastest), slowest, out=twist[:3])
            control[:_JOINTS] = self._joint_velocity(twist)
            np.minimum(np.maximum(self._target, self.angle - LEAD), self.angle + LEAD, out=self._target)
            closed = min(max(closed + closing, 0.0), self._finger_closed)
            control[_JOINTS] = closed
            # step2 + ... + step1 instead of step: positions and Jacobians then belong to the present state.
            mujoco.mj_step2(model, data)
            mujoco.mj_step(model, data, self._substeps - 1)
            mujoco.mj_step1(model, data)

    def _joint_velocity(self, twist: np.ndarray) -> np.ndarray:
        """Joint velocities, float64[7] within their limits, that give the pinch point a twist."""
        jacobian = self._arm_jacobian
        self._update_jacobian()
        posture = POSTURE_GAIN * (HOME - self.angle)
        velocity = posture + self._solve(twist - jacobian @ posture)
        excess = np.abs(velocity / self._max_velocity).max()
        return velocity / excess if excess > 1 else velocity

    def _update_jacobian(self) -> None:
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)

    def _solve(self, twist: np.ndarray) -> np.ndarray:
        """Damped least squares: J^T (J J^T + damping)^-1 twist."""
        jacobian = self._arm_jacobian
        return jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + self._damping, twist)

    def place(self, target: np.ndarray) -> None:
        """Puts the gripper, open and pointing down, at a position (float[3], m), by inverse kinematics from home."""
        model, data = self._model, self._data
        low, high = model.jnt_range[:_JOINTS].T
        self.angle[:] = HOME
        for _ in range(200):  # some ten are enough from home
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            turn = DOWN @ self.pinch_matrix.reshape(3, 3).T
            axis = (turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1])
            error = np.concatenate([target - self.pinch, 0.5 * np.array(axis)])
            size = np.linalg.norm(error)
            if size < 1e-4:
                break
            self._update_jacobian()
            move = self._solve(error * min(1, 0.3 / size))  # at most 0.3 m or rad at once
            self.angle[:] = np.clip(self.angle + move, low, high)
        self._target[:] = self.angle

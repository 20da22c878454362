"""Rotations of a gripper, in plain numbers: NumPy takes ten times as long with so few."""

import math

Vector = list[float]


def rotate(quaternion: Vector, rotation: Vector) -> Vector:
    """A unit quaternion (wxyz) after a rotation vector (rad) in the base frame."""
    angle = math.hypot(*rotation)
    half = math.sin(angle / 2) / angle if angle > 1e-9 else 0.5
    w, (x, y, z) = math.cos(angle / 2), [part * half for part in rotation]
    a, b, c, d = quaternion
    return [w * a - x * b - y * c - z * d, w * b + x * a + y * d - z * c, w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a]  # fmt: skip


def tilt_and_turn(quaternion: Vector) -> tuple[float, Vector, float, Vector]:
    """How far a gripper is turned away from pointing straight down with fingers that open along x.

    The rotation from there is a turn about the vertical, then a tilt about a horizontal axis (a twist and a swing).

    Args:
      quaternion: wxyz, of the pinch frame in the base frame.

    Returns:
      The tilt in [0, pi] rad, the vector whose product with an angular velocity in the base frame is its rate, the turn
      in [-pi, pi] rad, and the vector for its rate.
    """
    w, x, y, z = quaternion[1], -quaternion[0], -quaternion[3], quaternion[2]  # times the inverse of (0, 1, 0, 0)
    up_x, up_y = 2 * (x * z + w * y), 2 * (y * z - w * x)  # where the vertical is tilted to
    sine = math.hypot(up_x, up_y)
    tilt = math.atan2(sine, 1 - 2 * (x * x + y * y))
    tilting = [-up_y / sine, up_x / sine, 0.0] if sine > 1e-9 else [0.0, 0.0, 0.0]
    turn = math.remainder(2 * math.atan2(z, w), 2 * math.pi)
    twist = max(w * w + z * z, 1e-9)
    return tilt, tilting, turn, [(w * y + z * x) / twist, (z * y - w * x) / twist, 1.0]

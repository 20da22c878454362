"""The victim of `test_network.py`: an arm whose network cable is pulled in mid-motion, and plugged in again later.

    unshare --map-root-user --net python pulled_cable.py FOLDER

It must run in a network of its own. The controller gets another one, and a switch between them; nothing that either
sends arrives once the cable to the switch is out, and nobody is told, as in a laboratory. Prints JSON of what happened.
"""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from datasets.errors import ArmchairError
from robot.record import record
from robot.safety import SafeEnvironment
from tests.robot.drivers.franka_server import SAFETY, controller, robot_at

OURS, THEIRS = "10.0.0.1", "10.0.0.2"
LOG = "controller.log"
STEPS = 15  # before the cable is pulled
FORWARD = np.array([0.3, 0, 0, 0, 0, 0, 0], np.float32)  # 45 mm/s


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def lay_cable(controller_pid: int) -> None:
    there = f"nsenter --target {controller_pid} --net"
    for command in (
        "ip link set lo up",
        "ip link add switch type bridge",
        f"ip addr add {OURS}/24 dev switch",
        "ip link set switch up",
        f"ip link add cable type veth peer name far netns {controller_pid}",
        "ip link set cable master switch up",
        f"{there} ip link set lo up",
        f"{there} ip addr add {THEIRS}/24 dev far",
        f"{there} ip link set far up",
    ):
        run(command)
    time.sleep(2)  # Linux looks for links that have come up only once a second


def refused(what) -> str:
    """How it is refused, in words; empty if it is not."""
    try:
        what()
    except ArmchairError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def drive_for_ever(env) -> None:
    while True:
        env.step(FORWARD)


def main(folder: Path) -> None:
    told: dict[str, object] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            # The real one knows no way to leave its constraints out.
            controller(folder / LOG, "--enforce-comm-constraints", host="0.0.0.0", within=("unshare", "--net"))
        )
        lay_cable(server.pid)
        arm = SafeEnvironment(robot_at(THEIRS, time_limit=1000), SAFETY)
        env = stack.enter_context(record(arm, folder / "log", "franka"))
        env.reset()
        for _ in range(STEPS):
            env.step(FORWARD)
        run("ip link set cable down")
        told["pulled"] = time.monotonic()
        told["error"] = refused(lambda: drive_for_ever(env))
        told["noticed"] = time.monotonic()
        time.sleep(2)
        told["reset without the cable"] = refused(env.reset)
        told["clear without the cable"] = refused(lambda: env.clear("ada"))
        run("ip link set cable up")
        time.sleep(2)
        told["reset with the cable"] = refused(env.reset)
        told["cleared"] = time.monotonic()
        env.clear("ada")
        told["begins"] = env.reset().first()
        told["goes on"] = not any(env.step(FORWARD).last() for _ in range(STEPS))
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

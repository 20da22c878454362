"""`franka_sim.run_server` at one address, which also tells where its arm is: run by the controller's own interpreter.

    python watched_controller.py HOST PLACES [the server's options]

By itself the server listens at every address of the machine. And it waits 1 ms for the client's answer, as the real one
does, which takes a machine that does nothing else; here it waits longer, and its time goes on so much slower.

A line in PLACES for each 5 ms of the simulation: s of the machine's monotonic clock, s simulated, m of the flange's
place.
"""

import functools
import sys
import time
from pathlib import Path

import franka_sim
from franka_sim import FrankaSimServer, run_server
from franka_sim.mujoco_franka_sim import MujocoFrankaSim

EVERY = 5  # simulated milliseconds
PATIENCE = 0.01  # s; after 20 answers that did not come the arm must have stopped, within the dead man's time of 0.3 s


def watch(places):
    publish = MujocoFrankaSim._read_and_publish_state

    def published(self):
        publish(self)
        if round(1000 * self.data.time) % EVERY == 0:
            x, y, z = self.ee_pose()[:3, 3]
            places.write(f"{time.monotonic():.4f} {self.data.time:.3f} {x:.6f} {y:.6f} {z:.6f}\n")

    MujocoFrankaSim._read_and_publish_state = published


def be_patient():
    wait = FrankaSimServer._drain_gate
    FrankaSimServer._DRAIN_GATE_TIMEOUT = PATIENCE
    FrankaSimServer._drain_gate = lambda self, answer_deadline=0.0: wait(self, answer_deadline + PATIENCE)


if __name__ == "__main__":
    be_patient()
    franka_sim.FrankaSimServer = functools.partial(FrankaSimServer, sys.argv.pop(1))
    with Path(sys.argv.pop(1)).open("w", buffering=1) as places:  # a line at once
        watch(places)
        run_server.main()

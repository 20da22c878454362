"""`franka_sim.run_server` at one address, which also tells where its arm is: run by the controller's own interpreter.

    python watched_controller.py HOST PLACES [the server's options]

By itself the server listens at every address of the machine. And it waits 1 ms for the client's answer, as the real one
does, which takes a machine that does nothing else; here it waits longer. Its arm would move on meanwhile, which no real
one does: here it moves 1 ms for each state that the client is told, and so the time of both goes on so much slower.

A line in PLACES for each 5 ms of the simulation: s of the machine's monotonic clock, s simulated, m of the flange's
place.
"""

import functools
import sys
import threading
import time
from pathlib import Path

import franka_sim
from franka_sim import FrankaSimServer, run_server
from franka_sim.mujoco_franka_sim import MujocoFrankaSim

EVERY = 5  # simulated milliseconds
PATIENCE = 0.05  # s for an answer; after 20 that did not come in a row, the controller stops its arm


def watch(places):
    publish = MujocoFrankaSim._read_and_publish_state

    def published(self):
        publish(self)
        if round(1000 * self.data.time) % EVERY == 0:
            x, y, z = self.ee_pose()[:3, 3]
            places.write(f"{time.monotonic():.4f} {self.data.time:.3f} {x:.6f} {y:.6f} {z:.6f}\n")

    MujocoFrankaSim._read_and_publish_state = published


def keep_in_step():
    """Each state that is told takes the arm 1 ms further; as long as nobody is told any, it goes on by itself."""
    wait, told = FrankaSimServer._drain_gate, threading.Semaphore(0)

    def waited(self, answer_deadline=0.0):  # just before a state is sent
        try:
            return wait(self, answer_deadline + PATIENCE)
        finally:
            told.release()

    def simulate(self):
        alone = True
        while self.running:
            alone = not told.acquire(timeout=0.001 if alone else 2 * PATIENCE)
            self.step()

    FrankaSimServer._DRAIN_GATE_TIMEOUT = PATIENCE
    FrankaSimServer._drain_gate = waited
    MujocoFrankaSim.run_simulation = simulate


if __name__ == "__main__":
    keep_in_step()
    franka_sim.FrankaSimServer = functools.partial(FrankaSimServer, sys.argv.pop(1))
    with Path(sys.argv.pop(1)).open("w", buffering=1) as places:  # a line at once
        watch(places)
        run_server.main()

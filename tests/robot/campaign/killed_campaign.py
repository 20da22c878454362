"""The victim of `test_campaign.py`: `python killed_campaign.py OUT acting|judging` is killed in its third episode."""

import os
import signal
import sys
from pathlib import Path

from robot.drivers import fake
from robot.evaluate import compare
from tests.robot.campaign.test_campaign import RIGHT, Person, config

STEPS = 50  # of an episode


def main(out: str, moment: str) -> None:
    steps = judged = 0
    move = fake.FakeDriver.move

    def killing_move(driver, *arguments):
        nonlocal steps
        steps += 1
        if moment == "acting" and steps == 2 * STEPS + 20:
            die()
        move(driver, *arguments)

    class Judge(Person):
        def ask(self, question):
            nonlocal judged
            judged += "s" in question.answers
            if moment == "judging" and judged == 3:
                die()
            return super().ask(question)

    fake.FakeDriver.move = killing_move
    compare(config(Path(out)), [RIGHT], Judge())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])

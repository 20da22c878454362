"""Fixtures of this room."""

import pytest

from tests.robot.teleoperation.bench import Bench


@pytest.fixture
def bench(tmp_path):
    """`bench(make_env, **fields)`: a teleoperation of quick arms, see `bench.Bench`."""
    benches = []

    def make(*args, **options):
        benches.append(Bench(tmp_path / "store", *args, **options))
        return benches[-1]

    yield make
    for one in benches:
        one.teleoperation.close()

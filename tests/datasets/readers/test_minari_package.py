"""What Minari's own package writes, we read as it reads it itself; it lives in an environment of its own."""

import os
import subprocess

import numpy as np
import pytest

from datasets import validate, video
from datasets.readers.logs import open_logs
from tests import environments

REQUIREMENTS = ("minari[hdf5]==0.5.3", "gymnasium==1.2.0", "numpy==1.26.4", "pillow")
# A dictionary of a vector, a tuple and a picture; ends of each kind; and, as arrays, what Minari reads of it.
WRITES = """
import sys
import gymnasium, minari, numpy
from minari.data_collector import EpisodeBuffer

spaces = gymnasium.spaces
seen = spaces.Dict({
    "arm": spaces.Box(-9, 9, (3,), numpy.float64),
    "pair": spaces.Tuple((spaces.Discrete(5), spaces.Box(0, 1, (2, 2), numpy.float32))),
    "eye": spaces.Box(0, 255, (40, 32, 3), numpy.uint8),
})
acted = spaces.Box(-1, 1, (2,), numpy.float32)
seen.seed(0), acted.seed(0)
buffers = [
    EpisodeBuffer(
        id=n,
        seed=n + 5,
        observations={
            "arm": [seen["arm"].sample() for _ in range(length + 1)],
            "pair": tuple([space.sample() for _ in range(length + 1)] for space in seen["pair"]),
            "eye": [numpy.full((40, 32, 3), 20 * t, numpy.uint8) for t in range(length + 1)],
        },
        actions=[acted.sample() for _ in range(length)],
        rewards=[0.5 * t for t in range(length)],
        terminations=[n == 0 and t == length - 1 for t in range(length)],
        truncations=[n == 1 and t == length - 1 for t in range(length)],
        infos={"success": [t > 1 for t in range(length + 1)]},
    )
    for n, length in enumerate((4, 6, 3))
]
dataset = minari.create_dataset_from_buffers(
    "test/mixed-v0", buffers, observation_space=seen, action_space=acted, data_format="hdf5", algorithm_name="nobody",
    code_permalink="https://example.org", author="Ann", author_email="ann@example.org", description="for a test",
)
read = {}
for episode in minari.load_dataset("test/mixed-v0"):
    steps = {
        "observation/arm": episode.observations["arm"], "observation/eye": episode.observations["eye"],
        "observation/pair/_index_0": episode.observations["pair"][0],
        "observation/pair/_index_1": episode.observations["pair"][1],
        "action": episode.actions, "reward": episode.rewards, "terminated": episode.terminations,
        "success": episode.infos["success"],
    }
    read.update({f"{episode.id}/{name}": values for name, values in steps.items()})
numpy.savez(sys.argv[1], **read)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # it may have to be installed first


def test_what_minari_writes_is_read_as_minari_reads_it(tmp_path):
    python = environments.commands_of("minari", *REQUIREMENTS) / "python"
    environment = os.environ | {"MINARI_DATASETS_PATH": str(tmp_path / "datasets"), "PYTHONPATH": ""}
    subprocess.run([python, "-c", WRITES, tmp_path / "read.npz"], check=True, env=environment)
    (log,) = open_logs(tmp_path / "datasets")
    assert log.name == "minari_test_mixed_v0"
    readings = [reading for file in log.files() for reading in log.read(file)]
    with np.load(tmp_path / "read.npz") as wanted:
        for number, (reading, length) in enumerate(zip(readings, (4, 6, 3), strict=True)):
            episode, of = reading.episode, {k.partition("/")[2]: wanted[k] for k in wanted if k[0] == str(number)}
            assert reading.problems == () and not validate.validate(episode).errors
            assert episode.num_steps == length + 1 and episode.metadata.seed == number + 5
            for name in ("arm", "pair/_index_0", "pair/_index_1"):
                np.testing.assert_array_equal(episode.observation[name], of[f"observation/{name}"])
            shown = video.decode_frames(episode.observation["eye"]).astype(int)
            np.testing.assert_allclose(shown, of["observation/eye"], atol=3)
            np.testing.assert_array_equal(episode.action[:-1], of["action"])
            np.testing.assert_array_equal(episode.reward[:-1], np.float32(of["reward"]))
            np.testing.assert_array_equal(episode.extras["infos/success"], of["success"])
            assert episode.is_terminal[-1] == of["terminated"][-1] == (number == 0)

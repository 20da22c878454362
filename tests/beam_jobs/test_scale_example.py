"""The example of docs/scale.md, as it is written there."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bridge_on_a_dask_cluster(real, tmp_path):
    example = re.search(r"<!-- example: begin -->\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        example = example.replace("8786", str(probe.getsockname()[1]))  # that one may be taken here
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["bash", "-e", "-c", example], cwd=tmp_path, start_new_session=True, stdout=file, stderr=file,
            env=os.environ | {"PATH": path, "BRIDGE": str(real / "octo_bridge_debug")},
        )  # fmt: skip
    try:
        assert process.wait(850) == 0, log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # scheduler and workers stay after the last line
    store = Store.open(tmp_path / "runs" / "bridge")
    (card,) = store.models()
    assert len(store.predictions(card["model_id"])) == 25

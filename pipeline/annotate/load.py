"""Many annotators at once against a server in a process of its own: for tests and `benchmarks/sketching_load.py`."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np

from datasets.errors import ArmchairError
from datasets.store import Store

_PATIENCE_S = 60.0  # for starting, and for one answer: many times what a busy machine takes


@dataclasses.dataclass(frozen=True)
class Acknowledged:
    """A sketch that the server said is saved."""

    episode_id: str
    sequence_id: str
    user: str
    values: np.ndarray  # float32[T]
    seconds: float  # from asking to save it until the answer


@contextlib.contextmanager
def server_process(
    root: Path, task: str, annotators: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Runs `armchair sketch` on any free port; yields the process and each annotator's link, and stops it at the end.

    Raises:
      ArmchairError: if it does not start.
    """
    command = [
        sys.executable, "-m", "armchair", "sketch", "--store", os.fspath(root), "--task", task, "--port", "0",
        "--no-open-browser", "--annotators", *annotators,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        links = [process.stdout.readline().split(maxsplit=1) for _ in annotators]
        if not all(links):
            _, told = process.communicate(timeout=_PATIENCE_S)
            raise ArmchairError(f"the server of the page did not start: {told}")
        yield process, {name: words[0] for name, words in zip(annotators, links, strict=True)}
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        process.kill()
        process.communicate()


@contextlib.contextmanager
def sign_in(link: str) -> Iterator[httpx.Client]:
    """A client that has signed in by a link, as the page does; paths are relative to /api."""
    parts = urlsplit(link)
    origin = f"{parts.scheme}://{parts.netloc}"
    # verify=False: there is no certificate to verify, and loading those of the world takes a while.
    with httpx.Client(
        base_url=f"{origin}/api", headers={"origin": origin}, timeout=_PATIENCE_S, verify=False
    ) as client:
        client.post("/session", json={"token": parts.fragment.removeprefix("token=")}).raise_for_status()
        yield client


def annotate(link: str, count: int, lengths: Mapping[str, int], seed: int) -> Iterator[Acknowledged]:
    """Takes and sketches `count` episodes of the queue, one after the other, as fast as the server answers.

    Args:
      link: an annotator's.
      count: how many; fewer, if the queue has no more.
      lengths: episode id -> frames.
      seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    with sign_in(link) as client:
        user = client.get("/session").json()["user"]
        for _ in range(count):
            lease = client.post("/leases", json={})
            if lease.status_code == 404:
                return
            lease.raise_for_status()
            episode_id, lease_id = lease.json()["episode_id"], lease.json()["lease_id"]
            values = rng.random(lengths[episode_id], np.float32)
            start = time.perf_counter()
            saved = client.post("/sketches", json={"lease_id": lease_id, "values": values.tolist(), "seconds_spent": 1})
            seconds = time.perf_counter() - start
            saved.raise_for_status()
            yield Acknowledged(episode_id, saved.json()["sequence_id"], user, values, seconds)


def annotate_at_once(links: Mapping[str, str], count: int, lengths: Mapping[str, int]) -> list[Acknowledged]:
    """`annotate` by every link at the same time; what was saved, in no order."""
    with ThreadPoolExecutor(len(links)) as pool:
        lists = pool.map(lambda item: list(annotate(item[1], count, lengths, item[0])), enumerate(links.values()))
        return [saved for saved_by_one in lists for saved in saved_by_one]


def missing(store: Store, task: str, saved: Sequence[Acknowledged]) -> list[str]:
    """What of the saved sketches is not in the store exactly as it was sent: one line each."""
    there = {(s.episode_id, s.sequence_id): s for s in store.all_sketches(task)}
    problems = []
    for sketch in saved:
        found = there.get((sketch.episode_id, sketch.sequence_id))
        if found is None:
            problems.append(f"{sketch.sequence_id} of {sketch.episode_id} is lost")
        elif found.user != sketch.user or found.values.tobytes() != sketch.values.tobytes():
            problems.append(f"{sketch.sequence_id} of {sketch.episode_id} is overwritten")
    return problems

"""Speed of models that see 64x64 pictures: ours, PyTorch's and JAX's, the same architecture, in frames a second.

```
make bench-pictures                                                     # ten minutes; some GB of downloads once
python -m benchmarks.pictures --rounds 5 --out docs/results/pictures.md
```
The encoder of the reward model with one linear output: forward, backward and Adam; and inference. Then a step of CRR
from one camera and from two, with our thread settings and with TensorFlow's. In each round everybody runs once, each
time in a fresh process, forwards and backwards in turns; medians count. Needs idle cores.
"""

import dataclasses
import datetime
import os
import platform
import statistics
import sys
from pathlib import Path

import tyro

from benchmarks.learners import contestants
from benchmarks.learners.contestants import Peer
from benchmarks.learners.page import spread
from benchmarks.pictures.ours import THREADS
from datasets import files
from datasets.console import console
from datasets.errors import ArmchairError
from robot.versions import onednn

TORCH = Peer("PyTorch", "torch_encoder", (), "3.11", ("torch==2.5.1", "numpy==1.26.4"), 1.1)
JAX = Peer("JAX", "jax_encoder", (), "3.11", ("jax==0.4.38", "jaxlib==0.4.38", "numpy==1.26.4"), 1.1)
OURS = "Armchair"
WANTED = {"training": 1.1, "inference": 1.35}
"""Ours should be so many times as fast as PyTorch with channels last."""
CHANNELS_LAST = "PyTorch, channels last"
BATCH = 64

Rates = dict[str, dict[str, list[float]]]
"""Who -> what -> frames a second, one a round."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure."""

    rounds: int = 5
    """Times that everybody runs."""
    seconds: float = 5.0
    """Of each measurement."""
    out: Path | None = None
    """Page to write; by default the tables are only printed."""


def commands(seconds: float) -> dict[str, list[str | Path]]:
    """Who -> the command that measures it."""
    sizes = ["--batch", str(BATCH), "--seconds", str(seconds)]
    torch, jax = (
        [peer.environment / "bin" / "python", Path(__file__).parent / "peers" / f"{peer.script}.py"]
        for peer in (TORCH, JAX)
    )
    ours: list[str | Path] = [sys.executable, "-m", "benchmarks.pictures.ours"]
    made = {
        OURS: [*ours, "--threads", "our", *sizes],
        CHANNELS_LAST: [*torch, "--layout", "channels_last", *sizes],
        "PyTorch, channels first": [*torch, "--layout", "contiguous_format", *sizes],
        "JAX": [*jax, *sizes],
    }
    for cameras in (1, 2):
        for name in THREADS:
            made[crr(cameras, name)] = [*ours, "--threads", name, "--cameras", str(cameras), *sizes]
    return made


def crr(cameras: int, threads: str) -> str:
    """Who is measured: CRR with so many cameras."""
    return f"{cameras} camera{'s' * (cameras > 1)}, {threads} threads"


def main(options: Options) -> None:
    """Runs the benchmark.

    Raises:
      ArmchairError: if somebody fails, or the models do not have as many parameters as each other.
    """
    for peer in (TORCH, JAX):
        contestants.prepare(peer)
    load = os.getloadavg()[0]
    rates: Rates = {}
    parameters = set()
    runs = list(commands(options.seconds).items())
    for number in range(options.rounds):
        for who, command in runs if number % 2 == 0 else reversed(runs):
            told = contestants.told(command)
            parameters |= {told.pop("parameters")} if "parameters" in told else set()
            for what, rate in told.items():
                rates.setdefault(who, {}).setdefault(what, []).append(rate)
                console.print(f"round {number + 1}: {who}: {what} {rate:.0f} frames/s")
    if len(parameters) != 1:
        raise ArmchairError(f"the models differ in their parameters: {sorted(parameters)}")
    page = tables(rates)
    print(page)
    if options.out:
        files.write_atomically(options.out, f"{_preamble(options, load, int(parameters.pop()))}\n{page}")


def tables(rates: Rates) -> str:
    """Of the encoder and of CRR."""
    told = []
    for what, wanted in WANTED.items():
        told += [
            f"## Encoder: {what}", "",
            "| | frames/s (min to max) | ours is so many times as fast | wanted | fastest ten batches | ours |",
            "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for who, found in rates.items():
            if what in found and "camera" not in who:
                told.append(_row(who, what, found, rates[OURS], f"{wanted}" if who == CHANNELS_LAST else ""))
        told.append("")
    told += ["## CRR: training", "", "| | frames/s (min to max) |", "|---|---|"]
    told += [f"| {who} | {spread(found['training'])} |" for who, found in rates.items() if "camera" in who]
    return "\n".join(told) + "\n"


def _row(who: str, what: str, found: dict[str, list[float]], ours: dict[str, list[float]], wanted: str) -> str:
    fastest, our_fastest = max(found[f"{what}/fastest"]), max(ours[f"{what}/fastest"])
    ratio = f"**{statistics.median(ours[what]) / statistics.median(found[what]):.2f}**" if who != OURS else ""
    best = f"**{our_fastest / fastest:.2f}**" if who != OURS else ""
    return f"| {who} | {spread(found[what])} | {ratio} | {wanted} | {fastest:.1f} | {best} |"


def _preamble(options: Options, load: float, parameters: int) -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    return f"""\
# Speed of models that see pictures

- Command: `python -m benchmarks.pictures {" ".join(sys.argv[1:])}` (`make bench-pictures`)
- Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}; machine: {os.cpu_count()} cores ({model}), no GPU;
  load average at the start: {load:.1f}; oneDNN in ours: {onednn()}
- The reward model's default encoder and one linear output, {parameters:,} parameters on either side; frames of 64x64x3
  bytes, batch {BATCH}; medians of {options.rounds} rounds, each run a fresh process
- On a machine that does other things as well, the fastest ten batches of all rounds are nearest to what idle cores do
- {" ".join(TORCH.requirements)}, eager, as many threads as cores, fused Adam
- {" ".join(JAX.requirements)}, by hand, a batch a call
- CRR: default sizes, small encoder, batch {BATCH}; a transition has two frames a camera, before and after. Our threads
  are `pipeline.threads.for_pictures`; on two cores, `for_dense_learners` sets the same
"""


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None

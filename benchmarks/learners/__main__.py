"""Speed of offline learners: ours, as a user runs it, against other libraries, on the same data and sizes.

```
make bench-learners                                                  # half an hour; some GB of downloads once
python -m benchmarks.learners --rounds 5 --out docs/results/speed.md
```
CRR (exp, mean of 4 sampled actions), batch 256, 3x256 networks, observation 24, action 7. In each round everybody runs
once, each time in a fresh process, forwards and backwards in turns; medians count. Ours is `armchair train crr` with
its metrics, TensorBoard and checkpoints, killed and resumed once; the peers only step, and write nothing. The limit is
the speed of 256x256 matrix products, measured in the same rounds; a step's work is that of its matrix products alone.
Needs idle cores.
"""

import dataclasses
import datetime
import os
import platform
import sys
from pathlib import Path

import tyro

from benchmarks.learners import contestants, flop, page
from benchmarks.learners.page import OURS, Measured
from datasets import files
from datasets.console import console
from datasets.errors import ArmchairError
from robot.versions import onednn


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure."""

    rounds: int = 5
    """Times that everybody runs."""
    seconds: float = 10.0
    """That a peer is measured in a run."""
    out: Path | None = None
    """Page to write; by default the tables are only printed."""


def main(options: Options) -> None:
    """Runs the benchmark."""
    for peer in contestants.PEERS:
        contestants.prepare(peer)
    load = os.getloadavg()[0]
    measured = Measured()
    runs = [(critic, None) for critic in flop.ATOMS]
    runs += [(critic, peer) for peer in contestants.PEERS for critic in peer.critics]
    for number in range(options.rounds):
        measured.limits.append(contestants.run_limit(options.seconds)["gflops"])
        for critic, peer in runs if number % 2 == 0 else reversed(runs):
            if peer is None:
                told = contestants.run_ours(critic)
                measured.resumed.append(told["seconds_to_resume"])
            else:
                told = contestants.run_peer(peer, critic, options.seconds)
            who = peer.label if peer else OURS
            measured.rates.setdefault((critic, who), []).append(told["steps_per_second"])
            console.print(f"round {number + 1}: {critic} {who}: {told['steps_per_second']:.1f} steps/s")
    tables = page.tables(measured)
    print(tables)
    if options.out:
        files.write_atomically(options.out, f"{_preamble(options, load)}\n{tables}")


def _preamble(options: Options, load: float) -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    pins = "; ".join(f"{peer.label}: Python {peer.python}, {' '.join(peer.requirements)}" for peer in contestants.PEERS)
    return f"""\
# Speed of offline learners

- Command: `python -m benchmarks.learners {" ".join(sys.argv[1:])}`
- Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}; machine: {os.cpu_count()} cores ({model}), no GPU;
  load average at the start: {load:.1f}
- CRR (exp, m = 4), batch {flop.BATCH}, 3x256 networks, observation {flop.OBSERVATION}, action {flop.ACTION};
  medians of {options.rounds} rounds, each run a fresh process
- Ours: `armchair train crr` with its metrics, TensorBoard and checkpoints; oneDNN {onednn()}, as in the
  matrix products. The peers only step, and write nothing; of Acme's TensorFlow, oneDNN is as it comes
- A step's work, and so its share of the limit, counts the matrix products alone, for everybody as for ours
- {pins}
"""


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None

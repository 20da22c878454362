"""`armchair doctor`: checks the machine, the installation and, on request, a store."""

import dataclasses
import functools
import itertools
import sys
from pathlib import Path

import tyro

from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Checks this machine and this installation; each line says ok or what to do. Exit status 1: something is to do."""

    store: Path | None = None
    """Also check this store: every checksum, every index row."""
    only: tuple[str, ...] = ()
    """Make only these checks, for example `rendering`."""


def main(args: list[str]) -> None:
    """Runs the stage."""
    config = tyro.cli(DoctorConfig, args=args, prog="armchair doctor")
    from armchair import doctor

    unknown = sorted(set(config.only) - set(doctor.CHECKS))
    if unknown:
        raise ArmchairError(f"there is no check {unknown[0]!r}: choose from {', '.join(doctor.CHECKS)}")
    checks = [check for name, check in doctor.CHECKS.items() if not config.only or name in config.only]
    if config.store is not None:
        checks.append(functools.partial(doctor.store_health, config.store))
    sick = False
    for finding in itertools.chain.from_iterable(check() for check in checks):
        print(finding, flush=True)
        sick |= bool(finding.fix)
    if sick:
        sys.exit(1)

"""The cost model: every job is measured, and what is made of it for the largest logs can be calculated again."""

import re

import pytest

from benchmarks import jobs


def test_the_page_shows_its_arithmetic():
    read = {kind.name: 250_000 * kind.episodes * kind.steps for kind in jobs.KINDS}  # 250 kB a frame
    frames = {kind.name: kind.episodes * kind.steps for kind in jobs.KINDS}
    measured = {
        (kind, job): [((number + 1) * count / 1000, count, 700.0)]  # 1, 2, 3 ... ms a frame
        for kind, count in frames.items()
        for number, job in enumerate(jobs._JOBS)
    }
    page = jobs._page(jobs.Config(), measured, read)
    assert "disk, the episodes measured here 250 kB" in page and "there may be 1.49 times as much" in page
    worked = re.findall(
        r"To annotate: ([\d,]+) frames x ([\d.]+) s / 1,000 frames = ([\d,]+) core-seconds; / 3,600 =\n"
        r"([\d,]+) core-hours; / 8 cores = ([\d.]+) hours; x \$([\d.]+) = \$(\d+)\.",
        page,
    )
    assert len(worked) == len(jobs.LOGS) == 2
    for line in worked:
        count, thousand, seconds, core_hours, hours, price, dollars = (float(x.replace(",", "")) for x in line)
        assert seconds == pytest.approx(count * thousand / 1000, abs=1)
        assert core_hours == pytest.approx(seconds / 3600, abs=1)
        assert hours == pytest.approx(core_hours / 8, abs=0.2)
        assert dollars == pytest.approx(hours * price, abs=1)
        assert f"| annotate | {line[3]} | {line[4]} |" in page


@pytest.mark.slow
def test_every_job_is_measured(tmp_path):
    jobs.make(tmp_path, jobs.Kind("tiny", ((16, 16),), 3, 2, 95))
    for job in jobs._JOBS:
        seconds, written, peak = jobs.run(job, tmp_path)
        assert seconds > 0 and peak > 100, job
        assert (written > 0) == (job != "validate"), job

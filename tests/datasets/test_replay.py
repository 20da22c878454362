import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import reverb
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import feeds, replay, sequences
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.feeds import Batch, Group, TransitionFeed
from datasets.replay import ReplayConfig, Sampler, Writer
from datasets.replay_items import StepItems, StretchItems
from datasets.sequences import SequenceBatch, SequenceFeed
from tests.datasets.replay_process import ITEMS, episode

TIMEOUT = 4  # seconds
OPEN = {"min_size": 1, "samples_per_insert": 1, "tolerance": 1_000_000}  # whoever comes is served


@contextlib.contextmanager
def _process(*arguments):
    script = Path(__file__).parent / "replay_process.py"
    process = subprocess.Popen([sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def _served(items=ITEMS, **options):
    with replay.serve(ReplayConfig(items=items, **(OPEN | options)), 1, 1) as address:
        yield address


def _draw_until_it_fails(sampler, drawn):
    """Within a graph; notes when each batch came."""
    with sampler:
        draw = tf.function(lambda: sampler(tf.constant(0)))
        while True:
            draw()
            drawn.append(time.monotonic())


def _size(address):
    return reverb.Client(address).server_info(5)["items"].current_size


def _wait_for(condition, seconds=100):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _expected(items, observation, transitions):
    """Every item of an episode, by the feeds from memory."""
    found = []
    if isinstance(items, StepItems):
        transitions = feeds.n_step(transitions, items.n_step, items.gamma)
        for n in range(len(transitions)):
            feed = TransitionFeed(tf.constant(observation), transitions, [Group(np.int32([n]), 1)], 0)
            found.append({k: v.numpy()[0] for k, v in feed(tf.constant(0))._asdict().items()})
    else:
        for n in sequences.starts(transitions, items.length):
            groups = [Group(np.int32([n]), 1)]
            feed = SequenceFeed(tf.constant(observation), transitions, groups, items.length, 0)
            found.append({k: v.numpy()[:, 0] for k, v in feed(tf.constant(0))._asdict().items()})
    return found


class TestItems:
    @settings(max_examples=30, deadline=None)
    @given(
        length=st.integers(1, 8), terminal=st.booleans(),
        items=st.one_of(
            st.builds(StepItems, n_step=st.integers(1, 9), gamma=st.sampled_from([0.9, 1.0])),
            st.builds(StretchItems, length=st.integers(1, 9)),
        ),
    )  # fmt: skip
    def test_are_those_of_the_feeds_from_memory(self, length, terminal, items):
        observation, transitions = episode(length, 7, terminal)
        rows, places = items.cut(observation, transitions)
        expected = _expected(items, observation, transitions)
        assert len(places) == len(expected)
        signature = items.signature(1, 1)
        for item, wanted in zip(places, expected, strict=True):
            assert item.keys() == wanted.keys() - {"reached"} == signature.keys()
            for name, (row, place) in item.items():
                assert rows[row][place].shape == signature[name].shape and rows[row].dtype == signature[name].dtype
                np.testing.assert_array_equal(rows[row][place], wanted[name])

    @pytest.mark.parametrize(("items", "kind"), [(ITEMS, Batch), (StretchItems(length=4), SequenceBatch)])
    def test_come_back_from_the_server_to_the_bit(self, items, kind):
        episodes = [episode(9, 0, True), episode(3, 100), episode(6, 200)]
        wanted = [item for one in episodes for item in _expected(items, *one)]
        axis = 0 if kind is Batch else 1  # of the batch
        with _served(items) as address, Sampler(address, kind, 64, TIMEOUT) as sampler:
            for one in episodes:
                Writer(address, items, TIMEOUT).write(*one)
            assert _size(address) == len(wanted)
            drawn = set()
            for _ in range(8):
                batch = sampler(tf.constant(0))._asdict()
                for b in range(64):
                    item = {k: np.take(v.numpy(), b, axis if v.ndim > axis else 0) for k, v in batch.items()}
                    (n,) = [n for n, w in enumerate(wanted) if all(np.array_equal(item[k], w[k]) for k in w)]
                    drawn.add(n)
        assert drawn == set(range(len(wanted)))  # 512 draws of 18 items


class TestSampling:
    def _shares(self, **options):
        """How often each of 20 items is drawn, of which the last 5 have three times the priority; and a batch."""
        with _served(**options) as address:
            writer = Writer(address, ITEMS, TIMEOUT)
            writer.write(*episode(15))
            writer.write(*episode(5, 15), priority=3.0)
            with Sampler(address, Batch, 500, TIMEOUT) as sampler:
                drawn = [sampler.draw() for _ in range(40)]
        numbers = np.concatenate([d.batch.observation.numpy()[:, 0].astype(int) for d in drawn])
        return np.bincount(numbers, minlength=20) / len(numbers), drawn[0]

    def test_uniform(self):
        shares, drawn = self._shares()
        np.testing.assert_allclose(shares, 1 / 20, rtol=0.15)  # 1000 draws each: 3 % deviation
        np.testing.assert_allclose(drawn.weight, 1)

    @pytest.mark.parametrize("exponent", [0.5, 2])
    def test_prioritised(self, exponent):
        shares, drawn = self._shares(priority_exponent=exponent)
        likelihood = np.repeat([1.0, 3.0**exponent], [15, 5])
        likelihood /= likelihood.sum()
        np.testing.assert_allclose(shares, likelihood, rtol=0.2)  # at least 333 draws each: 5 % deviation
        numbers = drawn.batch.observation.numpy()[:, 0].astype(int)
        np.testing.assert_allclose(drawn.weight, 1 / (20 * likelihood[numbers]), rtol=1e-5)

    def test_priorities_can_be_changed_within_a_graph(self):
        with _served(priority_exponent=1) as address:
            Writer(address, ITEMS, TIMEOUT).write(*episode(20))
            with Sampler(address, Batch, 200, TIMEOUT) as sampler:

                @tf.function
                def keep_the_seventh_only():
                    drawn = sampler.draw()
                    priority = tf.where(drawn.batch.observation[:, 0] == 7, 1.0, 0.0)
                    sampler.update_priorities(drawn.key, tf.cast(priority, tf.float64))

                keep_the_seventh_only()
                for _ in range(8):  # what was on its way goes by
                    numbers = sampler(tf.constant(0)).observation.numpy()
        assert (numbers == 7).all()

    def test_the_oldest_items_make_room(self):
        with _served(size=10) as address:
            Writer(address, ITEMS, TIMEOUT).write(*episode(25))
            assert _size(address) == 10
            with Sampler(address, Batch, 100, TIMEOUT) as sampler:
                assert set(sampler(tf.constant(0)).observation.numpy()[:, 0]) == set(range(15, 25))

    def test_works_inside_a_loop_of_a_graph(self):
        with _served() as address, Sampler(address, Batch, 10, TIMEOUT) as sampler:
            Writer(address, ITEMS, TIMEOUT).write(*episode(20))

            @tf.function
            def count(batches):
                rows = tf.constant(0)
                for step in tf.range(batches):
                    rows += tf.shape(sampler(step).reward)[0]
                return rows

            assert count(tf.constant(50)) == 500


class TestRateLimiter:
    def test_a_writer_that_is_too_far_ahead_waits_and_then_says_so(self):
        with _served(min_size=10, tolerance=5, samples_per_insert=2) as address:
            with pytest.raises(ArmchairError, match="has taken nothing for 2 s.*is the learner running"):
                Writer(address, ITEMS, 2).write(*episode(100))
            assert _size(address) == 10 + 5

    def test_a_learner_that_is_too_far_ahead_waits_and_then_says_so(self):
        with _served(min_size=10, tolerance=5, samples_per_insert=2) as address:
            Writer(address, ITEMS, TIMEOUT).write(*episode(12))
            began = time.monotonic()
            with pytest.raises(ArmchairError, match="has had no data for 2 s: is a writer running"):
                _draw_until_it_fails(Sampler(address, Batch, 2, 2), drawn := [])
            assert len(drawn) == 2 + 5  # 2 items over, and 5 of tolerance, twice each, two in a batch
            assert 1.5 < time.monotonic() - began < 6

    def test_nothing_is_drawn_before_there_is_enough(self):
        with _served(min_size=10) as address:
            Writer(address, ITEMS, TIMEOUT).write(*episode(9))
            with pytest.raises(ArmchairError, match="no data"), Sampler(address, Batch, 2, 2) as sampler:
                sampler(tf.constant(0))

    @pytest.mark.slow
    def test_both_go_on_when_the_other_does(self):
        with _process("serve", 5, 5) as server:
            address = server.stdout.readline().strip()
            with _process("write", address, 300), Sampler(address, Batch, 10, timeout=60) as sampler:
                for _ in range(25):
                    sampler(tf.constant(0))
            assert _size(address) > 240


class TestDeath:
    def _draw_until(self, end, address, match):
        """Draws until the server has come to that end, and the error says so; returns when each batch was drawn."""
        Writer(address, ITEMS, TIMEOUT).write(*episode(5))
        sampler, drawn = Sampler(address, Batch, 2, TIMEOUT), []
        ending = threading.Thread(target=lambda: (_wait_for(lambda: drawn), end()))
        ending.start()
        with pytest.raises(ArmchairError, match=match):
            _draw_until_it_fails(sampler, drawn)
        ending.join()
        return drawn

    @pytest.mark.slow
    def test_of_the_server_while_a_graph_waits_for_a_batch(self):
        with _process("serve", 5, 5) as server:
            address = server.stdout.readline().strip()
            drawn = self._draw_until(server.kill, address, f"server at {address} does not answer")
            assert time.monotonic() - drawn[-1] < TIMEOUT + 1

    def test_of_the_server_in_good_order(self):
        with contextlib.ExitStack() as serving:
            address = serving.enter_context(_served())
            self._draw_until(serving.close, address, f"{address} (failed|does not answer)")

    @pytest.mark.slow
    def test_of_the_server_while_a_writer_writes(self):
        with _process("serve", 5, 5) as server:
            address = server.stdout.readline().strip()
            writer = Writer(address, ITEMS, 2)
            writer.write(*episode(5))
            server.kill()
            server.wait()
            with pytest.raises(ArmchairError, match=f"server at {address} does not answer"):
                writer.write(*episode(5))

    @pytest.mark.slow
    def test_of_a_writer_leaves_whole_items(self):
        with _process("serve", 50, 5) as server:
            address = server.stdout.readline().strip()
            with _process("write", address, 200) as writer:
                _wait_for(lambda: _size(address) == 55)  # there the limiter holds it, in the middle of its episode
                writer.kill()
                writer.wait()
            wanted = _expected(ITEMS, *episode(200))
            with Sampler(address, Batch, 10, TIMEOUT) as sampler:
                batch = sampler(tf.constant(0))
            for b, number in enumerate(batch.observation.numpy()[:, 0].astype(int)):
                for name, values in batch._asdict().items():
                    np.testing.assert_array_equal(values[b], wanted[number][name])

    def test_of_the_server_before_anything(self):
        with pytest.raises(ArmchairError, match="does not answer: start it"):
            Sampler("localhost:1", Batch, 2, 1)


class TestMistakes:
    @pytest.mark.parametrize(
        "options",
        [{"min_size": 0}, {"min_size": 2, "size": 1}, {"samples_per_insert": 0}, {"tolerance": 0},
         {"samples_per_insert": 0.1, "tolerance": 9}, {"priority_exponent": -1}],
    )  # fmt: skip
    def test_numbers_that_would_stop_everything_are_refused(self, options):
        with pytest.raises(ArmchairError, match="=-?[0-9]"):
            ReplayConfig(**options)

    def test_items_that_the_learner_does_not_take(self):
        with _served() as address, pytest.raises(SpecMismatchError, match="mask are asked for"):
            Sampler(address, SequenceBatch, 2, TIMEOUT)

    def test_a_port_that_is_taken(self):
        with _served() as address:
            again = _served(port=int(address.partition(":")[2]))
            with pytest.raises(ArmchairError, match="choose another, or 0 for any"):
                again.__enter__()

    def test_another_error_is_left_alone(self):
        with _served() as address, pytest.raises(KeyError), Sampler(address, Batch, 2, TIMEOUT):
            raise KeyError

"""Cameras through FFmpeg. There is no device here: a pipe, into which a test writes video at its pace, stands for one.

What is not seen is how FFmpeg takes pictures from a device (Video4Linux), but only that it is asked to.
"""

import contextlib
import os
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from datasets.errors import ArmchairError
from robot.drivers.base import DriverError, take
from robot.drivers.cameras import CameraConfig, VideoCamera, fitted
from robot.drivers.environment import RobotEnvironment
from robot.drivers.fake import SAFETY, FakeDriver

PERIOD = 0.02  # s between two pictures of the live camera


class Live:
    """A camera at the other end of a pipe, whose pictures are grey and grow lighter by one level each."""

    def __init__(self, path, clock=time.monotonic):
        os.mkfifo(path)
        self.device, self._clock = str(path), clock
        self.hangs = self.unplugged = False
        self.level = -1
        threading.Thread(target=self._film, daemon=True).start()

    def _film(self):
        with (
            contextlib.suppress(Exception),  # the reader may leave at any moment, which PyAV says in many ways
            open(self.device, "wb", buffering=0) as pipe,
            av.open(pipe, "w", format="nut", options={"flush_packets": "1"}) as container,
        ):
            stream = container.add_stream("rawvideo", rate=50)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1_000_000)
            while not self.unplugged:
                time.sleep(PERIOD)
                if not self.hangs:
                    self.level += 1
                    picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), self.level % 256, np.uint8))
                    picture.pts, picture.time_base = round(1e6 * self._clock()), stream.time_base
                    container.mux(stream.encode(picture))


@pytest.fixture
def live(tmp_path):
    live = Live(tmp_path / "camera.pipe")
    yield live
    live.unplugged = True


@contextlib.contextmanager
def opened(device, **config):
    with contextlib.closing(VideoCamera(CameraConfig(str(device), **config))) as camera:
        yield camera
    assert not camera._thread.is_alive()


def write_video(path, picture, codec="mjpeg", pix_fmt="yuvj420p", frames=1, change=lambda number, packet: packet):
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        packets = [p for _ in range(frames) for p in stream.encode(av.VideoFrame.from_ndarray(picture))]
        for number, packet in enumerate([*packets, *stream.encode()]):
            written = change(number, packet)
            written.stream, written.pts, written.dts = stream, number, number
            written.time_base = Fraction(1, 30)
            container.mux(written)
    return path


def read_to_the_end(path):
    with opened(path) as camera:
        while True:
            camera.read()


def wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_is_the_newest_picture_that_is_read_and_none_that_waited(live):
    with opened(live.device, size=(48, 64)) as camera:
        for wait in (1.0, 0.5, 0.1):
            time.sleep(wait)
            frame = take(camera, "wrist")
            assert 0 <= live.level - int(frame.picture[0, 0, 0]) <= 10  # of 25 and more
            assert 0 <= time.monotonic() - frame.time < 0.25


def test_reading_does_not_wait(live):
    with opened(live.device) as camera:
        start = time.monotonic()
        for _ in range(1000):
            camera.read()
        assert time.monotonic() - start < 0.1


def test_the_moment_is_the_camera_s_own_where_it_has_our_clock(tmp_path):
    late = Live(tmp_path / "late.pipe", lambda: time.monotonic() - 0.25)
    with opened(late.device) as camera:
        time.sleep(1.0)
        assert 0.25 <= time.monotonic() - camera.read().time < 0.6
    late.unplugged = True
    start = time.monotonic()
    from_zero = Live(tmp_path / "from_zero.pipe", lambda: time.monotonic() - start)
    with opened(from_zero.device) as camera:
        time.sleep(1.0)
        assert 0 <= time.monotonic() - camera.read().time < 0.2
    from_zero.unplugged = True


def test_a_camera_that_hangs_is_told_by_the_age_of_its_picture_which_stops_the_arm(live):
    driver = FakeDriver(time)
    with RobotEnvironment(driver, {"wrist": VideoCamera(CameraConfig(live.device))}, SAFETY, "task") as env:
        time.sleep(0.5)
        env.reset()
        assert env.step(np.zeros(7)).observation["pixels/wrist"].shape == (64, 64, 3)
        live.hangs = True
        wait_until(lambda: time.monotonic() - env._cameras["wrist"].read().time > 0.3)
        with pytest.raises(DriverError, match=r"the camera 'wrist' told last is 0\.\d+ s old"):
            env.step(np.zeros(7))
        assert driver.stops
        live.hangs = False  # or its thread would wait for ever


def test_a_camera_that_is_unplugged_is_told_at_the_next_read(live):
    with opened(live.device) as camera:
        camera.read()
        live.unplugged = True
        wait_until(lambda: not camera._thread.is_alive())
        with pytest.raises(DriverError, match=r"camera.pipe has no more pictures: plug it in again"):
            camera.read()


def test_a_camera_that_gives_no_picture_is_not_waited_for_for_ever(tmp_path):
    os.mkfifo(tmp_path / "silent.pipe")  # nobody writes into it
    with pytest.raises(DriverError, match=r"gave no picture within 0.2 s: plug it in again"):
        VideoCamera(CameraConfig(str(tmp_path / "silent.pipe")), patience=0.2)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("/dev/video99", r"/dev/video99 failed \(.*No such file.*\): plug it in, or mend its name"),
        ("/dev/null", r"/dev/null failed \(.*ioctl.*\): look after it"),  # Video4Linux asked it what it can do
        ("nowhere.mp4", r"nowhere.mp4 failed .*: plug it in, or mend its name"),
        (__file__, "failed .*Invalid data.*: look after it"),
    ],
)
def test_what_is_no_camera_is_told(device, told):
    with pytest.raises(DriverError, match=told):
        VideoCamera(CameraConfig(device))


def test_a_device_is_asked_for_a_size_and_a_rate(monkeypatch):
    asked = {}

    def busy(device, **options):
        asked.update(options)
        raise av.error.OSError(16, "Device or resource busy", device)

    monkeypatch.setattr(av, "open", busy)
    with pytest.raises(DriverError, match=r"video0 failed .*busy.*: end the program that uses it"):
        VideoCamera(CameraConfig("/dev/video0", capture=(240, 320), rate=15))
    assert asked == {"format": "v4l2", "options": {"video_size": "320x240", "framerate": "15"}}


@pytest.mark.parametrize("wrong", [{"size": (0, 64)}, {"capture": (480, -1)}, {"rate": 0}])
def test_sizes_and_rates_that_are_none_are_refused(wrong):
    with pytest.raises(ArmchairError, match="greater than 0"):
        CameraConfig("/dev/video0", **wrong)


def test_a_picture_that_came_broken_is_left_out(tmp_path):
    def broken(number, packet):
        return av.Packet(bytes(packet.size)) if number == 1 else packet

    path = write_video(tmp_path / "video.nut", np.zeros((48, 64, 3), np.uint8), frames=3, change=broken)
    with pytest.raises(DriverError, match="has no more pictures"):
        read_to_the_end(path)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("mjpeg", "yuvj422p"), ("rawvideo", "yuyv422"), ("rawvideo", "nv12")])
def test_colours_are_right_however_a_camera_writes_them(tmp_path, codec, pix_fmt):
    red, green, blue, grey = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
    rows = np.repeat(np.array([[red, green], [blue, grey]], np.uint8), 240, axis=0)  # [480, 2, 3]
    shown = np.repeat(rows, 320, axis=1)  # [480, 640, 3]
    with av.open(str(write_video(tmp_path / "video.nut", shown, codec, pix_fmt))) as container:
        seen = fitted(next(container.decode(video=0)), (64, 64))
    for colour, (row, column) in zip((red, green, blue, grey), ((16, 16), (16, 48), (48, 16), (48, 48)), strict=True):
        np.testing.assert_allclose(seen[row, column], colour, atol=8)


@pytest.mark.parametrize("size", [(64, 64), (48, 64), (100, 30), (480, 640), (600, 800)])
def test_a_picture_is_cut_about_its_centre_and_never_stretched(size):
    shown = np.zeros((480, 640, 3), np.uint8)
    rows, columns = np.mgrid[:480, :640]
    shown[(rows - 239.5) ** 2 + (columns - 319.5) ** 2 < 100**2] = 255  # a disc in the middle
    seen = fitted(av.VideoFrame.from_ndarray(shown), size)[..., 0] / 255
    assert seen.shape == size
    scale = max(size[0] / 480, size[1] / 640)
    extents = [
        np.sqrt(12 * np.average((np.arange(n) - (n - 1) / 2) ** 2, weights=seen.sum(1 - i))) for i, n in enumerate(size)
    ]
    if min(size) >= 2 * 100 * scale:  # else the disc is cut
        np.testing.assert_allclose(extents, np.sqrt(3) * 100 * scale, rtol=0.03)


def test_shrinking_averages_what_it_leaves_out():
    chequered = np.indices((480, 640)).sum(0) % 2 * np.uint8(255)
    seen = fitted(av.VideoFrame.from_ndarray(np.repeat(chequered[..., None], 3, 2).astype(np.uint8)), (64, 64))
    np.testing.assert_allclose(seen, 128, atol=20)

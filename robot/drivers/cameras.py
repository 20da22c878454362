"""Cameras that Linux or FFmpeg knows, without OpenCV: a webcam by its device, or a stream or a file of video.

```
with contextlib.closing(VideoCamera(CameraConfig("/dev/video0"))) as camera:
    frame = camera.read()  # the newest picture, uint8[64, 64, 3], and when it was taken
```
A thread takes whatever the camera gives, at the camera's own pace; so no picture waits in a queue and is old when it
is read. A camera that hangs gives the same picture again, whose age then stops the arm (`RobotConfig.max_age`).
"""

import dataclasses
import errno
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from robot.drivers.base import DriverError, Frame
from robot.pacing import Clock

_PATIENCE = 10.0  # s until the first picture: webcams take one or two to wake up
_CLOSING = 1.0  # s that the thread has to end; one that hangs in the device cannot be helped
_SAME_CLOCK = 1.0  # s between a picture's stamp and its arrival, up to which they count as of one clock
_MENDS = {
    errno.ENOENT: "plug it in, or mend its name",
    errno.ENODEV: "plug it in again",
    errno.EBUSY: "end the program that uses it",
    errno.EACCES: "join the group `video`",
}


@dataclasses.dataclass(frozen=True)
class CameraConfig:
    """One camera."""

    device: str
    """`/dev/video0`, or better its name below `/dev/v4l/by-id`, which stays the same when another camera is plugged
    in. Also what FFmpeg opens by its name: the address of a stream, a file."""
    size: tuple[int, int] = (64, 64)
    """Height and width of the pictures that are recorded: the simulated cell's. What the camera sees is scaled down,
    and cut to this shape about its centre."""
    capture: tuple[int, int] = (480, 640)
    """Height and width that a device is asked for: what every webcam has."""
    rate: float = 30
    """Pictures a second that a device is asked for, likewise. Three times the control rate: the newest is fresh."""

    def __post_init__(self) -> None:
        if not all(number > 0 for number in (*self.size, *self.capture, self.rate)):
            raise DriverError(f"size, capture and rate of the camera {self.device} must be greater than 0")


class VideoCamera:
    """A `robot.drivers.base.Camera`."""

    def __init__(self, config: CameraConfig, clock: Clock = time, patience: float = _PATIENCE):
        """Connects, and waits for the first picture, `patience` seconds at most.

        Raises:
          DriverError: there is no such device, it is busy, it may not be read, or it gives no picture.
        """
        self._config, self._clock = config, clock
        self.shape = (*config.size, 3)
        self._frame: Frame | None = None
        self._error = ""
        self._closing, self._told = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"camera {config.device}", daemon=True)
        self._thread.start()
        if not self._told.wait(patience):
            self._closing.set()
            raise DriverError(f"the camera {config.device} gave no picture within {patience:g} s: plug it in again")
        self.read()

    def read(self) -> Frame:
        """The newest picture. Raises DriverError if the camera is gone."""
        if self._error or self._frame is None:
            raise DriverError(f"the camera {self._config.device} {self._error}")
        return self._frame

    def close(self) -> None:
        """Lets go of the device."""
        self._closing.set()
        self._thread.join(_CLOSING)

    def _work(self) -> None:
        try:
            for frame in self._frames():
                self._frame = frame
                self._told.set()
                if self._closing.is_set():
                    return
            self._error = "has no more pictures: plug it in again"
        except Exception as error:  # told by `read`: there is nobody here to tell
            number = error.errno if isinstance(error, OSError) else None
            self._error = f"failed ({error}): {_MENDS.get(number or 0, 'look after it')}"
        finally:
            self._told.set()

    def _frames(self) -> Iterator[Frame]:
        height, width = self._config.capture
        asked = {"video_size": f"{width}x{height}", "framerate": f"{self._config.rate:g}"}
        kind, options = ("v4l2", asked) if self._config.device.startswith("/dev/") else (None, {})
        stamped: bool | None = None
        with av.open(self._config.device, format=kind, options=options) as container:
            for packet in container.demux(video=0):
                try:
                    pictures = packet.decode()
                except av.error.FFmpegError:  # half a picture, as USB has them; if all are, the age tells
                    continue
                for picture in pictures:
                    now = self._clock.monotonic()
                    if stamped is None:
                        # Linux stamps the pictures of a device by the monotonic clock as they are taken; files have 0.
                        stamped = picture.time is not None and 0 <= now - picture.time < _SAME_CLOCK
                    yield Frame(picture.time if stamped else now, fitted(picture, self._config.size))


def fitted(picture: Any, size: tuple[int, int]) -> np.ndarray:
    """An `av.VideoFrame` scaled until it just covers `size` (height, width), cut about its centre: uint8[H, W, 3]."""
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    tall, wide = (math.ceil(round(scale * side, 6)) for side in (picture.height, picture.width))
    scaled = picture.to_ndarray(format="rgb24", height=tall, width=wide, interpolation="AREA", threads=1)
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])  # [H, W, 3]

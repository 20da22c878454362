"""Pictures in and out: decoding and encoding the frames of an episode, and turning an episode into a video."""

import contextlib
import fractions
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from datasets import files
from datasets.episode import Episode
from datasets.errors import ArmchairError, BadEpisodeError
from datasets.features import JPEG_QUALITY
from datasets.store import Store

_MIN_HEIGHT, _MAX_HEIGHT = 256, 480  # pixels of a camera in a video: 64x64 becomes watchable, 600x960 stays small
_PANEL_HEIGHT = 120  # of the curves under the picture
_MIN_WIDTH = 384  # so that a few labels fit beside each other
_MARGIN = 12
_COLOURS = ("#ffb000", "#648fff", "#dc267f", "#35d0a5", "#fe6100", "#b59bff")  # distinct for colour-blind people
_ENCODER = {"crf": "20", "preset": "veryfast"}  # x264: visually lossless is a crf of about 18, smaller files above
_FONT_SIZE = 12


@functools.cache
def _decoder() -> tf.types.experimental.GenericFunction:
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def decode(encoded: tf.Tensor) -> tf.Tensor:
        # Despite its name the operation reads PNG, BMP and still GIF too. A parallel map in one graph decodes 64x64
        # at 15,000 frames a core-second, PIL or single calls at 10,000. The accurate DCT costs nothing extra and gives
        # exactly PIL's numbers.
        return tf.map_fn(
            functools.partial(tf.io.decode_jpeg, dct_method="INTEGER_ACCURATE"),
            encoded,
            fn_output_signature=tf.TensorSpec((None, None, None), tf.uint8),
            parallel_iterations=16,
        )

    return decode


def decode_frames(encoded: np.ndarray, first: int = 0) -> np.ndarray:
    """Decodes pictures of one size.

    Args:
      encoded: object[T] of JPEG or PNG bytes, T >= 1.
      first: number of the first one in its episode, for errors.

    Returns:
      uint8[T, H, W, C] with the pictures' own number of channels.

    Raises:
      BadEpisodeError: if one cannot be decoded or differs in size from the others.
    """
    try:
        return _decoder()(tf.constant(encoded, tf.string)).numpy()
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        raise BadEpisodeError(_what_is_wrong(encoded, first)) from error


def _what_is_wrong(encoded: Iterable[bytes], first: int) -> str:
    shapes: list[tuple[int, ...]] = []
    for t, picture in enumerate(encoded, first):
        try:
            shapes.append(tuple(tf.io.decode_jpeg(picture).shape))
        except tf.errors.InvalidArgumentError:
            return f"the picture of frame {t} is not a readable JPEG or PNG: restore the episode from a copy"
        if shapes[-1] != shapes[0]:
            what = f"the picture of frame {t} is {shapes[-1]}, that of frame {first} {shapes[0]}"
            return f"{what}: record one size a camera"
    return "there are no pictures to decode: record at least one frame"


def encode_jpeg(frames: np.ndarray) -> np.ndarray:
    """uint8[T, H, W, C] (C is 1 or 3) -> object[T] of JPEG bytes."""
    encoded = np.empty(len(frames), object)
    for t, frame in enumerate(frames):
        encoded[t] = tf.io.encode_jpeg(frame, quality=JPEG_QUALITY).numpy()
    return encoded


@contextlib.contextmanager
def mp4_file(
    path: Path | str, fps: float, options: Mapping[str, str] | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """An MP4 that browsers play at once (H.264, yuv420p, index first); whole or not at all.

    Args:
      path: what to write.
      fps: frames a second.
      options: of the encoder x264, where others are wanted.

    Yields:
      What takes the frames, one after the other: uint8[H, W, 3] each, all of one size; odd sizes are padded by a pixel,
      which yuv420p needs.

    Raises:
      ArmchairError: if there are no frames.
    """
    path = Path(path)
    with (
        files.staged_file(path) as staged,
        # faststart moves the index to the front, for which the file is written a second time: it needs a real path.
        av.open(str(staged), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = None

        def add(frame: np.ndarray) -> None:
            nonlocal stream
            height, width = frame.shape[:2]
            if stream is None:
                rate = fractions.Fraction(fps).limit_denominator(1000)
                stream = container.add_stream("libx264", rate=rate, options={**_ENCODER, **(options or {})})
                stream.pix_fmt = "yuv420p"
                stream.height, stream.width = height + height % 2, width + width % 2
            padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))

        yield add
        if stream is None:
            raise ArmchairError(f"there are no frames to write to {path}: give at least one")
        container.mux(stream.encode())


def write_mp4(path: Path | str, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Writes all frames as `mp4_file` does.

    Raises:
      ArmchairError: if there are no frames.
    """
    with mp4_file(path, fps) as add:
        for frame in frames:
            add(frame)
    return Path(path)


def episode_video(
    episode: Episode, cameras: Sequence[str] | None = None, curves: Mapping[str, np.ndarray] | None = None
) -> Iterator[np.ndarray]:
    """The frames of an episode: cameras side by side, and reward curves under them with a moving cursor.

    Args:
      episode: of T steps.
      cameras: names of observations (`pixels/wrist`); by default all of them, sorted.
      curves: label -> float[T]; drawn in [0, 1], or wider where they leave it.

    Yields:
      T frames uint8[H, W, 3].

    Raises:
      ArmchairError: for an unknown camera, a curve of another length, or nothing to show at all.
    """
    cameras = episode.image_keys if cameras is None else cameras
    curves = curves or {}
    name = episode.metadata.episode_id
    for camera in cameras:
        if camera not in episode.image_keys:
            raise ArmchairError(
                f"episode {name} has no camera {camera!r}: choose from {', '.join(episode.image_keys) or 'none'}"
            )
    for label, values in curves.items():
        if np.shape(values) != (episode.num_steps,):
            raise ArmchairError(
                f"the curve {label!r} has shape {np.shape(values)} but episode {name} {episode.num_steps} frames: "
                "give one number per frame"
            )
    if not cameras and not curves:
        raise ArmchairError(f"episode {name} has neither cameras nor rewards to show: choose another one")
    return _frames(episode, cameras, curves)


def episode_to_mp4(
    episode: Episode,
    path: Path | str,
    cameras: Sequence[str] | None = None,
    curves: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Writes `episode_video` at the episode's own speed."""
    return write_mp4(path, episode_video(episode, cameras, curves), float(episode.metadata.control_rate_hz))


def stored_curves(store: Store, episode_id: str) -> dict[str, np.ndarray]:
    """Every reward sequence of an episode, for `episode_video`: label -> float32[T]."""
    curves = {}
    for reward in store.rewards():
        if reward.model_id is None:
            for sketch in store.sketches(reward.task_id, [episode_id]):
                curves[f"{reward.task_id} by {sketch.user or 'unknown'}"] = sketch.values
        else:
            for values in store.predictions(reward.model_id, [episode_id]).values():
                curves[reward.model_id] = values
    return curves


def _frames(episode: Episode, cameras: Sequence[str], curves: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    if cameras:
        sizes = [decode_frames(episode.observation[camera][:1]).shape[1:3] for camera in cameras]
        height = min(max(_MIN_HEIGHT, *(h for h, _ in sizes)), _MAX_HEIGHT)
        widths = [round(w * height / h) for h, w in sizes]
    else:
        height, widths = 0, []
    width = max(sum(widths), _MIN_WIDTH)
    panel = _Panel(curves, episode.num_steps, width, episode.metadata.control_rate_hz) if curves else None
    for t in range(episode.num_steps):
        canvas = Image.new("RGB", (width, height + (_PANEL_HEIGHT if panel else 0)), "black")
        left = 0
        for camera, camera_width in zip(cameras, widths, strict=True):
            picture = decode_frames(episode.observation[camera][[t]], t)[0]  # [H, W, C]; one at a time: some are large
            canvas.paste(_resized(picture, camera_width, height), (left, 0))
            _caption(canvas, (left + 4, 2), camera.removeprefix("pixels/"))
            left += camera_width
        if panel:
            canvas.paste(panel.draw(t), (0, height))
        yield np.asarray(canvas)


def _resized(picture: np.ndarray, width: int, height: int) -> Image.Image:
    if picture.shape[-1] == 1:
        picture = picture[..., 0]
    # Nearest keeps the policy's own pixels visible; only shrinking, or an uneven factor, needs a filter.
    even = height % picture.shape[0] == 0
    return (
        Image.fromarray(picture)
        .convert("RGB")
        .resize((width, height), Image.Resampling.NEAREST if even else Image.Resampling.LANCZOS)
    )


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)


def _caption(canvas: Image.Image, corner: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(canvas).text(corner, text, "white", _font(), stroke_width=1, stroke_fill="black")


class _Panel:
    """Curves over time, with a cursor."""

    def __init__(self, curves: Mapping[str, np.ndarray], num_steps: int, width: int, rate_hz: float):
        self._num_steps, self._width, self._rate_hz = num_steps, width, rate_hz
        lowest = min(0.0, *(float(np.min(v)) for v in curves.values()))
        highest = max(1.0, *(float(np.max(v)) for v in curves.values()))
        self._top, self._bottom = _FONT_SIZE + 12, _PANEL_HEIGHT - 8
        scale = (self._bottom - self._top) / (highest - lowest)
        self._lines = []
        for number, (label, values) in enumerate(curves.items()):
            heights = self._bottom - (np.asarray(values) - lowest) * scale  # [T]
            points = [(self._x(t), float(y)) for t, y in enumerate(heights)]
            self._lines.append((label, _COLOURS[number % len(_COLOURS)], points, values))
        self._background = Image.new("RGB", (width, _PANEL_HEIGHT), "#181818")
        draw = ImageDraw.Draw(self._background)
        for level in (self._top, self._bottom):
            draw.line([(_MARGIN, level), (width - _MARGIN, level)], "#484848")
        for _, colour, points, _ in self._lines:
            draw.line(points, _faint(colour), 2)

    def _x(self, t: int) -> float:
        return _MARGIN + t / max(1, self._num_steps - 1) * (self._width - 2 * _MARGIN)

    def draw(self, t: int) -> Image.Image:
        """The panel with the cursor at frame t: what is past in full colour, what is to come faint."""
        image = self._background.copy()
        draw = ImageDraw.Draw(image)
        draw.line([(self._x(t), self._top - 4), (self._x(t), self._bottom + 4)], "#909090")
        left = float(_MARGIN)
        for label, colour, points, values in self._lines:
            if t:
                draw.line(points[: t + 1], colour, 2)
            x, y = points[t]
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], colour)
            text = f"{label} {float(values[t]):.2f}"
            draw.text((left, 4), text, colour, _font())
            left += draw.textlength(text, _font()) + 14
        clock = f"{t / self._rate_hz:.1f} s  frame {t}"
        draw.text((self._width - _MARGIN - draw.textlength(clock, _font()), 4), clock, "#c0c0c0", _font())
        return image


def _faint(colour: str) -> str:
    return "#" + "".join(f"{int(colour[i : i + 2], 16) // 3:02x}" for i in (1, 3, 5))

import itertools

import av
import numpy as np
import pytest
import tensorflow as tf

from datasets import testing, video
from datasets.errors import ArmchairError, BadEpisodeError


def _objects(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_decoded_exactly(channels):
    frames = np.random.default_rng(0).integers(0, 256, (4, 6, 5, channels), np.uint8)
    decoded = video.decode_frames(_objects([tf.io.encode_png(frame).numpy() for frame in frames]))
    np.testing.assert_array_equal(decoded, frames)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_round_trip_is_close(channels):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (3, 32, 64, channels))
    decoded = video.decode_frames(video.encode_jpeg(frames))
    assert decoded.dtype == np.uint8 and decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).max() <= 4


def test_pictures_that_cannot_be_decoded_are_named():
    good = testing.make_episode(0, 3).observation["pixels/basket_front_left"]
    with pytest.raises(BadEpisodeError, match="frame 1 is not a readable"):
        video.decode_frames(_objects([good[0], good[1][:50], good[2]]))
    with pytest.raises(BadEpisodeError, match="frame 2 is .*, that of frame 0"):
        video.decode_frames(_objects([good[0], good[1], tf.io.encode_jpeg(np.zeros((8, 8, 3), np.uint8)).numpy()]))
    with pytest.raises(BadEpisodeError, match="no pictures"):
        video.decode_frames(_objects([]))


def test_mp4_has_every_frame_and_its_index_first(tmp_path):
    colours = np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    frames = np.broadcast_to(colours[:, None, None], (3, 33, 47, 3))  # odd sizes
    path = video.write_mp4(tmp_path / "deep" / "v.mp4", frames, fps=5)
    decoded = _frames_of(path)
    assert [frame.shape for frame in decoded] == [(34, 48, 3)] * 3
    for frame, colour in zip(decoded, colours, strict=True):
        assert np.abs(frame.mean((0, 1)) - colour).max() < 12
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 5)


def test_a_failed_video_leaves_nothing_behind(tmp_path):
    def broken():
        yield np.zeros((8, 8, 3), np.uint8)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        video.write_mp4(tmp_path / "v.mp4", broken(), 10)
    with pytest.raises(ArmchairError, match="no frames"):
        video.write_mp4(tmp_path / "v.mp4", [], 10)
    assert not list(tmp_path.iterdir())


def test_episode_video_shows_cameras_and_a_moving_cursor(tmp_path):
    episode = testing.make_episode(0, 6, cameras=("basket_front_left", "wrist"))
    curve = np.linspace(0, 1, 6)
    frames = list(video.episode_video(episode, curves={"sketch": curve, "model": curve**2}))
    assert len(frames) == 6
    height = 16 * 16
    assert frames[0].shape[1] == 2 * height and frames[0].shape[0] > height
    small = video.decode_frames(episode.observation["pixels/basket_front_left"])
    np.testing.assert_array_equal(frames[3][100:height, :height], small[3].repeat(16, 0).repeat(16, 1)[100:])  # nearest
    panels = [frame[height:] for frame in frames]
    assert all((a != b).any() for a, b in itertools.pairwise(panels))
    mp4 = video.episode_to_mp4(episode, tmp_path / "e.mp4", ["pixels/wrist"], {"sketch": curve})
    assert len(_frames_of(mp4)) == 6
    assert len(list(video.episode_video(testing.make_episode(1, 4, cameras=()), curves={"r": np.ones(4)}))) == 4


def test_episode_video_mistakes_are_one_sentence():
    episode = testing.make_episode(0, 5)
    with pytest.raises(ArmchairError, match="no camera 'pixels/wrist': choose from pixels/basket_front_left"):
        video.episode_video(episode, ["pixels/wrist"])
    with pytest.raises(ArmchairError, match="one number per frame"):
        video.episode_video(episode, curves={"sketch": np.zeros(4)})
    with pytest.raises(ArmchairError, match="neither"):
        video.episode_video(episode, [])

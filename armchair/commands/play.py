"""`armchair play`: an episode as a video, with its rewards under the picture."""

import dataclasses
from pathlib import Path

import tyro


@dataclasses.dataclass(frozen=True)
class PlayConfig:
    """Turns an episode into an MP4: its cameras side by side, and under them a curve for each sketch and each model."""

    store: Path
    """Folder of the store."""
    episode: str
    """Id of the episode; `armchair store query` lists them."""
    out: Path
    """The file to write, e.g. episode.mp4."""
    cameras: tuple[str, ...] | None = None
    """Observations to show, e.g. pixels/wrist; all cameras by default."""


def main(args: list[str]) -> None:
    """Runs the stage; prints the path of the video."""
    config = tyro.cli(PlayConfig, args=args, prog="armchair play")
    from datasets.store import Store
    from datasets.video import episode_to_mp4, stored_curves

    store = Store.open(config.store)
    episode = store.read(config.episode)
    print(episode_to_mp4(episode, config.out, config.cameras, stored_curves(store, config.episode)))

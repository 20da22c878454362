"""How episodes on a real arm begin: pictures to put things back by.

```
ROOT/1000003/pixels.wrist.jpg     the first picture of a camera in the first episode of seed 1000003
```
A simulator begins by its seed. On a table, a person puts things where they were: the picture of then and the picture of
now, one over the other, show what is not in its place.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import files
from datasets.errors import ArmchairError

_HEIGHT = 256  # pixels that a camera is shown with at least: 64 are too few to see a cup's place
_GAP = 4  # pixels between pictures


class InitialConditions:
    """The pictures in a folder, which several campaigns may share."""

    def __init__(self, root: Path):
        """`root` is made by the first picture."""
        self._root = root

    def known(self, seed: int) -> bool:
        """Whether there are pictures of how an episode of this seed begins."""
        return self._folder(seed).exists()

    def add(self, seed: int, pictures: Mapping[str, bytes]) -> None:
        """Keeps pictures, unless there are some of this seed already, or none at all.

        Args:
          seed: of the episode.
          pictures: camera -> JPEG.
        """
        if not pictures or self.known(seed):
            return
        with files.staged_directory(self._folder(seed), replace=False) as folder:
            for camera, picture in pictures.items():
                (folder / _file(camera)).write_bytes(picture)

    def overlay(self, seed: int, live: Mapping[str, np.ndarray], path: Path) -> None:
        """Writes a picture that shows what is not where it was.

        Args:
          seed: whose pictures are the reference.
          live: camera -> uint8[H, W, C], what is seen now; those without a reference are left out.
          path: the PNG to write. It has a row a camera: then, now, and both at half strength.

        Raises:
          ArmchairError: the reference is of other cameras.
        """
        rows = []
        for camera, now in live.items():
            if (reference := self._folder(seed) / _file(camera)).exists():
                present = Image.fromarray(now.squeeze()).convert("RGB")
                past = Image.open(reference).convert("RGB").resize(present.size)
                rows.append(_row([past, present, Image.blend(past, present, 0.5)]))
        if not rows:
            raise ArmchairError(f"the pictures in {self._folder(seed)} are of other cameras: choose another folder")
        sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + _GAP for row in rows) - _GAP))
        top = 0
        for row in rows:
            sheet.paste(row, (0, top))
            top += row.height + _GAP
        png = io.BytesIO()
        sheet.save(png, "PNG")
        files.write_atomically(path, png.getvalue())

    def _folder(self, seed: int) -> Path:
        return self._root / str(seed)


def _file(camera: str) -> str:
    return camera.replace("/", ".") + ".jpg"


def _row(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size beside each other, each of their pixels a square of whole pixels."""
    width, height = pictures[0].size
    scale = -(-_HEIGHT // height)
    row = Image.new("RGB", (len(pictures) * (scale * width + _GAP) - _GAP, scale * height))
    for number, picture in enumerate(pictures):
        enlarged = picture.resize((scale * width, scale * height), Image.Resampling.NEAREST)
        row.paste(enlarged, (number * (scale * width + _GAP), 0))
    return row

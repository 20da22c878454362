"""Domain variation: what may look different from one episode to the next."""

import mujoco
import numpy as np

from robot.cell import config as config_lib

_PAINTED = ("green", "red", "floor", "wall")  # beginnings of the names of geoms whose colour varies


class Variator:
    """Changes a model's colours, lamp and cameras, always starting from how it was compiled."""

    def __init__(self, model: mujoco.MjModel, variation: config_lib.Variation):
        self._model = model
        self._variation = variation
        geoms = [(i, model.geom(i).name) for i in range(model.ngeom)]
        self._bodies = {body: [i for i, n in geoms if n.startswith(body)] for body in _PAINTED}
        self._lamp = model.light("lamp").id
        self._colour = model.geom_rgba.copy()
        self._brightness = model.light_diffuse[self._lamp].copy()
        self._lamp_position = model.light_pos[self._lamp].copy()
        self._camera_position = model.cam_pos.copy()

    def vary(self, rng: np.random.Generator) -> None:
        """Draws the looks of one episode."""
        model, amount = self._model, self._variation
        for geoms in self._bodies.values():  # one colour a body
            shift = amount.colour * rng.uniform(-1, 1, 3)
            model.geom_rgba[geoms, :3] = np.clip(self._colour[geoms, :3] + shift, 0, 1)
        model.light_diffuse[self._lamp] = self._brightness * (1 + amount.light * rng.uniform(-1, 1))
        model.light_pos[self._lamp, :2] = self._lamp_position[:2] + amount.light * rng.uniform(-1, 1, 2)
        model.cam_pos[:] = self._camera_position + amount.camera * rng.uniform(-1, 1, self._camera_position.shape)

"""Pictures of the cell, without a screen.

MuJoCo draws through OpenGL, by EGL or by OSMesa; each has been seen to fail on machines where the other works.
Which one works is found out by really drawing a frame, in a process of its own, since a failed attempt cannot be
undone in the process that made it. An existing `MUJOCO_GL` is respected.
"""

import atexit
import functools
import importlib
import os
import subprocess
import sys
import weakref
from typing import Any

import mujoco
import numpy as np

from datasets.errors import ArmchairError

BACKENDS = ("egl", "osmesa")  # in the order of trying: EGL can use a GPU
MAX_GEOMS = 200  # the cell has some 40

_ADVICE = (
    "install one of them with `apt-get install libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri` (EGL) or "
    "`apt-get install libosmesa6` (OSMesa), or render nothing by cameras=()"
)


@functools.cache
def choose_backend() -> str:
    """The OpenGL backend to draw with, `egl` or `osmesa`, which it also puts into `MUJOCO_GL`.

    Spawned processes inherit the choice. The first call in a process tree takes about a second.

    Raises:
      ArmchairError: no backend can draw a frame here, or `MUJOCO_GL` names another one.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in BACKENDS:
        return chosen
    if chosen:
        raise ArmchairError(f"MUJOCO_GL is {chosen!r}: set it to egl or osmesa, or unset it to let Armchair choose.")
    for backend in BACKENDS:
        if draws(backend):
            os.environ["MUJOCO_GL"] = backend
            return backend
    raise ArmchairError(f"No OpenGL backend can draw a frame here: {_ADVICE}.")


def draws(backend: str) -> bool:
    """Whether a backend can draw a frame on this machine, tried in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"} | {"MUJOCO_GL": backend}
    result = subprocess.run([sys.executable, "-c", _PROBE], env=environment, capture_output=True, check=False)
    return result.returncode == 0


_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().any()
renderer.close()
"""


class Cameras:
    """Draws one model from its cameras, at any size up to the model's offscreen buffer (960 x 1280).

    Unlike `mujoco.Renderer`, one OpenGL context serves all sizes. `close` frees it.

    Raises:
      ArmchairError: OpenGL does not work here.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        backend = choose_backend()
        self._max_width, self._max_height = int(model.vis.global_.offwidth), int(model.vis.global_.offheight)
        try:
            # Not mujoco.GLContext: that one was fixed when mujoco was imported, maybe before the choice.
            self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(self._max_width, self._max_height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # the bindings raise anything from AttributeError to EGLError
            raise ArmchairError(f"OpenGL by MUJOCO_GL={backend} does not work here: {_ADVICE}.") from error
        # Also frees a renderer that nobody closed. At exit that must come before mujoco.egl's own handler, which takes
        # EGL down; handlers run last come first, but weakref's was there before mujoco's if anyone used it before.
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self._free.atexit = False
        atexit.register(self._free)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera_ids = {model.camera(i).name: i for i in range(model.ncam)}

    def render(self, data: mujoco.MjData, camera: str, height: int, width: int) -> np.ndarray:
        """A picture of the state in `data`, uint8[height, width, 3].

        Raises:
          ArmchairError: no such camera, or too large a picture.
        """
        if camera not in self._camera_ids:
            raise ArmchairError(f"The cell has no camera {camera!r}: choose from {', '.join(self._camera_ids)}.")
        if not (0 < height <= self._max_height and 0 < width <= self._max_width):
            raise ArmchairError(
                f"A picture of {height} x {width} cannot be drawn: "
                f"choose at most {self._max_height} x {self._max_width} (height x width)."
            )
        self._gl.make_current()  # another cell of this process may have drawn since
        self._camera.fixedcamid = self._camera_ids[camera]
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        viewport = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        picture = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, viewport, self._context)
        return np.ascontiguousarray(picture[::-1])  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._free()


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()

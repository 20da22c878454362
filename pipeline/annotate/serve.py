"""Runs the sketching page's server in this process until somebody stops it."""

import contextlib
import dataclasses
import errno
import os
import socket
import sys
import webbrowser
from collections.abc import Callable

import anyio.to_thread
import uvicorn

from datasets.console import console
from datasets.errors import ArmchairError, BadEpisodeError, StoreError
from datasets.store import Store
from pipeline.annotate.config import ServerConfig
from pipeline.annotate.security import BODY_BYTES, is_everywhere, is_loopback
from pipeline.annotate.server import create_app
from pipeline.annotate.state import AppState
from robot.env import TASKS

_PORTS = 100  # that are tried before we give up
_THREADS = 3  # that answer: Python runs one at a time; with 40, 20 annotators at once save half as fast
_GRACE_S = 5  # for what is under way at Ctrl-C: many times what the slowest answer takes


def serve(store: Store, config: ServerConfig, open_browser: bool = True) -> None:
    """Serves the page until Ctrl-C. Prints a link for each annotator on standard output, and how to stop.

    Args:
      store: whose episodes are sketched.
      config: see `ServerConfig`.
      open_browser: open the first link in a browser, where there is one.

    Raises:
      ArmchairError: if the address cannot be listened at, or as `create_app`.
      StoreError: if no episode matches the query, or was recorded for the task; of the cell's own tasks, and on a robot
        that is given, the first ones can be demonstrated on the page.
    """
    listening = listen(config.host, config.port)
    with listening:
        config = dataclasses.replace(config, port=listening.getsockname()[1])
        state: AppState = (app := create_app(store, config)).state.armchair
        rows = state.queue.rows()
        if not rows and (config.query or not (config.robot or config.task in TASKS)):  # else they can be demonstrated
            wanted = f"matches {config.query!r}" if config.query else f"was recorded for {config.task!r}"
            raise StoreError(
                f"no episode in {store.root} {wanted}: see `armchair store ls --store {store.root}`, "
                "or give --query to sketch others"
            )
        with contextlib.suppress(BadEpisodeError):  # whoever opens it will be told
            for row in rows[:1]:  # TensorFlow's first file takes half a second: ours, not the annotator's
                state.pictures.get(row)
        options = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # queries say what people look for
            server_header=False,
            proxy_headers=False,  # nobody in front of us has a say in where a request comes from
            ws_max_size=BODY_BYTES,
            timeout_graceful_shutdown=_GRACE_S,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has stopped by then, and mostly passes it on
            _Server(options, lambda: _announce(state, open_browser)).run(sockets=[listening])
        console.print("the page is closed; what was saved is in the store")


def listen(host: str, port: int) -> socket.socket:
    """A socket at the first free port from `port` on. Raises ArmchairError if there is none, or no such address."""
    for candidate in range(port, min(port + _PORTS, 2**16)):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
            with contextlib.ExitStack() as opened:
                # The protocol is named, or asyncio would leave Nagle's algorithm on, and each answer come 40 ms late.
                listening = opened.enter_context(socket.socket(family, kind, socket.IPPROTO_TCP))
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind(address)
                listening.listen()
                opened.pop_all()
            return listening
        except socket.gaierror as error:
            raise ArmchairError(f"{host} is no address ({error.strerror}): give one of this machine's") from error
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                told = os.strerror(error.errno or 0)
                raise ArmchairError(f"cannot listen at {host} ({told}): give an address of this machine") from error
    raise ArmchairError(f"no port from {port} on is free at {host}: give another --port")


def link(config: ServerConfig, token: str) -> str:
    """What an annotator opens."""
    host = socket.gethostname() if is_everywhere(config.host) else config.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}/#token={token}"


class _Server(uvicorn.Server):
    """Answers with few threads, and says so when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]):
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await super().startup(sockets)
        self._announce()


def _announce(state: AppState, open_browser: bool) -> None:
    config = state.config
    if not is_loopback(config.host):
        console.print(
            f"anybody who reaches {config.host} can ask for the page, and http is not encrypted: who listens in sees "
            "the links. Safer: --host 127.0.0.1 and, from elsewhere, "
            f"`ssh -L {config.port}:127.0.0.1:{config.port} THIS-MACHINE`.",
            style="yellow",
        )
    names = list(state.sessions.tokens)
    console.print(f"sketching {config.task} in {state.store.root}: open", markup=False)
    for name in names:
        # The link is the result; messages, which somebody may log, have no token.
        print(link(config, state.sessions.tokens[name]) + (f"  {name}" if len(names) > 1 else ""), flush=True)
    console.print("Ctrl-C stops the server; what is saved by then stays.")
    if open_browser and _has_display():
        with contextlib.suppress(webbrowser.Error, OSError):  # the link is on the screen
            webbrowser.open(link(config, state.sessions.one_time_token(names[0])))


def _has_display() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))

"""`armchair sketch`: what it says, where it listens, how it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import httpx
import pytest

from armchair import cli
from armchair.commands import sketch
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate import config, serve
from pipeline.annotate.load import server_process, sign_in


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("sketch") / "store")
    for seed in range(2):
        store.add(make_episode(seed), "fake")
    store.publish()
    return store.root


def test_help_teaches_the_page_and_the_other_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sketch", "--help"])
    told = capsys.readouterr().out
    options = ("--store", "--task", "--query", "--annotators", "--host", "--port", "--open-browser", "--lease-seconds",
               "--session-hours", "--second-opinions", "--seed")  # fmt: skip
    for word in (*options, "sketch export", "sketch import", "sketch simulate", "page", "Ctrl-C"):
        assert word in told, word
    for command in ("export", "import", "simulate"):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["sketch", command, "--help"])
        assert stopped.value.code == 0 and f"sketch {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    {
        "task": ("--task nobody", "no episode in .* was recorded for 'nobody'.*--query"),
        "query": ("--task lift_green --query verdict=unknown", "no episode in .* matches 'verdict=unknown'"),
        "condition": ("--task lift_green --query shape=round", "cannot read 'shape=round'"),
        "address": ("--task lift_green --host 203.0.113.7", "cannot listen at 203.0.113.7"),
        "name": ("--task lift_green --annotators ada ada", "cannot be told apart"),
        "number": ("--task lift_green --second-opinions 2", "second_opinions is 2.0"),
    }.values(),
)
def test_mistakes_are_one_sentence(root, capsys, words, told):
    assert cli.main(["sketch", "--store", str(root), "--port", "0", *words.split()]) == 2
    error = capsys.readouterr().err
    assert re.search(f"^armchair: .*{told}", error, re.MULTILINE) and "Traceback" not in error


def test_the_first_episodes_of_a_cell_task_can_be_demonstrated(tmp_path):
    """So the server starts without any; what waits is told by the page."""
    store = Store.create(tmp_path / "store")
    with server_process(store.root, "lift_green", ["ada"]) as (_, links), sign_in(links["ada"]) as client:
        assert client.get("/queue").json()["total"] == 0


def test_a_server_from_start_to_stop(root):
    """Links work, no token is in any message, whatever is asked; Ctrl-C stops it well."""
    command = [sys.executable, "-m", "armchair", "sketch", "--store", root, "--task", "lift_green", "--port", "0"]
    command += ["--annotators", "ada", "bob"]
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        links = dict(reversed(process.stdout.readline().split()) for _ in range(2))
        assert list(links) == ["ada", "bob"]
        tokens = []
        for name, link in links.items():
            parts = urlsplit(link)
            assert parts.hostname == "127.0.0.1" and not parts.query and parts.fragment.startswith("token=")
            tokens.append(parts.fragment.removeprefix("token="))
            with sign_in(link) as client:
                assert client.get("/session").json()["user"] == name
                client.get(f"/episodes?text={tokens[-1]}")
                client.get(f"/{tokens[-1]}")
                client.post("/session", content=f'{{"token": "{tokens[-1]}')  # cut short
                tokens.append(next(iter(client.cookies.values())))
        with socket.create_connection((parts.hostname, parts.port)) as raw:
            raw.sendall(f"nonsense {tokens[0]}\r\n\r\n".encode())
            raw.recv(100)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "Ctrl-C" in err and "closed" in err and "Traceback" not in err
    assert not [token for token in tokens if token in err or token in out]


def test_the_next_port_is_taken_where_one_is_in_use(root):
    with serve.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with serve.listen("127.0.0.1", port) as other:
            assert other.getsockname()[1] != port
        assert taken.proto == socket.IPPROTO_TCP  # else asyncio waits 40 ms before the last packet of every answer


def test_two_servers_of_one_machine_do_not_share_cookies(root):
    servers = [server_process(root, "lift_green", ["ada"]) for _ in range(2)]
    with servers[0] as (_, one), servers[1] as (_, two), sign_in(one["ada"]) as client:
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(two["ada"]))
        assert httpx.get(f"{origin}/api/session", cookies=dict(client.cookies)).status_code == 401


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", r"\[::1\]"), ("0.0.0.0", re.escape(socket.gethostname()))]
)
def test_links_can_be_opened(host, shown):
    link = serve.link(config.ServerConfig("t", host=host, port=99), "secret")
    assert re.fullmatch(f"http://{shown}:99/#token=secret", link)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_a_network_is_warned_of(root, host, warned, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(serve.webbrowser, "open", lambda url: opened.append(url) or (_ for _ in ()).throw(OSError()))
    monkeypatch.setenv("DISPLAY", ":0")
    from pipeline.annotate.state import AppState

    state = AppState(Store.open(root), config.ServerConfig("lift_green", annotators=("ada",), host=host))
    serve._announce(state, open_browser=True)  # a browser that fails is no matter
    told = capsys.readouterr()
    assert ("not encrypted" in told.err and "ssh -L" in told.err) == warned
    assert state.sessions.tokens["ada"] in told.out and len(opened) == 1
    assert state.sessions.tokens["ada"] not in opened[0]  # others can read a browser's command line
    serve._announce(state, open_browser=False)
    assert len(opened) == 1


def test_by_default_you_annotate(monkeypatch):
    monkeypatch.setattr(config.getpass, "getuser", lambda: "grace")
    assert config.ServerConfig("t").annotators == ("grace",)
    monkeypatch.setattr(config.getpass, "getuser", lambda: (_ for _ in ()).throw(KeyError("uid 1000")))
    assert config.ServerConfig("t").annotators == ("annotator",)


def test_options_are_the_configs(monkeypatch, root):
    served = []
    monkeypatch.setattr(serve, "serve", lambda *args: served.append(args))
    sketch.main(["--store", str(root), "--task", "x", "--annotators", "ada", "bob", "--no-open-browser"])
    ((store, options, opens),) = served
    assert store.root == root and not opens
    assert options == config.ServerConfig("x", annotators=("ada", "bob"))

"""Who gets in, what other sites cannot do, and how much anybody can send."""

import hmac
import json
import socket
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from datasets.errors import ArmchairError
from pipeline.annotate import security, sessions
from pipeline.annotate.config import ServerConfig
from pipeline.annotate.security import BODY_BYTES, Gate
from pipeline.annotate.sessions import Sessions


def code(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["code"]


def test_nothing_is_told_without_a_session(desk):
    desk = desk()
    visitor = desk.visitor()
    paths = desk.visitor().get("/api/openapi.json").json()["paths"]
    asked = 0
    for path, methods in paths.items():
        for method in set(methods) - {"parameters"}:
            if path == "/api/session" and method != "get":
                continue
            url = path.replace("{episode_id}", "fake-0").replace("{t}", "0").replace("{lease_id}", "x")
            body = {"episode_id": "fake-0", "kind": "skip", "lease_id": "x", "values": [0.5]}
            answer = visitor.request(
                method, url, json=body if method == "post" else None, params={"camera": "pixels/wrist", "model_id": "m"}
            )
            assert code(answer, 401) == "not_signed_in", path
            asked += 1
    assert asked >= 12


def test_a_cookie_instead_of_the_token(desk):
    desk = desk(port=8123)
    token = desk.state.sessions.tokens["ada"]
    answer = desk.visitor().post("/api/session", json={"token": token})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("armchair-8123=") and token not in cookie and token not in answer.text
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=43200" in cookie
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("token", ["", "x", "ä", "\0", "x" * 200])
def test_other_tokens_open_nothing(desk, token):
    assert code(desk().visitor().post("/api/session", json={"token": token}), 401) == "bad_token"


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(
        sessions.hmac, "compare_digest", lambda a, b: compared.append(b) or hmac.new(b"k", a, "md5").digest() == b
    )
    book = Sessions(("ada", "bob", "cyd"), 60, lambda: 0)
    with pytest.raises(sessions.ApiError):
        book.open(book.tokens["ada"])
    assert compared == [token.encode() for token in book.tokens.values()]  # each, whichever is right


def test_every_annotator_has_a_link_and_a_name_of_their_own(desk):
    desk = desk(annotators=("ada", "bob", "Ünal"))
    tokens = desk.state.sessions.tokens
    assert len(set(tokens.values())) == 3 and all(len(token) >= 43 for token in tokens.values())  # 256 bits
    assert [desk.client(name).get("/api/session").json()["user"] for name in tokens] == ["ada", "bob", "Ünal"]
    for names in ((), ("ada", "ada"), ("ada", " "), ("ada", "ada ")):
        with pytest.raises(ArmchairError, match="told apart"):
            Sessions(names, 60, lambda: 0)


def test_signing_out_ends_the_session(desk):
    desk = desk()
    ada = desk.client("ada")
    session_id = ada.cookies["armchair-8765"]
    assert ada.delete("/api/session").status_code == 204
    assert "armchair-8765" not in ada.cookies
    again = desk.visitor(cookie=f"armchair-8765={session_id}")
    assert code(again.get("/api/session"), 401) == "not_signed_in"
    assert again.delete("/api/session").status_code == 204  # twice is fine


def test_a_one_time_token_opens_one_session(desk):
    desk = desk()
    token = desk.state.sessions.one_time_token("bob")
    assert desk.visitor().post("/api/session", json={"token": token}).json()["user"] == "bob"
    assert code(desk.visitor().post("/api/session", json={"token": token}), 401) == "bad_token"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": None},  # no browser, and says nothing
        {"origin": "http://127.0.0.1:1"},  # another server of this machine
        {"origin": None, "sec-fetch-site": "cross-site"},
        {"origin": None, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},  # the two disagree
    ],
)
def test_other_sites_change_nothing(desk, headers):
    desk = desk()
    ada = desk.client("ada")
    lease = ada.post("/api/leases", json={"episode_id": "fake-0"}).json()["lease_id"]
    cookie = {"cookie": f"armchair-8765={ada.cookies['armchair-8765']}"}
    other = desk.visitor(**cookie, **headers)
    sent = {"lease_id": lease, "values": [0.5] * 5}
    assert code(other.post("/api/sketches", content=json.dumps(sent)), 403) == "cross_site"
    assert code(other.post("/api/session", json={"token": desk.state.sessions.tokens["ada"]}), 403) == "cross_site"
    assert code(other.delete(f"/api/leases/{lease}"), 403) == "cross_site"
    assert code(other.put(f"/api/leases/{lease}"), 403) == "cross_site"
    assert not desk.store.all_sketches("lift_green") and desk.store.find_lease(lease)
    with pytest.raises(InvalidStatus, match="403"):
        connect(
            desk.url.replace("http", "ws") + "/api/teleop",
            origin=headers.get("origin"),
            additional_headers=cookie | {k: v for k, v in headers.items() if k != "origin"},
        )


@pytest.mark.parametrize("headers", [{}, {"origin": None, "sec-fetch-site": "same-origin"}])
def test_our_own_page_may(desk, headers):
    assert desk().client("ada", **headers).post("/api/leases", json={}).status_code == 201


def test_a_name_that_was_pointed_at_us_is_not_ours(desk):
    desk = desk()
    port = urlsplit(desk.url).port
    for host in (f"evil.example:{port}", "evil.example", "127.0.0.1.evil.example", "", "10.0.0.1", "[::2]:80"):
        answer = desk.visitor(host=host, origin=f"http://{host}").get("/")
        assert answer.status_code in (400, 403), host
        if answer.status_code == 403:
            assert code(answer, 403) == "cross_site"
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "127.0.0.1:9", "127.8.9.1"):
        assert desk.visitor(host=host).get("/").status_code == 200, host


def test_which_names_are_ours_depends_on_where_we_listen():
    def ours(listening, host):
        return Gate(None, listening)._is_ours(host)

    assert ours("192.168.1.5", "192.168.1.5:80") and not ours("192.168.1.5", "192.168.1.6")
    assert ours("cell.example", "Cell.Example:8765") and not ours("cell.example", "other.example")
    assert ours("0.0.0.0", "192.168.1.6:80") and ours("::", "[2001:db8::1]:80")  # an address cannot be rebound
    assert ours("0.0.0.0", socket.gethostname()) and not ours("0.0.0.0", "evil.example")


def test_every_answer_forbids_what_the_page_does_not_need(desk):
    desk = desk()
    ada = desk.client("ada")
    frame = "/api/episodes/fake-0/frames/0?camera=pixels/wrist"
    for path in ("/", "/static/app.js", "/api/session", frame, "/api/nothing", "/nothing", "/api/episodes?limit=x"):
        headers = ada.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    for path in ("/", "/static/app.js"):
        first = ada.get(path)
        assert first.headers["cache-control"] == "no-cache" and first.headers["etag"]
    assert ada.get("/static/app.js", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert code(desk.visitor(origin="http://evil.example").post("/api/leases"), 403)


def test_the_page_has_no_inline_script_or_style(desk):
    page = desk().visitor().get("/").text
    assert (
        "<script>" not in page and "style=" not in page and "onclick" not in page and "//" not in page.split("src=")[1]
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_end(desk, chunked):
    desk = desk()
    ada = desk.client("ada")

    def send(size):
        content = b'{"token": "' + b"x" * (size - 13) + b'"}'
        body = (content[i : i + 65536] for i in range(0, size, 65536)) if chunked else content
        return ada.post("/api/session", content=body, headers={"content-type": "application/json"})

    assert send(BODY_BYTES).status_code == 422  # too long for a token, but read
    assert code(send(BODY_BYTES + 1), 413) == "too_large"
    assert code(send(4 * BODY_BYTES), 413) == "too_large"
    assert code(desk.visitor().post("/api/sketches", content=b"x" * (BODY_BYTES + 1)), 413) == "too_large"


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 100])
def test_lengths_that_are_none(length):
    headers = security.Headers({"host": "localhost", "content-length": length, "origin": "http://localhost"})
    status, *_ = Gate(None, "127.0.0.1")._refusal({"type": "http", "method": "POST"}, headers)
    assert status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static/..%5cserver.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/..%2f..%2f..%2fetc/passwd", "/static/app.js%00.css",
        "/api/episodes/..%2f..%2findex.sqlite", "/api/episodes/fake-0%2f..%2ffake-1/frames/0?camera=pixels/wrist",
        "/api/episodes/fake-0/film?camera=../../etc/passwd", "/api/episodes/fake-0/frames/..%2f0?camera=pixels/wrist",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_else(desk, path):
    desk = desk()
    ada = desk.client("ada")
    parts = urlsplit(desk.url)
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
    request += f"Cookie: armchair-8765={ada.cookies['armchair-8765']}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as raw:  # httpx would tidy the path up
        raw.sendall(request.encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split()[1] in (b"404", b"422"), answer[:300]
    assert b"root:" not in answer and b"create_app" not in answer and b"SQLite" not in answer


@pytest.mark.parametrize(
    "wrong", [{"port": 70_000}, {"lease_seconds": 0}, {"session_hours": float("nan")}, {"second_opinions": 1.5}]
)
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(ArmchairError, match=next(iter(wrong))):
        ServerConfig("lift_green", **wrong)

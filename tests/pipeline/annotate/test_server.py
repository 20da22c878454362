"""What people do through the server: sign in, take an episode, sketch it, look at others; and what they are refused."""

import json

import numpy as np
import pytest

from datasets import curves
from datasets.errors import StoreError
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate.version import VERSION

TASK = "lift_green"
CURVE = [0.1, 0.2, 0.3, 0.4, 0.5]


def error(answer, status):
    """The error of an answer: its code, and its one sentence."""
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert told["message"] and "\n" not in told["message"]
    return told


def take(client, episode_id=None, **fields):
    answer = client.post("/api/leases", json={"episode_id": episode_id, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def save(client, lease, values=CURVE, **fields):
    return client.post("/api/sketches", json={"lease_id": lease["lease_id"], "values": list(values), **fields})


def test_the_session_says_who_one_is_and_what_there_is_to_do(desk):
    ada = desk(lease_seconds=77).client("ada")
    session = ada.get("/api/session").json()
    assert (session["user"], session["task_id"], session["lease_seconds"]) == ("ada", TASK, 77)
    assert session["thresholds"] == {"success": 0.85, "failure": 0.15}
    assert session["version"] == VERSION and session["unusable_reasons"]
    assert "no-store" in ada.get("/api/session").headers["cache-control"]


def test_a_sketch_is_in_the_store_float_for_float(desk):
    desk = desk()
    ada = desk.client("ada")
    values = np.nextafter(np.float32([0, 0.1, 1 / 3, 0.99999, 1]), np.float32(0.5))
    lease = take(ada, "fake-2")
    desk.clock.now += 30
    answer = save(ada, lease, values.tolist(), seconds_spent=12.5)
    assert answer.status_code == 201
    assert answer.json() == {
        "sequence_id": lease["lease_id"], "episode_id": "fake-2", "user": "ada", "timestamp": int(desk.clock.now)
    }  # fmt: skip
    (sketch,) = Store.open(desk.store.root).sketches(TASK)
    assert sketch.values.tobytes() == values.tobytes()
    assert (sketch.user, sketch.episode_id, sketch.timestamp) == ("ada", "fake-2", int(desk.clock.now))
    assert sketch.tool == f"armchair page {VERSION}" and sketch.seconds_spent == 12.5
    shown = ada.get("/api/episodes/fake-2").json()["sketches"]
    assert np.float32(shown[0]["values"]).tobytes() == values.tobytes()


def test_nobody_spends_more_time_than_there_was(desk):
    desk = desk()
    ada = desk.client("ada")
    lease = take(ada)
    desk.clock.now += 20
    save(ada, lease, seconds_spent=1e9)
    (sketch,) = desk.store.sketches(TASK)
    assert sketch.seconds_spent == pytest.approx(20, abs=0.01)


def test_asking_again_after_a_lost_answer_saves_once(desk):
    desk = desk()
    ada = desk.client("ada")
    lease = take(ada, "fake-1")
    first = save(ada, lease, comment="a cable is in the way")
    desk.clock.now += 10
    second = save(ada, lease, comment="a cable is in the way")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert len(desk.store.all_sketches(TASK)) == 1
    assert [n.text for n in desk.store.notes(episode_ids=["fake-1"])] == ["a cable is in the way"]
    assert error(save(ada, lease, CURVE[::-1]), 409)["code"] == "stale_lease"
    assert error(save(desk.client("bob"), lease), 409)["code"] == "stale_lease"
    assert len(desk.store.all_sketches(TASK)) == 1


def test_a_server_that_died_after_saving_answers_as_it_would_have(desk):
    """Between the sketch and the end of its lease: the next server finds both."""
    desk = desk()
    ada = desk.client("ada")
    lease = take(ada, "fake-1")
    saved = RewardSequence("fake-1", TASK, np.float32(CURVE), lease["lease_id"], user="ada", timestamp=5, tool="other")
    desk.store.add_sketch(saved)
    answer = save(ada, lease)
    assert answer.status_code == 200 and answer.json()["timestamp"] == 5
    assert desk.store.find_lease(lease["lease_id"]) is None


def test_a_server_killed_before_it_made_the_row_has_kept_the_sketch(desk, monkeypatch):
    desk = desk()
    ada = desk.client()
    lease = take(ada, "fake-0")

    def killed(*_):
        raise StoreError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(curves, "insert_sketch", killed)
        assert save(ada, lease).status_code == 409
    assert not desk.store.all_sketches(TASK)
    desk.clock.now += 5
    answer = save(ada, lease)  # the page asks again
    assert answer.status_code == 200 and answer.json()["timestamp"] == int(desk.clock.now) - 5
    (kept,) = desk.store.all_sketches(TASK)
    assert kept.values.tolist() == np.float32(CURVE).tolist()
    assert desk.store.find_lease(lease["lease_id"]) is None


def test_a_correction_is_a_new_version(desk):
    desk = desk()
    ada, bob = desk.client("ada"), desk.client("bob")
    ids = []
    for values in (CURVE, CURVE[::-1]):
        ids.append(save(ada, take(ada, "fake-0"), values).json()["sequence_id"])
        desk.clock.now += 1
    save(bob, take(bob, "fake-0"), [0.5] * 5)
    seen = {s["sequence_id"]: s for s in ada.get("/api/episodes/fake-0").json()["sketches"]}
    assert len(seen) == 3
    assert [seen[i]["latest"] for i in ids] == [False, True] and all(seen[i]["mine"] for i in ids)
    assert [s["user"] for s in seen.values() if not s["mine"]] == ["bob"]
    newest = {s.user: s.values.tolist() for s in desk.store.sketches(TASK)}
    assert newest["ada"] == np.float32(CURVE[::-1]).tolist()


@pytest.mark.parametrize(
    ("values", "named"),
    {
        "short": ([0.5] * 4, "4 for the 5 frames"),
        "long": ([0.5] * 6, "6 for the 5 frames"),
        "empty": ([], "0 for the 5 frames"),
        "above": ([0, 0, 0, 1.0000001, 0], "values, frame 3"),
        "below": ([-1e-9, 0, 0, 0, 0], "values, frame 0"),
        "text": ([0, "0.5", 0, 0, 0], "values, frame 1"),
        "truth": ([0, 0, True, 0, 0], "values, frame 2"),
        "nothing": ([0, 0, 0, 0, None], "values, frame 4"),
        "list": ([0, [0], 0, 0, 0], "values, frame 1"),
        "number": (0.5, "values"),
    }.values(),
)
def test_a_curve_that_is_none_is_refused_by_field_and_frame(desk, values, named):
    desk = desk()
    ada = desk.client("ada")
    lease = take(ada)
    answer = ada.post("/api/sketches", json={"lease_id": lease["lease_id"], "values": values})
    told = error(answer, 422)
    assert told["code"] == "invalid" and named in told["message"]
    assert not desk.store.all_sketches(TASK)
    assert save(ada, lease).status_code == 201  # the lease is not lost by a mistake


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "1e-400"])
def test_numbers_that_json_should_not_have(desk, word):
    desk = desk()
    ada = desk.client("ada")
    lease = take(ada)
    body = f'{{"lease_id": "{lease["lease_id"]}", "values": [0, 0, {word}, 0, 0]}}'
    answer = ada.post("/api/sketches", content=body, headers={"content-type": "application/json"})
    if word == "1e-400":  # is 0
        assert answer.status_code == 201
    elif len(word) > 1000:  # more digits than Python reads
        assert error(answer, 422)["code"] == "invalid"
    else:
        assert "values, frame 2" in error(answer, 422)["message"]


def test_bodies_that_are_none(desk):
    ada = desk().client("ada")
    for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"lease_id": "\\ud800", "values": []}'):
        answer = ada.post("/api/sketches", content=body, headers={"content-type": "application/json"})
        assert error(answer, 422), body


def test_names_come_from_the_session_only(desk):
    desk = desk()
    ada = desk.client("ada")
    lease = take(ada)
    assert "user" in error(save(ada, lease, user="bob"), 422)["message"]
    assert "user" in error(ada.post("/api/leases", json={"user": "bob"}), 422)["message"]
    note = {"episode_id": "fake-0", "kind": "comment", "text": "hm", "user": "bob"}
    assert "user" in error(ada.post("/api/notes", json=note), 422)["message"]


def test_unknown_episodes(desk):
    ada = desk().client("ada")
    for name in ("nobody", "..", "%00", "a" * 150):
        paths = (f"/api/episodes/{name}", f"/api/episodes/{name}/frames/0?camera=pixels/wrist")
        for answer in [ada.get(path) for path in paths if name != ".."]:
            assert error(answer, 404)["code"] == "unknown_episode"
    assert error(ada.post("/api/leases", json={"episode_id": "\0"}), 404)["code"] == "unknown_episode"
    note = {"episode_id": "nobody", "kind": "comment", "text": "hm"}
    assert error(ada.post("/api/notes", json=note), 404)["code"] == "unknown_episode"


def test_an_episode_that_somebody_has_open_is_taken(desk):
    desk = desk()
    ada, bob = desk.client("ada"), desk.client("bob")
    hers = take(ada, "fake-1")
    told = error(bob.post("/api/leases", json={"episode_id": "fake-1"}), 409)
    assert (told["code"], told["holder"]) == ("taken", "ada")
    his = take(bob, "fake-1", anyway=True)  # on purpose
    assert save(ada, hers).status_code == save(bob, his).status_code == 201


def test_the_older_of_two_tabs_is_told(desk):
    desk = desk()
    tabs = desk.client("ada"), desk.client("ada")
    leases = [take(tab, "fake-1") for tab in tabs]
    assert error(tabs[0].put(f"/api/leases/{leases[0]['lease_id']}"), 409)["code"] == "stale_lease"
    assert error(save(tabs[0], leases[0]), 409)["code"] == "stale_lease"
    assert tabs[1].put(f"/api/leases/{leases[1]['lease_id']}").json() == leases[1]
    assert save(tabs[1], leases[1]).status_code == 201


def test_a_lease_runs_out_for_others_only(desk):
    desk = desk(lease_seconds=60)
    ada, bob = desk.client("ada"), desk.client("bob")
    hers = take(ada, "fake-1")
    desk.clock.now += 50
    assert ada.put(f"/api/leases/{hers['lease_id']}").status_code == 200
    desk.clock.now += 50
    assert bob.post("/api/leases", json={"episode_id": "fake-1"}).status_code == 409
    desk.clock.now += 20
    other = take(ada, "fake-2")
    desk.clock.now += 500
    assert save(ada, other).status_code == 201  # nobody wanted it meanwhile: nothing drawn is lost
    his = take(bob, "fake-1")
    assert error(save(ada, hers), 409)["code"] == "stale_lease"
    assert save(bob, his).status_code == 201


def test_a_lease_that_is_let_go_is_free(desk):
    desk = desk()
    ada, bob = desk.client("ada"), desk.client("bob")
    hers = take(ada, "fake-1")
    assert bob.delete(f"/api/leases/{hers['lease_id']}").status_code == 204  # not his: nothing happens
    assert bob.post("/api/leases", json={"episode_id": "fake-1"}).status_code == 409
    for _ in range(2):
        assert ada.delete(f"/api/leases/{hers['lease_id']}").status_code == 204
    take(bob, "fake-1")


def test_an_expired_session_saves_nothing_until_one_signs_in_again(desk):
    desk = desk(session_hours=1, lease_seconds=80_000)
    ada = desk.client("ada")
    lease = take(ada)
    desk.clock.now += 3601
    assert error(save(ada, lease), 401)["code"] == "not_signed_in"
    assert not desk.store.all_sketches(TASK)
    told = error(desk.visitor().post("/api/session", json={"token": desk.state.sessions.tokens["ada"]}), 401)
    assert told["code"] == "token_expired"


def test_an_empty_store_asks_for_demonstrations(desk, tmp_path):
    desk = desk(Store.create(tmp_path / "empty"))
    ada = desk.client()
    assert error(ada.post("/api/leases", json={}), 404)["code"] == "nothing_yet"
    desk.store.add(make_episode(0), "fake")
    assert take(ada)["episode_id"] == "fake-0"


def test_the_queue_empties(desk):
    desk = desk(second_opinions=0, query="ids=fake-0,fake-1,fake-2")
    ada, bob = desk.client("ada"), desk.client("bob")
    ids = [item["episode_id"] for item in ada.get("/api/queue").json()["upcoming"]]
    assert sorted(ids) == ["fake-0", "fake-1", "fake-2"]
    hers, his = take(ada), take(bob)
    assert [hers["episode_id"], his["episode_id"]] == ids[:2]
    assert take(ada)["episode_id"] == ids[0]  # the page was loaded again
    seen = bob.get("/api/queue").json()
    assert [item["episode_id"] for item in seen["upcoming"]] == ids[1:]
    assert {(p["user"], p["episode_id"]) for p in seen["in_progress"]} == {("ada", ids[0]), ("bob", ids[1])}
    save(bob, his)
    assert bob.post("/api/notes", json={"episode_id": ids[2], "kind": "skip"}).status_code == 201
    assert error(bob.post("/api/leases", json={}), 404)["code"] == "nothing_left"
    note = {"episode_id": ids[2], "kind": "unusable", "text": "nothing happens"}
    assert ada.post("/api/notes", json=note).status_code == 201
    save(ada, take(ada))
    assert error(ada.post("/api/leases", json={}), 404)["code"] == "nothing_left"
    queue = ada.get("/api/queue").json()
    counts = {name: queue[name] for name in ("total", "sketched", "mine", "left", "second_opinions_left")}
    assert counts == {"total": 2, "sketched": 2, "mine": 1, "left": 0, "second_opinions_left": 0}
    assert queue["by"] == [{"user": "ada", "sketched": 1}, {"user": "bob", "sketched": 1}]


def test_notes_of_every_kind(desk):
    desk = desk()
    ada = desk.client("ada")
    for kind, text in (("verdict", "failure"), ("unusable", "wrong task"), ("skip", ""), ("comment", "Höhe?")):
        answer = ada.post("/api/notes", json={"episode_id": "fake-0", "kind": kind, "text": text})
        assert answer.status_code == 201, answer.text
        assert (answer.json()["kind"], answer.json()["user"], answer.json()["text"]) == (kind, "ada", text)
        desk.clock.now += 1
    detail = desk.client("bob").get("/api/episodes/fake-0").json()
    assert [(n["kind"], n["user"]) for n in detail["notes"]] == [
        ("verdict", "ada"), ("unusable", "ada"), ("skip", "ada"), ("comment", "ada")
    ]  # fmt: skip
    assert detail["verdict"] == "failure" and detail["unusable"]
    for kind, text, status in (
        ("verdict", "maybe", 409), ("unusable", " ", 409), ("applause", "", 422), ("comment", "x" * 2001, 422),
        ("comment", "\0", 422), ("deleted", "I do not like it", 422),
    ):  # fmt: skip
        error(ada.post("/api/notes", json={"episode_id": "fake-0", "kind": kind, "text": text}), status)


def test_lists_filter_and_page(desk, tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(6):
        fields = {"tags": "night,blue" if seed < 2 else "", "source": f"log-{seed % 2}", "policy_id": f"p{seed % 3}"}
        store.add(make_episode(seed, **fields, task_id=TASK if seed else "stack"), "fake")
    desk = desk(store)
    ada = desk.client("ada")
    save(ada, take(ada, "fake-3"))

    def ids(**query):
        answer = ada.get("/api/episodes", params=query)
        assert answer.status_code == 200, answer.text
        return [int(e["episode_id"][5:]) for e in answer.json()["episodes"]]

    assert ids() == [5, 4, 3, 2, 1, 0]
    assert ids(tag="night") == [1, 0] and ids(source="log-1") == [5, 3, 1] and ids(policy_id="p2") == [5, 2]
    assert ids(task_id="stack") == [0] and ids(verdict="success") == [4, 2, 0] and ids(dataset="other") == []
    assert ids(sketched="yes") == [3] and ids(sketched="no") == [5, 4, 2, 1, 0]
    assert ids(text="BLUE") == [1, 0] and ids(since=1_700_000_240) == [5, 4] and ids(until=1_700_000_060) == [0]
    assert ids(limit=2, offset=3) == [2, 1]
    assert ada.get("/api/episodes", params={"limit": 2}).json()["total"] == 6
    listed = {e["episode_id"]: e for e in ada.get("/api/episodes").json()["episodes"]}
    assert listed["fake-3"]["sketched_by"] == ["ada"] and listed["fake-1"]["tags"] == ["blue", "night"]
    for query in ({"verdict": "maybe"}, {"limit": 0}, {"offset": -1}, {"since": 10**30}, {"text": "\0"}):
        assert error(ada.get("/api/episodes", params=query), 422)["code"] == "invalid"
    assert ada.get("/api/facets").json()["tag"] == {"blue": 2, "night": 2}


def test_predictions_are_not_in_what_the_sketcher_sees(desk):
    desk = desk()
    detail = desk.client("ada").get("/api/episodes/fake-0").json()
    assert not {"predictions", "progress", "is_success", "reward"} & set(json.dumps(detail).split('"'))
    assert [camera["name"] for camera in detail["cameras"]] == ["pixels/basket_front_left", "pixels/wrist"]
    assert all((c["width"], c["height"], c["mime"]) == (16, 16, "image/jpeg") for c in detail["cameras"])

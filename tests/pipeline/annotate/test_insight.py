"""The routes of review and statistics: what they answer, and what they refuse."""

import numpy as np
import pytest

from datasets.predictions import write_predictions
from datasets.rewards import RewardSequence

TASK = "lift_green"
UP = np.linspace(0, 1, 5, dtype=np.float32)  # the episodes have 5 frames


@pytest.fixture
def rated(desk):
    """Three of four episodes are rated; 0 is sketched by two people, who disagree with the model and one another."""
    served = desk()
    store = served.store
    path = store.prediction_path("m", "part")
    write_predictions(
        path, "m", "hash", TASK, {"fake-0": UP, "fake-1": UP / 2, "fake-2": np.full(5, np.nan, np.float32)}
    )
    store.add_predictions("m", "hash", TASK, path)
    for user, values in (("ada", UP), ("bob", UP[::-1].copy())):
        store.add_sketch(
            RewardSequence(
                "fake-0", TASK, values, user, user=user, timestamp=1_700_000_000, seconds_spent=6.0
            )
        )  # fmt: skip
    return served


def test_models_and_review(rated):
    client = rated.client()
    assert client.get("/api/models").json() == [{"model_id": "m", "task_id": TASK, "episodes": 3}]
    found = client.get("/api/review", params={"model_id": "m"}).json()
    assert found["total"] == 3
    first, second, third = found["episodes"]
    assert (first["episode_id"], first["disagreement"], first["delusion"]) == ("fake-0", 0.5, None)
    assert first["sketched_by"] == ["ada", "bob"] and first["verdict"] == "success"
    assert (second["episode_id"], second["disagreement"]) == ("fake-1", None)
    assert second["delusion"] == second["highest"] == 0.375 and second["last"] == 0.5
    assert third["highest"] == 0  # NaN is no JSON

    deluded = client.get("/api/review", params={"model_id": "m", "order": "delusion", "limit": 1}).json()
    assert (deluded["total"], [e["episode_id"] for e in deluded["episodes"]]) == (3, ["fake-1"])
    beyond = client.get("/api/review", params={"model_id": "m", "offset": 3}).json()
    assert (beyond["total"], beyond["episodes"]) == (3, [])


def test_predictions(rated):
    client = rated.client()
    answer = client.get("/api/episodes/fake-0/predictions", params={"model_id": "m"})
    assert answer.json() == {"model_id": "m", "values": UP.tolist()}


def test_statistics(rated):
    found = rated.client().get("/api/statistics").json()
    assert found["total"] == {"episodes": 1, "versions": 2, "frames": 10, "minutes": 0.2, "frames_per_minute": 50}
    assert [annotator["user"] for annotator in found["annotators"]] == ["ada", "bob"]
    assert found["shared"] == 1
    assert found["agreement"]["order"] == {"value": 0, "low": None, "high": None, "episodes": 1}
    assert found["days"][0]["day"] == "2023-11-14"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/review?model_id=nobody", 404, "unknown_model"),
        ("/api/review", 422, "invalid"),
        ("/api/review?model_id=%00", 422, "invalid"),
        ("/api/review?model_id=m&order=size", 422, "invalid"),
        ("/api/review?model_id=m&limit=0", 422, "invalid"),
        ("/api/review?model_id=m&limit=1001", 422, "invalid"),
        ("/api/review?model_id=m&offset=-1", 422, "invalid"),
        ("/api/review?model_id=m&offset=99999999999999999999", 422, "invalid"),
        ("/api/episodes/nobody/predictions?model_id=m", 404, "unknown_episode"),
        ("/api/episodes/%00/predictions?model_id=m", 404, "unknown_episode"),
        ("/api/episodes/fake-3/predictions?model_id=m", 404, "unknown_model"),
        ("/api/episodes/fake-0/predictions?model_id=nobody", 404, "unknown_model"),
    ],
)
def test_refusals(rated, path, status, code):
    answer = rated.client().get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["models", "review?model_id=m", "episodes/fake-0/predictions?model_id=m", "statistics"]
)
def test_only_for_those_who_have_signed_in(rated, path):
    assert rated.visitor().get(f"/api/{path}").status_code == 401

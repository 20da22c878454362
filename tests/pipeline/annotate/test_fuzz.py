"""The API, fuzzed from its own description: whatever is sent, the answer is one that the description knows."""

import contextlib
import shutil

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from datasets.query import Query
from datasets.store import Store
from pipeline.annotate.server import create_app
from pipeline.annotate.state import ServerConfig

ORIGIN = "http://127.0.0.1:8765"
CHECKS = [
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance,
]  # fmt: skip
REAL = {"episode_id": "fake-1", "camera": "pixels/wrist", "t": 2}  # made-up names never meet an episode
EXAMPLES = 15  # an operation and mode: some seconds in all


@pytest.fixture(name="app", scope="module")
def _app(four_episodes, tmp_path_factory):
    root = shutil.copytree(four_episodes, tmp_path_factory.mktemp("fuzz") / "store")
    return create_app(Store.open(root), ServerConfig("lift_green", annotators=("ada",)))


def test_whatever_is_sent_gets_an_answer_of_the_description(app):
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    statuses, labels = set(), set()
    for result in schema.get_all_operations():
        operation = result.ok()
        labels.add(operation.label)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing can be wrong where nothing is sent
                statuses |= fuzz(operation, mode, app.state.armchair)
    assert len(labels) >= 15
    assert {200, 201, 204, 404, 409, 422} <= statuses, statuses
    assert len(app.state.armchair.store.query(Query())) == 4  # and the store is sound


def fuzz(operation, mode, state):
    """Sends examples of an operation, well made or not; returns the statuses of the answers."""
    statuses = set()

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def check(case, real):
        if real:
            for given in (case.path_parameters, case.query, case.body):
                if isinstance(given, dict):
                    given.update({name: value for name, value in REAL.items() if name in given})
        session_id, _ = state.sessions.open(state.sessions.tokens["ada"])
        headers = {"host": "127.0.0.1:8765", "origin": ORIGIN, "cookie": f"{state.cookie}={session_id}"}
        case.cookies = {}
        response = case.call(base_url=ORIGIN, headers=headers)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    check()
    return statuses

"""Routes that compare: reward models beside people, and people beside one another. Never asked for while sketching."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel

from datasets import query as queries
from pipeline.annotate import statistics, wire
from pipeline.annotate.browsing import find_row, summaries
from pipeline.annotate.errors import ApiError, refusals
from pipeline.annotate.review import ModelCount, NotRatedError, Order, Reviewer
from pipeline.annotate.sessions import CurrentUser
from pipeline.annotate.state import AppState

T = TypeVar("T")
ModelId = Annotated[wire.Text, Query(description="one of /api/models")]


class ReviewedEpisode(wire.EpisodeSummary):
    """An episode with what a model says of it; `review.Score` tells what the numbers are."""

    disagreement: float | None
    delusion: float | None
    highest: float
    last: float


class ReviewList(BaseModel):
    """Some of the episodes that a model has rated, in the order asked for."""

    total: int
    episodes: list[ReviewedEpisode]


class PredictionAnswer(BaseModel):
    """A model's prediction. `values[t]` rates frame t."""

    model_id: str
    values: list[float]


def router(state: AppState) -> APIRouter:
    """The routes /api/models, /api/review, /api/episodes/ID/predictions and /api/statistics."""
    routes = APIRouter(tags=["insight"])
    reviewer = Reviewer(state.store, state.config.task)
    counter = statistics.Counter(state.store, state.config.task)

    @routes.get("/models", summary="Reward models that have rated episodes for the task", responses=refusals(401, 403))
    def models(user: CurrentUser) -> list[ModelCount]:
        return reviewer.models()

    @routes.get(
        "/review",
        summary="Episodes that a model has rated, the most telling first",
        responses=refusals(401, 403, 404, 409),
    )
    def review(
        user: CurrentUser,
        model_id: ModelId,
        order: Order = Order.DISAGREEMENT,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    ) -> ReviewList:
        scores = _known(lambda: reviewer.scores(model_id, order))
        page = scores[offset : offset + limit]
        rows = state.store.query(queries.Query(ids=tuple(score.episode_id for score in page)))
        by_id = {summary.episode_id: summary for summary in summaries(state, rows)}
        return ReviewList(
            total=len(scores),
            episodes=[
                ReviewedEpisode(**by_id[score.episode_id].model_dump() | dataclasses.asdict(score))
                for score in page
                if score.episode_id in by_id  # not deleted meanwhile
            ],
        )

    @routes.get(
        "/episodes/{episode_id}/predictions",
        summary="What a model says of an episode",
        responses=refusals(401, 403, 404, 409),
    )
    def predictions(user: CurrentUser, episode_id: str, model_id: ModelId) -> PredictionAnswer:
        row = find_row(state, episode_id)
        values = _known(lambda: reviewer.prediction(model_id, row.episode_id))
        return PredictionAnswer(model_id=model_id, values=values.tolist())

    @routes.get("/statistics", summary="What has been sketched, and how far people agree", responses=refusals(401, 403))
    def counts(user: CurrentUser) -> statistics.Statistics:
        return counter.statistics()

    return routes


def _known(ask: Callable[[], T]) -> T:
    """What `ask` returns. Raises ApiError 404 if it names a model or a prediction that the store does not hold."""
    try:
        return ask()
    except NotRatedError as error:
        raise ApiError(404, "unknown_model", str(error)) from error

"""Routes that look: lists of episodes, one episode, its pictures."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response

from datasets import query as queries
from datasets import schema
from datasets.catalogue import EpisodeRow
from pipeline.annotate import wire
from pipeline.annotate.errors import ApiError, refusals
from pipeline.annotate.frames import Camera, Pictures
from pipeline.annotate.sessions import CurrentUser
from pipeline.annotate.state import AppState

_FOR_EVER = "private, max-age=31536000, immutable"  # a recorded picture never changes
_BYTES = {"schema": {"type": "string", "format": "binary"}}

Condition = Annotated[wire.Text | None, Query()]
CameraName = Annotated[wire.Text, Query(description="name of an observation, such as pixels/wrist")]


def router(state: AppState) -> APIRouter:
    """The routes under /api/episodes, and /api/facets."""
    routes = APIRouter(tags=["episodes"])

    @routes.get("/episodes", summary="Episodes that match every condition, newest first", responses=refusals(401, 403))
    def episodes(
        user: CurrentUser,
        task_id: Condition = None,
        tag: Condition = None,
        source: Condition = None,
        policy_id: Condition = None,
        dataset: Condition = None,
        verdict: schema.Verdict | None = None,
        episode_type: schema.EpisodeType | None = None,
        since: Annotated[int | None, Query(ge=0, le=2**40, description="Unix seconds, inclusive")] = None,
        until: Annotated[int | None, Query(ge=0, le=2**40, description="Unix seconds, exclusive")] = None,
        text: Condition = None,
        sketched: Literal["any", "yes", "no"] = "any",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    ) -> wire.EpisodeList:
        task = state.config.task
        query = queries.Query(
            task_id=task_id, tag=tag, source=source, policy_id=policy_id, dataset=dataset, verdict=verdict,
            episode_type=episode_type, since=since, until=until, text=text, limit=limit, offset=offset, order="newest",
            has_sketch=task if sketched == "yes" else None, not_sketched=task if sketched == "no" else None,
        )  # fmt: skip
        return wire.EpisodeList(total=state.store.count(query), episodes=summaries(state, state.store.query(query)))

    @routes.get("/facets", summary="How many episodes have which task, tag, policy, ...", responses=refusals(401, 403))
    def facets(user: CurrentUser) -> dict[str, dict[str, int]]:
        return state.store.facets()

    @routes.get(
        "/episodes/{episode_id}",
        summary="One episode: cameras, sketches and notes, never predictions",
        responses=refusals(401, 403, 404, 409),
    )
    def episode(user: CurrentUser, episode_id: str) -> wire.EpisodeDetail:
        row = find_row(state, episode_id)
        return wire.EpisodeDetail(
            **summaries(state, [row])[0].model_dump(),
            cameras=[_camera_answer(camera) for camera in state.pictures.get(row).cameras.values()],
            sketches=_sketches(state, user, row),
            notes=[
                wire.NoteAnswer(kind=n.kind, user=n.user, text=n.text, timestamp=int(n.timestamp))
                for n in state.store.notes(episode_ids=[episode_id])
            ],
        )

    @routes.get(
        "/episodes/{episode_id}/frames/{t}",
        summary="One picture, as the store holds it",
        response_class=Response,
        responses=refusals(401, 403, 404, 409)
        | {200: {"content": {"image/jpeg": _BYTES, "image/png": _BYTES}}, 304: {}},
    )
    def frame(
        user: CurrentUser,
        episode_id: str,
        t: Annotated[int, Path(ge=0, le=2**31 - 1)],
        camera: CameraName,
        if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        pictures, film = find_film(state, episode_id, camera)
        if t >= film.length:
            raise ApiError(404, "unknown_frame", f"episode {episode_id} has {film.length} frames, no frame {t}")
        return _unless_known(pictures, if_none_match) or Response(
            film.frame(t), headers={"etag": pictures.etag, "cache-control": _FOR_EVER}, media_type=film.mime
        )

    @routes.get(
        "/episodes/{episode_id}/film",
        summary="All pictures of a camera, one after the other; answers byte ranges",
        response_class=Response,
        responses=refusals(401, 403, 404, 409)
        | {
            200: {"content": {"application/octet-stream": _BYTES}},
            206: {"content": {"application/octet-stream": _BYTES}},
            304: {},
            416: {},
        },
    )
    def film(
        user: CurrentUser,
        episode_id: str,
        camera: CameraName,
        wanted: Annotated[str | None, Header(alias="range", include_in_schema=False)] = None,
        if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
        if_range: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        pictures, film = find_film(state, episode_id, camera)
        if (known := _unless_known(pictures, if_none_match)) is not None:
            return known
        headers = {"etag": pictures.etag, "cache-control": _FOR_EVER, "accept-ranges": "bytes"}
        size = len(film.film)
        bounds = None
        if wanted is not None and if_range in (None, pictures.etag):
            bounds = byte_range(wanted, size)
        if bounds is None:
            return Response(film.film, 200, headers, "application/octet-stream")
        start, end = bounds
        if start >= end:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        return Response(memoryview(film.film)[start:end], 206, headers, "application/octet-stream")

    return routes


def find_row(state: AppState, episode_id: str) -> EpisodeRow:
    """An episode's row. Raises ApiError 404 if there is none of this id."""
    rows = [] if "\0" in episode_id else state.store.query(queries.Query(ids=(episode_id,)))
    if not rows:
        raise ApiError(404, "unknown_episode", "there is no episode of this id in the store: choose one in the list")
    return rows[0]


def find_film(state: AppState, episode_id: str, camera: str) -> tuple[Pictures, Camera]:
    """An episode's pictures, and those of one camera. Raises ApiError 404 if there is no such episode or camera."""
    pictures = state.pictures.get(find_row(state, episode_id))
    if camera not in pictures.cameras:
        known = ", ".join(pictures.cameras) or "none"
        raise ApiError(404, "unknown_frame", f"episode {episode_id} has no such camera: it has {known}")
    return pictures, pictures.cameras[camera]


def summaries(state: AppState, rows: Iterable[EpisodeRow]) -> list[wire.EpisodeSummary]:
    """Some episodes for a list, with who has sketched them for the server's task."""
    labels = state.labels.read()
    return [wire.summary(row, labels.by(row.episode_id), row.episode_id in labels.unusable) for row in rows]


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes [start, end) that a Range header asks for.

    Returns:
      None for what may be answered with everything: several ranges, or what is no byte range. An empty interval for a
      range that lies behind the end.
    """
    match = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", header, re.ASCII)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if match[2] and int(match[2]) < start:
        return None
    return min(start, size), end


def _unless_known(pictures: Pictures, if_none_match: str | None) -> Response | None:
    if if_none_match is None:
        return None
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if "*" not in tags and pictures.etag not in tags:
        return None
    return Response(status_code=304, headers={"etag": pictures.etag, "cache-control": _FOR_EVER})


def _camera_answer(camera: Camera) -> wire.CameraAnswer:
    return wire.CameraAnswer(
        name=camera.name, width=camera.width, height=camera.height, mime=camera.mime, byte_lengths=camera.byte_lengths
    )


def _sketches(state: AppState, user: str, row: EpisodeRow) -> list[wire.SketchAnswer]:
    versions = state.store.all_sketches(state.config.task, [row.episode_id])
    latest = {sketch.user: sketch.sequence_id for sketch in versions}  # the oldest comes first, so the newest stays
    return [
        wire.SketchAnswer(
            sequence_id=sketch.sequence_id,
            user=sketch.user,
            values=sketch.values.tolist(),
            timestamp=sketch.timestamp,
            mine=sketch.user == user,
            latest=latest[sketch.user] == sketch.sequence_id,
        )
        for sketch in versions
    ]

"""Leases: who is drawing which episode now, so that two people do not draw the same one by accident.

A lease is a row of the index and nothing else: losing it costs somebody a second opinion, never a sketch. It runs out
by itself when a page is closed. Every function here that writes must run inside `Index.write`, whose lock makes it
atomic among all threads, processes and servers of a store.
"""

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sql

from datasets.tables import LEASES, column_name


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right of one page of one person to save a sketch of one episode."""

    lease_id: str
    episode_id: str
    task_id: str
    user: str
    expires: float  # Unix seconds


def grant(
    connection: sql.Connection,
    episode_ids: Sequence[str],
    task_id: str,
    user: str,
    lease_id: str,
    seconds: float,
    now: float,
    shared: bool,
) -> Lease | None:
    """Leases the first of the episodes that nobody else holds, or with `shared` the first; None if there is none.

    It replaces the user's earlier lease on that episode (an older tab's), and, unless shared, other people's that have
    run out.
    """
    held: set[str] = set()
    if not shared:
        others = (LEASES.c.TaskId == task_id, LEASES.c.User != user, LEASES.c.Expires > now)
        held = set(connection.execute(sql.select(LEASES.c.EpisodeId).where(*others)).scalars())
    episode_id = next((i for i in episode_ids if i not in held), None)
    if episode_id is None:
        return None
    replaced = [LEASES.c.TaskId == task_id, LEASES.c.EpisodeId == episode_id]
    if shared:
        replaced.append(LEASES.c.User == user)
    connection.execute(sql.delete(LEASES).where(*replaced))
    lease = Lease(lease_id, episode_id, task_id, user, now + seconds)
    connection.execute(
        sql.insert(LEASES).values({column_name(name): value for name, value in dataclasses.asdict(lease).items()})
    )
    return lease


def renew(connection: sql.Connection, lease_id: str, seconds: float, now: float) -> Lease | None:
    """Lets a lease run out later, also one that has run out but was not given to anybody else; None if it is gone."""
    connection.execute(sql.update(LEASES).where(LEASES.c.LeaseId == lease_id).values(Expires=now + seconds))
    return find(connection, lease_id)


def find(connection: sql.Connection, lease_id: str) -> Lease | None:
    """The lease of this id, whether or not it has run out; None if it was replaced or released."""
    found = _select(connection, LEASES.c.LeaseId == lease_id)
    return found[0] if found else None


def release(connection: sql.Connection, lease_id: str) -> None:
    """Ends a lease; nothing happens if it is gone already."""
    connection.execute(sql.delete(LEASES).where(LEASES.c.LeaseId == lease_id))


def current(connection: sql.Connection, task_id: str, now: float) -> list[Lease]:
    """The leases for a task that have not run out, by episode and user."""
    return _select(connection, LEASES.c.TaskId == task_id, LEASES.c.Expires > now)


def _select(connection: sql.Connection, *conditions: sql.ColumnElement[bool]) -> list[Lease]:
    table = LEASES.c
    columns = (table.LeaseId, table.EpisodeId, table.TaskId, table.User, table.Expires)
    wanted = sql.select(*columns).where(*conditions).order_by(table.EpisodeId, table.User, table.LeaseId)
    return [Lease(*row) for row in connection.execute(wanted)]

"""The tables of the store's index, with the Sketchy dataset's public names.

```
Episodes         EpisodeId*  one column a field of EpisodeMetadata, + DataPath Dataset Shard NumSteps Split Checksum
Tags             Name*
EpisodeTags      EpisodeId* Tag*
RewardSequences  EpisodeId* RewardSequenceId* RewardTaskId Type User "Values" + ModelId DataPath Return Final ...
ArchiveFiles     EpisodeId* ArchiveFile          the foreign log that an episode came from
+ Policies       PolicyId*
+ RewardModels   ModelId* ModelHash TaskId Card
+ Notes          EpisodeId* NoteId* Kind User Text TaskId Timestamp DataPath    what people said of an episode
+ Leases         LeaseId* EpisodeId TaskId User Expires                         who is drawing which episode now
+ SchemaVersion  Version*                        one row: of these tables, see `datasets.migrations`
```
(* primary key.) `Values` is an SQL keyword: write `SELECT "Values"`. It holds packed little-endian float32, one a
frame, for a sketch; it is NULL for a model's prediction, which lives in the side shard at `DataPath`, and of which
`Return` and `Final` say what one chooses by (`datasets.predictions.summary`). `Verdict` is what the episode was
recorded with, unless a note has overruled it since; `Deleted` is what the notes say, and nothing else is deleted.

The index holds nothing that cannot be rebuilt from the files of the store, save the leases, which nobody misses.
A change here needs a migration: see `datasets.migrations`.
"""

import dataclasses

import sqlalchemy as sql

from datasets.episode import EpisodeMetadata


def column_name(field: str) -> str:
    """`control_rate_hz` -> `ControlRateHz`."""
    return "".join(part.capitalize() for part in field.split("_"))


TEXT = sql.String().with_variant(sql.String(collation="C"), "postgresql")
"""Ordered by its bytes, as SQLite orders text, whatever language a PostgreSQL server speaks."""

_SQL_TYPES = {str: TEXT, int: sql.BigInteger, float: sql.Float}
METADATA_FIELDS = tuple(f.name for f in dataclasses.fields(EpisodeMetadata) if f.name != "tags")
"""Fields of EpisodeMetadata that are columns of `Episodes`; tags have their own table."""

tables = sql.MetaData()

# What follows the first column of an index of episodes: so the newest are found without sorting, and further conditions
# are tried, and matches counted, without looking at the rows themselves. It makes the index twice as large.
_OFTEN_ASKED = ("Timestamp", "Verdict", "TaskId", "PolicyId", "NumSteps", "Split", "Deleted", "EpisodeId")

EPISODES = sql.Table(
    "Episodes",
    tables,
    *(
        sql.Column(column_name(f.name), _SQL_TYPES[f.type], nullable=False, primary_key=f.name == "episode_id")  # type: ignore[index, arg-type]
        for f in dataclasses.fields(EpisodeMetadata)
        if f.name in METADATA_FIELDS
    ),
    sql.Column("DataPath", TEXT, nullable=False),  # of the shard, relative to the store
    sql.Column("Dataset", TEXT, nullable=False),
    sql.Column("Shard", sql.Integer, nullable=False),  # the number in the shard's name
    sql.Column("NumSteps", sql.Integer, nullable=False),
    sql.Column("Split", TEXT, nullable=False),  # "train" or "test"
    sql.Column("Checksum", TEXT, nullable=False),  # SHA-256 of the shard file, hex
    sql.Column("ContentHash", TEXT),  # `features.content_hash`; NULL: indexed by an Armchair that had none
    sql.Column("Deleted", sql.Boolean, nullable=False, server_default=sql.false()),  # found by no query
    sql.UniqueConstraint("Dataset", "Shard"),
    sql.Index("EpisodesByContentHash", "ContentHash"),
    sql.Index("EpisodesByDeleted", "Deleted", "EpisodeId"),
    sql.Index("EpisodesByTime", "Timestamp"),  # the newest hundred, without sorting all
    *(
        sql.Index(f"EpisodesBy{name}", name, *(other for other in _OFTEN_ASKED if other != name))
        for name in ("TaskId", "PolicyId", "Source", "Dataset", "Robot", "EpisodeType", "Verdict")
    ),
)
_EPISODE_KEY = "Episodes.EpisodeId"

TAGS = sql.Table("Tags", tables, sql.Column("Name", TEXT, primary_key=True))

EPISODE_TAGS = sql.Table(
    "EpisodeTags",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("Tag", sql.ForeignKey("Tags.Name"), primary_key=True, index=True),
)

POLICIES = sql.Table("Policies", tables, sql.Column("PolicyId", TEXT, primary_key=True))

REWARD_MODELS = sql.Table(
    "RewardModels",
    tables,
    sql.Column("ModelId", TEXT, primary_key=True),
    sql.Column("ModelHash", TEXT, nullable=False),
    sql.Column("TaskId", TEXT, nullable=False),
    sql.Column("Card", sql.Text),  # JSON; NULL until the model is registered
)

REWARD_SEQUENCES = sql.Table(
    "RewardSequences",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("RewardSequenceId", TEXT, primary_key=True),
    sql.Column("RewardTaskId", TEXT, nullable=False),
    sql.Column("Type", TEXT, nullable=False),
    sql.Column("User", TEXT, nullable=False),
    sql.Column("Values", sql.LargeBinary),  # NULL for a prediction
    sql.Column("ModelId", sql.ForeignKey("RewardModels.ModelId")),  # NULL for a sketch
    sql.Column("DataPath", TEXT, nullable=False),  # sketch or side shard, relative to the store
    sql.Column("Timestamp", sql.BigInteger, nullable=False),
    sql.Column("Tool", TEXT, nullable=False),
    sql.Column("SecondsSpent", sql.Float, nullable=False),
    sql.Column("Return", sql.Double),  # of a prediction; NULL for a sketch
    sql.Column("Final", sql.Double),
    sql.Index("RewardSequencesByTask", "RewardTaskId", "Type", "EpisodeId"),
    sql.Index("RewardSequencesByModel", "ModelId", "EpisodeId", "Return", "Final"),
    sql.Index("RewardSequencesByReturn", "ModelId", "Return", "EpisodeId"),
    sql.Index("RewardSequencesByFinal", "ModelId", "Final", "EpisodeId"),
)

ARCHIVE_FILES = sql.Table(
    "ArchiveFiles",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("ArchiveFile", TEXT),
)

NOTES = sql.Table(
    "Notes",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("NoteId", TEXT, primary_key=True),
    sql.Column("Kind", TEXT, nullable=False),  # a notes.NoteKind
    sql.Column("User", TEXT, nullable=False),
    sql.Column("Text", TEXT, nullable=False),
    sql.Column("TaskId", TEXT, nullable=False),
    sql.Column("Timestamp", sql.Double, nullable=False),  # Unix seconds
    sql.Column("DataPath", TEXT, nullable=False),  # of the note's file, relative to the store
)

LEASES = sql.Table(
    "Leases",
    tables,
    sql.Column("LeaseId", TEXT, primary_key=True),
    # No foreign key: a rebuild empties the other tables, and people go on drawing.
    sql.Column("EpisodeId", TEXT, nullable=False),
    sql.Column("TaskId", TEXT, nullable=False),
    sql.Column("User", TEXT, nullable=False),
    sql.Column("Expires", sql.Double, nullable=False),  # Unix seconds
    sql.Index("LeasesByTask", "TaskId", "EpisodeId"),
)

SCHEMA_VERSION = sql.Table("SchemaVersion", tables, sql.Column("Version", sql.Integer, primary_key=True))

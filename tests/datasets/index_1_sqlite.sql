CREATE TABLE "Episodes" (
  "EpisodeId" VARCHAR NOT NULL,
  "TaskId" VARCHAR NOT NULL,
  "EpisodeType" VARCHAR NOT NULL,
  "PolicyId" VARCHAR NOT NULL,
  "Robot" VARCHAR NOT NULL,
  "Verdict" VARCHAR NOT NULL,
  "Seed" BIGINT NOT NULL,
  "Timestamp" BIGINT NOT NULL,
  "ControlRateHz" FLOAT NOT NULL,
  "Operator" VARCHAR NOT NULL,
  "ObjectSet" VARCHAR NOT NULL,
  "InitialCondition" VARCHAR NOT NULL,
  "SoftwareVersion" VARCHAR NOT NULL,
  "Source" VARCHAR NOT NULL,
  "Repairs" VARCHAR NOT NULL,
  "DataPath" VARCHAR NOT NULL,
  "Dataset" VARCHAR NOT NULL,
  "Shard" INTEGER NOT NULL,
  "NumSteps" INTEGER NOT NULL,
  "Split" VARCHAR NOT NULL,
  "Checksum" VARCHAR NOT NULL,
  PRIMARY KEY ("EpisodeId"),
  UNIQUE ("Dataset", "Shard")
);
CREATE INDEX "EpisodesByEpisodeType" ON "Episodes" ("EpisodeType");
CREATE INDEX "EpisodesByPolicyId" ON "Episodes" ("PolicyId");
CREATE INDEX "EpisodesByRobot" ON "Episodes" ("Robot");
CREATE INDEX "EpisodesBySource" ON "Episodes" ("Source");
CREATE INDEX "EpisodesByTask" ON "Episodes" ("TaskId", "EpisodeType");
CREATE INDEX "EpisodesByTime" ON "Episodes" ("Timestamp");
CREATE INDEX "EpisodesByVerdict" ON "Episodes" ("Verdict");
CREATE TABLE "Leases" (
  "LeaseId" VARCHAR NOT NULL,
  "EpisodeId" VARCHAR NOT NULL,
  "TaskId" VARCHAR NOT NULL,
  "User" VARCHAR NOT NULL,
  "Expires" DOUBLE NOT NULL,
  PRIMARY KEY ("LeaseId")
);
CREATE INDEX "LeasesByTask" ON "Leases" ("TaskId", "EpisodeId");
CREATE TABLE "Policies" (
  "PolicyId" VARCHAR NOT NULL,
  PRIMARY KEY ("PolicyId")
);
CREATE TABLE "RewardModels" (
  "ModelId" VARCHAR NOT NULL,
  "ModelHash" VARCHAR NOT NULL,
  "TaskId" VARCHAR NOT NULL,
  "Card" TEXT,
  PRIMARY KEY ("ModelId")
);
CREATE TABLE "Tags" (
  "Name" VARCHAR NOT NULL,
  PRIMARY KEY ("Name")
);
CREATE TABLE "ArchiveFiles" (
  "EpisodeId" VARCHAR NOT NULL,
  "ArchiveFile" VARCHAR,
  PRIMARY KEY ("EpisodeId"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId")
);
CREATE TABLE "EpisodeTags" (
  "EpisodeId" VARCHAR NOT NULL,
  "Tag" VARCHAR NOT NULL,
  PRIMARY KEY ("EpisodeId", "Tag"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId"),
  FOREIGN KEY("Tag") REFERENCES "Tags" ("Name")
);
CREATE INDEX "ix_EpisodeTags_Tag" ON "EpisodeTags" ("Tag");
CREATE TABLE "Notes" (
  "EpisodeId" VARCHAR NOT NULL,
  "NoteId" VARCHAR NOT NULL,
  "Kind" VARCHAR NOT NULL,
  "User" VARCHAR NOT NULL,
  "Text" VARCHAR NOT NULL,
  "TaskId" VARCHAR NOT NULL,
  "Timestamp" DOUBLE NOT NULL,
  "DataPath" VARCHAR NOT NULL,
  PRIMARY KEY ("EpisodeId", "NoteId"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId")
);
CREATE TABLE "RewardSequences" (
  "EpisodeId" VARCHAR NOT NULL,
  "RewardSequenceId" VARCHAR NOT NULL,
  "RewardTaskId" VARCHAR NOT NULL,
  "Type" VARCHAR NOT NULL,
  "User" VARCHAR NOT NULL,
  "Values" BLOB,
  "ModelId" VARCHAR,
  "DataPath" VARCHAR NOT NULL,
  "Timestamp" BIGINT NOT NULL,
  "Tool" VARCHAR NOT NULL,
  "SecondsSpent" FLOAT NOT NULL,
  PRIMARY KEY ("EpisodeId", "RewardSequenceId"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId"),
  FOREIGN KEY("ModelId") REFERENCES "RewardModels" ("ModelId")
);
CREATE INDEX "RewardSequencesByModel" ON "RewardSequences" ("ModelId");
CREATE INDEX "RewardSequencesByTask" ON "RewardSequences" ("RewardTaskId", "Type");

CREATE TABLE "Episodes" (
  "EpisodeId" VARCHAR COLLATE "C" NOT NULL,
  "TaskId" VARCHAR COLLATE "C" NOT NULL,
  "EpisodeType" VARCHAR COLLATE "C" NOT NULL,
  "PolicyId" VARCHAR COLLATE "C" NOT NULL,
  "Robot" VARCHAR COLLATE "C" NOT NULL,
  "Verdict" VARCHAR COLLATE "C" NOT NULL,
  "Seed" BIGINT NOT NULL,
  "Timestamp" BIGINT NOT NULL,
  "ControlRateHz" FLOAT NOT NULL,
  "Operator" VARCHAR COLLATE "C" NOT NULL,
  "ObjectSet" VARCHAR COLLATE "C" NOT NULL,
  "InitialCondition" VARCHAR COLLATE "C" NOT NULL,
  "SoftwareVersion" VARCHAR COLLATE "C" NOT NULL,
  "Source" VARCHAR COLLATE "C" NOT NULL,
  "Repairs" VARCHAR COLLATE "C" NOT NULL,
  "DataPath" VARCHAR COLLATE "C" NOT NULL,
  "Dataset" VARCHAR COLLATE "C" NOT NULL,
  "Shard" INTEGER NOT NULL,
  "NumSteps" INTEGER NOT NULL,
  "Split" VARCHAR COLLATE "C" NOT NULL,
  "Checksum" VARCHAR COLLATE "C" NOT NULL,
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
  "LeaseId" VARCHAR COLLATE "C" NOT NULL,
  "EpisodeId" VARCHAR COLLATE "C" NOT NULL,
  "TaskId" VARCHAR COLLATE "C" NOT NULL,
  "User" VARCHAR COLLATE "C" NOT NULL,
  "Expires" DOUBLE PRECISION NOT NULL,
  PRIMARY KEY ("LeaseId")
);
CREATE INDEX "LeasesByTask" ON "Leases" ("TaskId", "EpisodeId");
CREATE TABLE "Policies" (
  "PolicyId" VARCHAR COLLATE "C" NOT NULL,
  PRIMARY KEY ("PolicyId")
);
CREATE TABLE "RewardModels" (
  "ModelId" VARCHAR COLLATE "C" NOT NULL,
  "ModelHash" VARCHAR COLLATE "C" NOT NULL,
  "TaskId" VARCHAR COLLATE "C" NOT NULL,
  "Card" TEXT,
  PRIMARY KEY ("ModelId")
);
CREATE TABLE "Tags" (
  "Name" VARCHAR COLLATE "C" NOT NULL,
  PRIMARY KEY ("Name")
);
CREATE TABLE "ArchiveFiles" (
  "EpisodeId" VARCHAR COLLATE "C" NOT NULL,
  "ArchiveFile" VARCHAR COLLATE "C",
  PRIMARY KEY ("EpisodeId"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId")
);
CREATE TABLE "EpisodeTags" (
  "EpisodeId" VARCHAR COLLATE "C" NOT NULL,
  "Tag" VARCHAR COLLATE "C" NOT NULL,
  PRIMARY KEY ("EpisodeId", "Tag"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId"),
  FOREIGN KEY("Tag") REFERENCES "Tags" ("Name")
);
CREATE INDEX "ix_EpisodeTags_Tag" ON "EpisodeTags" ("Tag");
CREATE TABLE "Notes" (
  "EpisodeId" VARCHAR COLLATE "C" NOT NULL,
  "NoteId" VARCHAR COLLATE "C" NOT NULL,
  "Kind" VARCHAR COLLATE "C" NOT NULL,
  "User" VARCHAR COLLATE "C" NOT NULL,
  "Text" VARCHAR COLLATE "C" NOT NULL,
  "TaskId" VARCHAR COLLATE "C" NOT NULL,
  "Timestamp" DOUBLE PRECISION NOT NULL,
  "DataPath" VARCHAR COLLATE "C" NOT NULL,
  PRIMARY KEY ("EpisodeId", "NoteId"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId")
);
CREATE TABLE "RewardSequences" (
  "EpisodeId" VARCHAR COLLATE "C" NOT NULL,
  "RewardSequenceId" VARCHAR COLLATE "C" NOT NULL,
  "RewardTaskId" VARCHAR COLLATE "C" NOT NULL,
  "Type" VARCHAR COLLATE "C" NOT NULL,
  "User" VARCHAR COLLATE "C" NOT NULL,
  "Values" BYTEA,
  "ModelId" VARCHAR COLLATE "C",
  "DataPath" VARCHAR COLLATE "C" NOT NULL,
  "Timestamp" BIGINT NOT NULL,
  "Tool" VARCHAR COLLATE "C" NOT NULL,
  "SecondsSpent" FLOAT NOT NULL,
  PRIMARY KEY ("EpisodeId", "RewardSequenceId"),
  FOREIGN KEY("EpisodeId") REFERENCES "Episodes" ("EpisodeId"),
  FOREIGN KEY("ModelId") REFERENCES "RewardModels" ("ModelId")
);
CREATE INDEX "RewardSequencesByModel" ON "RewardSequences" ("ModelId");
CREATE INDEX "RewardSequencesByTask" ON "RewardSequences" ("RewardTaskId", "Type");

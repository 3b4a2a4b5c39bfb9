-- Version 3 of the store: containers that are prepared ahead, and branches that end by themselves.

-- 1 if an operation went on in a container that was prepared ahead, 0 if it launched one; NULL where it
-- did neither.
ALTER TABLE operations ADD COLUMN warm INTEGER;

-- When a branch is removed by itself; NULL: never.
ALTER TABLE branches ADD COLUMN expires_at INTEGER;

-- Containers prepared for a branch: launched from a snapshot, ready, frozen. The operation that makes one
-- is the object's, in objects.
CREATE TABLE standbys (
    -- Its value in objects.
    object       TEXT PRIMARY KEY,
    environment  INTEGER NOT NULL REFERENCES environments (number) ON DELETE CASCADE,
    branch       INTEGER NOT NULL REFERENCES branches (number) ON DELETE CASCADE,
    snapshot     INTEGER NOT NULL REFERENCES snapshots (position) ON DELETE CASCADE,
    -- The container, as branches have theirs; NULL while it is being prepared.
    container    TEXT,
    -- What is set aside for it of the home's memory for such containers.
    memory_bytes INTEGER NOT NULL,
    -- When it was ready; NULL while it is being prepared.
    ready_at     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX standbys_by_environment ON standbys (environment);
CREATE INDEX standbys_by_branch ON standbys (branch);
CREATE INDEX standbys_by_snapshot ON standbys (snapshot);

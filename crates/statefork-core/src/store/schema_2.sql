-- Version 2 of the store: snapshots whose capture was replaced by a flattened one.

-- The value in objects of the capture that a snapshot's own stands on: that which its container was
-- launched from, unless it was put on another. NULL: none but the base's.
ALTER TABLE snapshots ADD COLUMN stands_on TEXT;

-- Of older ones it is known only that it is one of those before them.
UPDATE snapshots SET stands_on =
    (SELECT p.object FROM snapshots p WHERE p.position = snapshots.parent);
UPDATE branches SET container = json_set(container, '$.capture',
    (SELECT s.object FROM snapshots s WHERE s.environment = branches.environment
         AND s.id = json_extract(branches.container, '$.origin')))
    WHERE container IS NOT NULL;

CREATE INDEX snapshots_by_object ON snapshots (environment, object);
CREATE INDEX snapshots_by_stands_on ON snapshots (environment, stands_on);

-- Captures that a flattened one with the same files has taken the place of. Each stays until no
-- snapshot's capture and no container stands on it any more.
CREATE TABLE superseded (
    -- Its value in objects.
    object      TEXT PRIMARY KEY,
    environment INTEGER NOT NULL REFERENCES environments (number) ON DELETE CASCADE,
    -- Whose capture it was; NULL once that is removed.
    snapshot    INTEGER REFERENCES snapshots (position) ON DELETE SET NULL,
    capture     TEXT NOT NULL,
    stands_on   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX superseded_by_environment ON superseded (environment);
CREATE INDEX superseded_by_snapshot ON superseded (snapshot);

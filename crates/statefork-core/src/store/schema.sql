-- Version 1 of the store. Times are microseconds since 1970-01-01 UTC, durations microseconds.

CREATE TABLE home (
    id TEXT NOT NULL
) STRICT;

-- What probing a runtime found, for the daemon it was found with.
CREATE TABLE probes (
    runtime      TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    PRIMARY KEY (runtime, fingerprint)
) STRICT;

-- Probes that have begun: what they make is named after the object.
CREATE TABLE begun_probes (
    object  TEXT PRIMARY KEY,
    runtime TEXT NOT NULL,
    process TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE environments (
    number       INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    runtime      TEXT NOT NULL,
    settings     TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    -- The name of the branch that commands work on unless told otherwise.
    current      TEXT NOT NULL,
    -- 1 from the moment in which a purge has begun: there is no way back, only forward.
    purging      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, runtime)
) STRICT;

CREATE TABLE snapshots (
    position    INTEGER PRIMARY KEY,
    environment INTEGER NOT NULL REFERENCES environments (number) ON DELETE CASCADE,
    id          TEXT NOT NULL,
    parent      INTEGER REFERENCES snapshots (position),
    kind        TEXT NOT NULL,
    message     TEXT,
    created_at  INTEGER NOT NULL,
    size_bytes  INTEGER NOT NULL,
    spec        TEXT NOT NULL,
    not_held    TEXT NOT NULL,
    capture     TEXT NOT NULL,
    labels      TEXT NOT NULL,
    -- 1 if everything that it needs was there when it was last looked at, 0 if not.
    verified    INTEGER,
    -- The value in objects of what the runtime stores for it; none for the base.
    object      TEXT,
    UNIQUE (environment, id)
) STRICT;
CREATE INDEX snapshots_by_parent ON snapshots (parent);

CREATE TABLE branches (
    number      INTEGER PRIMARY KEY,
    environment INTEGER NOT NULL REFERENCES environments (number) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    head        INTEGER NOT NULL REFERENCES snapshots (position),
    container   TEXT,
    ports       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (environment, name)
) STRICT;

-- Where each branch's head has been, the last one last: what REV@{N} counts.
CREATE TABLE heads (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    branch   INTEGER NOT NULL REFERENCES branches (number) ON DELETE CASCADE,
    snapshot INTEGER NOT NULL REFERENCES snapshots (position) ON DELETE CASCADE
) STRICT;
CREATE INDEX heads_by_branch ON heads (branch);

CREATE TABLE tags (
    environment INTEGER NOT NULL REFERENCES environments (number) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    snapshot    INTEGER NOT NULL REFERENCES snapshots (position) ON DELETE CASCADE,
    PRIMARY KEY (environment, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_snapshot ON tags (snapshot);

-- The operation log outlives its environment, so it names things instead of referring to them.
CREATE TABLE operations (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT NOT NULL,
    environment   TEXT NOT NULL,
    runtime       TEXT NOT NULL,
    branch        TEXT,
    target        TEXT,
    snapshot_kind TEXT,
    process       TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    duration      INTEGER,
    usable        INTEGER,
    outcome       TEXT NOT NULL,
    error         TEXT,
    -- 1 while nobody has been told that another process finished or undid it.
    untold        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX operations_by_environment ON operations (environment, runtime);
CREATE INDEX operations_unfinished ON operations (outcome) WHERE outcome = 'running';
CREATE INDEX operations_untold ON operations (untold) WHERE untold = 1;

CREATE TABLE phases (
    operation INTEGER NOT NULL REFERENCES operations (seq),
    position  INTEGER NOT NULL,
    phase     TEXT NOT NULL,
    duration  INTEGER NOT NULL,
    PRIMARY KEY (operation, position)
) STRICT, WITHOUT ROWID;

-- Every object of ours in a runtime, written before it is made, deleted after it is gone.
CREATE TABLE objects (
    object      TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    runtime     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    operation   INTEGER NOT NULL REFERENCES operations (seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX objects_by_environment ON objects (environment, runtime);

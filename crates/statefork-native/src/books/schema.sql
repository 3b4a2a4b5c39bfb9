-- The books of a storage (module `books`). `user_version` is the version of this schema.

-- A layer. Its number is never used again, since its folder is named after it.
CREATE TABLE layer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 'made': its files are whole and durable. 'making': a process writes them. 'going': its files
    -- are being removed. The latter two are taken away once their process is gone.
    state TEXT NOT NULL,
    -- The process that makes or removes it, as JSON.
    owner TEXT,
    -- Bytes of its files' contents.
    size_bytes INTEGER NOT NULL DEFAULT 0,
    -- SHA-256 of the archive that it was unpacked from, so that images share it.
    digest TEXT UNIQUE
);

CREATE TABLE image (
    id TEXT PRIMARY KEY,
    config TEXT NOT NULL
);

CREATE TABLE name (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES image (id)
);
CREATE INDEX name_of_image ON name (image);

CREATE TABLE container (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL REFERENCES image (id),
    spec TEXT NOT NULL,
    labels TEXT NOT NULL,
    -- Its address (IPv4, dotted), where it has one of its own.
    address TEXT UNIQUE,
    -- How often its writable layer has been captured: names the manifest of the last time.
    captures INTEGER NOT NULL DEFAULT 0
);

-- Whose files lie in which layers, the lowest at position 0. An owner is `i:IMAGE`,
-- `c:CONTAINER` (what it was launched from) or `b:CONTAINER` (what its last capture consists of).
CREATE TABLE chain (
    owner TEXT NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL REFERENCES layer (id),
    PRIMARY KEY (owner, position)
) WITHOUT ROWID;
CREATE INDEX chain_of_layer ON chain (layer);

-- Settings of the storage, such as the network's addresses.
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

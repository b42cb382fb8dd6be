-- How far files were imported: by keyed hash of path and beginning, so that neither can be read here.
CREATE TABLE import_file (
    id         BLOB PRIMARY KEY,
    inode      INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    -- The place up to which its outcomes are in the journal.
    at_byte    INTEGER NOT NULL,
    lines      INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    within     INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    -- Keyed hash of what stands before that place.
    witness    BLOB,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX import_file_age ON import_file (updated_at);

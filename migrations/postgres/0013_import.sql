-- How far files were imported: by keyed hash of path and beginning, so that neither can be read here.
CREATE TABLE import_file (
    id         BYTEA PRIMARY KEY,
    inode      BIGINT NOT NULL,
    size       BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    -- The place up to which its outcomes are in the journal.
    at_byte    BIGINT NOT NULL,
    lines      BIGINT NOT NULL,
    records    BIGINT NOT NULL,
    within     BIGINT NOT NULL,
    ended      BIGINT NOT NULL,
    -- Keyed hash of what stands before that place.
    witness    BYTEA,
    updated_at BIGINT NOT NULL
);

CREATE INDEX import_file_age ON import_file (updated_at);

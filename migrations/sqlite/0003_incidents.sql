-- Which addresses were refused for good, by finest stream and bin of send time: a projection.
CREATE TABLE refused (
    stream  INTEGER NOT NULL,
    bin     INTEGER NOT NULL,
    address INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (stream, bin, address)
) STRICT, WITHOUT ROWID;

-- Incidents, open and past. `body` is JSON without personal data.
CREATE TABLE incident (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    state      INTEGER NOT NULL,
    onset      INTEGER NOT NULL,
    opened_at  INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    closed_at  INTEGER,
    body       TEXT    NOT NULL
) STRICT;
CREATE INDEX incident_state ON incident (state, onset);

-- Sends and refusals of relay mail by finest stream and UTC day (counted from the epoch): what baselines are learnt from, for
-- longer than cells are kept.
CREATE TABLE day_total (
    day     INTEGER NOT NULL,
    stream  INTEGER NOT NULL,
    exposed INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    PRIMARY KEY (day, stream)
) STRICT, WITHOUT ROWID;
INSERT INTO day_total (day, stream, exposed, refused)
    SELECT c.bin / 288, c.stream, sum(c.exposed), sum(c.refused) FROM cell c JOIN word w ON w.id = c.stream
    WHERE c.destination = 1 AND w.kind = 2 AND w.text ->> 'level' = 'campaign' GROUP BY c.bin / 288, c.stream;

-- Days up to which the projections are final: what was sent by the end of the last one stays as it is counted and is not made
-- again from the journal, so that deliveries from before its start may go.
CREATE TABLE checkpoint (
    day          INTEGER PRIMARY KEY,
    committed_at INTEGER NOT NULL
) STRICT;

-- Messages that a checkpoint holds though the rows that stay in the journal do not tell when they were sent. They hold from the
-- checkpoint of `day` on, and until the last of those rows is older than a checkpoint itself.
CREATE TABLE sealed_message (
    address INTEGER NOT NULL,
    message INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (address, message)
) STRICT, WITHOUT ROWID;

-- Since when no row refers to a word; it goes a while later.
ALTER TABLE word ADD COLUMN unused_since INTEGER;

-- What operators say of an incident has columns of its own: the monitor writes the others, so that neither undoes the other.
ALTER TABLE incident ADD COLUMN label INTEGER;
ALTER TABLE incident ADD COLUMN accepted_normal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incident ADD COLUMN operator_closed_at INTEGER;
UPDATE incident SET
    label = CASE body ->> 'label' WHEN 'real' THEN 1 WHEN 'benign' THEN 2 WHEN 'false' THEN 3 END,
    accepted_normal = coalesce(body ->> 'accepted_normal', 0);

-- When each kind of process last said that it works: a gap is an outage of ours.
CREATE TABLE sign_of_life (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each feed reported, by hour of event time and declared exposure: a projection. `unsent` counts outcomes whose send is
-- missing, by hour of send time.
CREATE TABLE feed_hour (
    feed      INTEGER NOT NULL,
    exposure  INTEGER NOT NULL,
    hour      INTEGER NOT NULL,
    events    INTEGER NOT NULL,
    sent      INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    refused   INTEGER NOT NULL,
    unsent    INTEGER NOT NULL,
    PRIMARY KEY (feed, hour, exposure)
) STRICT, WITHOUT ROWID;

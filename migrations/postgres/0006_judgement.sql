-- What operators say of an incident has columns of its own: the monitor writes the others, so that neither undoes the other.
ALTER TABLE incident ADD COLUMN label SMALLINT;
ALTER TABLE incident ADD COLUMN accepted_normal BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE incident ADD COLUMN operator_closed_at BIGINT;
UPDATE incident SET
    label = CASE body::jsonb ->> 'label' WHEN 'real' THEN 1 WHEN 'benign' THEN 2 WHEN 'false' THEN 3 END,
    accepted_normal = coalesce((body::jsonb ->> 'accepted_normal')::boolean, FALSE);

-- When each kind of process last said that it works: a gap is an outage of ours.
CREATE TABLE sign_of_life (
    name TEXT PRIMARY KEY,
    at   BIGINT NOT NULL
);

-- What each feed reported, by hour of event time and declared exposure: a projection. `unsent` counts outcomes whose send is
-- missing, by hour of send time.
CREATE TABLE feed_hour (
    feed      INTEGER  NOT NULL,
    exposure  SMALLINT NOT NULL,
    hour      BIGINT   NOT NULL,
    events    BIGINT   NOT NULL,
    sent      BIGINT   NOT NULL,
    delivered BIGINT   NOT NULL,
    refused   BIGINT   NOT NULL,
    unsent    BIGINT   NOT NULL,
    PRIMARY KEY (feed, hour, exposure)
);

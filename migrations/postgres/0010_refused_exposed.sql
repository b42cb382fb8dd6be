-- Refusals of messages that count as sent: what a rate is made of. Those of feeds without exposure have no denominator, and one of
-- another feed is none for them.
ALTER TABLE cell ADD COLUMN refused_exposed BIGINT NOT NULL DEFAULT 0;
UPDATE cell SET refused_exposed = least(greatest(refused - unexposed, 0), exposed) WHERE refused > 0;

-- Totals of days count the same refusals, as far as their cells are still there.
UPDATE day_total d SET refused = c.refused_exposed
    FROM (SELECT stream, bin / 288 AS day, sum(refused_exposed)::bigint AS refused_exposed, sum(refused)::bigint AS refused
          FROM cell WHERE destination = 1 GROUP BY 1, 2) c
    WHERE c.stream = d.stream AND c.day = d.day AND c.refused <> c.refused_exposed;

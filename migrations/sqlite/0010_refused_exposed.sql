-- Refusals of messages that count as sent: what a rate is made of. Those of feeds without exposure have no denominator, and one of
-- another feed is none for them.
ALTER TABLE cell ADD COLUMN refused_exposed INTEGER NOT NULL DEFAULT 0;
UPDATE cell SET refused_exposed = min(max(refused - unexposed, 0), exposed);

-- Totals of days count the same refusals, as far as their cells are still there.
UPDATE day_total SET refused = (SELECT coalesce(sum(c.refused_exposed), 0) FROM cell c WHERE c.stream = day_total.stream
        AND c.bin BETWEEN day_total.day * 288 AND day_total.day * 288 + 287 AND c.destination = 1)
    WHERE EXISTS (SELECT 1 FROM cell c WHERE c.stream = day_total.stream
        AND c.bin BETWEEN day_total.day * 288 AND day_total.day * 288 + 287 AND c.destination = 1
        AND c.refused <> c.refused_exposed);

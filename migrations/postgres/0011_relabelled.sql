-- What a relabelling that is under way has changed so far: how many stored replies, from which cause and rule to which. Written in the
-- transactions that change them, and emptied when the journal has it.
CREATE TABLE relabelled (
    from_cause SMALLINT NOT NULL,
    from_rule  TEXT     NOT NULL,
    to_cause   SMALLINT NOT NULL,
    to_rule    TEXT     NOT NULL,
    replies    BIGINT   NOT NULL,
    PRIMARY KEY (from_cause, from_rule, to_cause, to_rule)
);

-- Which templates of new words were announced, and when: what was said stays said, whatever is rebuilt. It goes with its word.
CREATE TABLE new_words_told (
    template INTEGER PRIMARY KEY REFERENCES word (id) ON DELETE CASCADE,
    at       BIGINT  NOT NULL,
    digest   BOOLEAN NOT NULL
);

-- Replies by the rule that decided, so that those that no rule knows are found without reading the journal.
CREATE INDEX event_rule ON event (rule, template) WHERE rule IS NOT NULL;

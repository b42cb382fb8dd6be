//! One integration binary: it links once.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod advice;
mod canary;
mod causes_doc;
mod check;
mod classify_command;
mod classify_corpora;
mod commands;
mod contention;
mod crash;
mod demo;
mod doctor;
mod facts;
mod health;
mod incident;
mod incidents;
mod judgement;
mod keys;
mod lease;
mod listing;
mod mail;
mod monitor;
mod new_words;
mod notify;
mod observed;
mod outbox;
mod people;
mod queues;
mod relabel;
mod reports_corpus;
mod restarts;
mod retention;
mod rooms;
mod seeds;
mod serve;
mod silence;
mod sources_doc;
mod spf;
mod store;
mod store_engines;
mod streams;
mod support;
mod verdicts;
mod watch;

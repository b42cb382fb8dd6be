//! `relaywatch serve` from outside: a process of its own, real sockets, real signals.

mod answers;
mod bad_input;
mod crash;
mod deliveries;
mod life;
mod lists;
mod moved;
mod postfix;
mod postfix_import;
mod postfix_pipe;
mod reload;
mod roles;
mod slow;

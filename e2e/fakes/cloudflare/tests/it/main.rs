//! The stand-in as others see it: real sockets, a real connector, a real application behind it.
#![cfg(test)]

mod admin;
mod api;
mod connector;
mod dns;
mod edge;
mod process;
mod records;
mod support;

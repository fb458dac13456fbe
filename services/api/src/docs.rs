//! Whether the documentation speaks of what is there: pages, anchors, kinds, fields and values.
//! Its examples are executed elsewhere, on a real API server.

mod conditions;
mod defaults;
mod fields;
mod links;
mod page;

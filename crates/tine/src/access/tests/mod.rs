//! Access rules and lookups, without any resolver but one of the tests' own.

mod resolver;
mod rules;

//! The database: the pool, row types, and one file of queries for each table.
//!
//! Functions here are named for what is asked and return domain values. What actors write goes
//! through [`store::Store`], which is replaced in their tests.

pub mod store;

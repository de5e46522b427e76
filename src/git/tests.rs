//! The repository module against real repositories, with the git program as the oracle.

mod diffs;
mod layouts;
mod merged;
mod rest;
mod scene;
mod slots;
mod states;
mod steps;

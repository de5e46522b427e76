pub mod id;
pub mod pipeline;
pub mod run;
pub mod guardrail;
pub mod sys;
pub mod store;

//! Properties of the decisions.

mod decisions;
mod policies;
mod policy_documents;
mod policy_properties;
mod previews;

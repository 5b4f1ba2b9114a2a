//! Syncline as a whole, from outside.

mod stories;

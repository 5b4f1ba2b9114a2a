//! The simulator from outside: through the AWS SDK, through its own view, and beside moto.

#![expect(clippy::disallowed_methods, reason = "the tests are clients of the simulator")]

mod calls;
mod change_sets;
mod evaluation;
mod harness;
mod peers;
mod refusals;
mod stacks;

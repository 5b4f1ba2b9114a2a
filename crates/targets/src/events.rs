//! Which of a stack's events are asked for.

use crate::{Execution, StackEvent};

/// Gathers from a stack's events, which come newest first, those that [`crate::Target::stack_events`] answers.
#[derive(Debug)]
pub struct Gathering<'a> {
    stack_id: &'a str,
    since: Option<&'a str>,
    of: Option<Execution<'a>>,
    newest_first: Vec<StackEvent>,
}

impl<'a> Gathering<'a> {
    /// Nothing gathered yet of the events of a stack newer than `since` and, if given, of one execution.
    #[must_use]
    pub fn new(stack_id: &'a str, since: Option<&'a str>, of: Option<Execution<'a>>) -> Self {
        Self { stack_id, since, of, newest_first: Vec::new() }
    }

    /// Takes the next older event; false if none that is older is asked for.
    pub fn take(&mut self, event: StackEvent) -> bool {
        if self.since == Some(event.id.as_str()) {
            return false;
        }
        let is_first = self.of.is_some_and(|of| begins(&event, &of, self.stack_id));
        if self.of.is_none_or(|of| may_belong(&event, &of)) {
            self.newest_first.push(event);
        }
        !is_first
    }

    /// What was gathered, oldest first.
    #[must_use]
    pub fn gathered(mut self) -> Vec<StackEvent> {
        if let Some(of) = self.of
            && self.newest_first.iter().any(|event| carries(event, &of))
        {
            // Those without a token are of something that followed.
            self.newest_first.retain(|event| carries(event, &of));
        }
        self.newest_first.reverse();
        self.newest_first
    }
}

/// Whether the event carries the execution's token.
fn carries(event: &StackEvent, of: &Execution<'_>) -> bool {
    event.client_request_token.as_deref() == Some(of.token)
}

/// Whether the event carries the execution's token, or none and is young enough.
fn may_belong(event: &StackEvent, of: &Execution<'_>) -> bool {
    match &event.client_request_token {
        Some(token) => token == of.token,
        // Making the change set is not executing it.
        None if event.status == "REVIEW_IN_PROGRESS" => false,
        None => of.change_set_created_ms.is_some_and(|created_ms| event.time_ms >= created_ms),
    }
}

/// Whether it is the stack's own first event of the execution: what is older belongs to another one.
fn begins(event: &StackEvent, of: &Execution<'_>, stack_id: &str) -> bool {
    let first = event.physical_id.as_deref() == Some(stack_id)
        && matches!(
            event.status.as_str(),
            "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" | "IMPORT_IN_PROGRESS"
        );
    first && carries(event, of)
}

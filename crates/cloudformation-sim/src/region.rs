//! One account's stacks in one region.

use std::collections::BTreeMap;

use crate::engine::{self, Operation, Surroundings};
use crate::faults::ResourceFaults;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::stack::Stack;
use crate::template::Place;

/// One account's stacks in one region, oldest first.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) partition: &'static str,
    pub(crate) url_suffix: &'static str,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) stacks: Vec<Stack>,
}

impl Region {
    pub(crate) fn new(account: &str, name: &str) -> Self {
        let (partition, url_suffix) = match name.split('-').next().unwrap_or_default() {
            "cn" => ("aws-cn", "amazonaws.com.cn"),
            "us" if name.starts_with("us-gov-") => ("aws-us-gov", "amazonaws.com"),
            "us" if name.starts_with("us-iso-") => ("aws-iso", "c2s.ic.gov"),
            "us" if name.starts_with("us-isob-") => ("aws-iso-b", "sc2s.sgov.gov"),
            "eusc" => ("aws-eusc", "amazonaws.eu"),
            _ => ("aws", "amazonaws.com"),
        };
        Self { partition, url_suffix, name: name.to_owned(), account: account.to_owned(), stacks: Vec::new() }
    }

    /// A place for a new stack.
    pub(crate) fn place(&self, stack_name: &str) -> Place {
        Place {
            partition: self.partition,
            url_suffix: self.url_suffix,
            region: self.name.clone(),
            account: self.account.clone(),
            stack_name: stack_name.to_owned(),
            stack_id: format!(
                "arn:{}:cloudformation:{}:{}:stack/{stack_name}/{}",
                self.partition,
                self.name,
                self.account,
                syncline_seams::chance::uuid()
            ),
        }
    }

    /// The ARN of a new change set.
    pub(crate) fn change_set_arn(&self, name: &str) -> String {
        format!(
            "arn:{}:cloudformation:{}:{}:changeSet/{name}/{}",
            self.partition,
            self.name,
            self.account,
            syncline_seams::chance::uuid()
        )
    }

    /// Where a stack is in [`Region::stacks`]: by id also when it is deleted, by name only while it is not.
    pub(crate) fn find(&self, name_or_id: &str) -> Option<usize> {
        if name_or_id.starts_with("arn:") {
            self.stacks.iter().position(|stack| stack.place.stack_id == name_or_id)
        } else {
            self.stacks.iter().position(|stack| stack.place.stack_name == name_or_id && !stack.is_deleted())
        }
    }

    /// A stack, or the error that names it as most operations do.
    pub(crate) fn stack(&mut self, name_or_id: &str) -> Result<&mut Stack, Refusal> {
        match self.find(name_or_id) {
            Some(index) => Ok(&mut self.stacks[index]),
            None => Err(Refusal::validation(format!("Stack with id {name_or_id} does not exist"))),
        }
    }

    /// Every export: its name, its value and its stack's name.
    pub(crate) fn exports(&self) -> BTreeMap<String, (String, String)> {
        let mut exports = BTreeMap::new();
        for stack in self.stacks.iter().filter(|stack| !stack.is_deleted()) {
            for output in &stack.outputs {
                if let Some(name) = &output.export_name {
                    exports.insert(name.clone(), (output.value.clone(), stack.place.stack_name.clone()));
                }
            }
        }
        exports
    }

    /// Who reads an export.
    pub(crate) fn imports(&self) -> BTreeMap<String, Vec<String>> {
        let mut imports: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for stack in self.stacks.iter().filter(|stack| !stack.is_deleted()) {
            for name in &stack.imports {
                imports.entry(name.clone()).or_default().push(stack.place.stack_name.clone());
            }
        }
        imports
    }

    fn around<'a>(&self, settings: &'a Settings, faults: &'a ResourceFaults) -> Surroundings<'a> {
        Surroundings { settings, faults, exports: self.exports(), imports: self.imports() }
    }

    /// Does everything that is due until `now`, in the order in which it is due.
    pub(crate) fn advance(&mut self, settings: &Settings, faults: &ResourceFaults, now: i64) {
        loop {
            let due = |stack: &Stack| stack.operation.as_ref().and_then(Operation::next_due_ms);
            let next = self
                .stacks
                .iter()
                .enumerate()
                .filter_map(|(index, stack)| Some((due(stack)?, index)))
                .min()
                .filter(|(at_ms, _)| *at_ms <= now);
            let Some((_, index)) = next else { return };
            let around = self.around(settings, faults);
            engine::step(&mut self.stacks[index], &around);
        }
    }

    /// Begins an operation on a stack.
    pub(crate) fn begin(
        &mut self,
        index: usize,
        operation: Operation,
        settings: &Settings,
        faults: &ResourceFaults,
        now: i64,
    ) {
        let around = self.around(settings, faults);
        engine::begin(&mut self.stacks[index], operation, &around, now);
        self.advance(settings, faults, now);
    }

    /// Goes on with an operation that had stopped.
    pub(crate) fn resume(
        &mut self,
        index: usize,
        operation: Operation,
        settings: &Settings,
        faults: &ResourceFaults,
        now: i64,
    ) {
        let around = self.around(settings, faults);
        engine::settle(&mut self.stacks[index], operation, &around, now);
        self.advance(settings, faults, now);
    }
}
